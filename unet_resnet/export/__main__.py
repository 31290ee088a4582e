import sys

from unet_resnet.files import one_line
from unet_resnet.export.onnx import main

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("unet_resnet.export: stopped")
    except (ModuleNotFoundError, OSError, ValueError) as error:
        sys.exit(f"unet_resnet.export: {one_line(error)}")
