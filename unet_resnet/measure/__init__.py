"""Length and width of each crack, as tables and as a picture."""

from unet_resnet.files import check_extra

check_extra("measure", "measuring", "ezdxf", "scipy", "skimage")
