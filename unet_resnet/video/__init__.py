"""Frames in, frames out."""

from unet_resnet.files import check_extra

check_extra("video", "a video", "av")
