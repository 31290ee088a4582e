"""Is a mask cut at its threshold, and turned with its photo?"""

import numpy as np
import pytest
from PIL import Image

from unet_resnet.images import MaskRule, size_mismatch


def test_a_ramp_is_cut_at_half_white(tmp_path):
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "ramp.png")
    read = MaskRule().read(tmp_path / "ramp.png", tmp_path / "ramp.png")
    assert read.flatten().tolist() == [0] * 128 + [1] * 128


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_on_the_stored_pixels_is_turned_with_its_photo(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    crack = np.zeros((60, 96), np.uint8)
    crack[5:20, 10:14] = crack[20:23, 10:80] = 255
    picture, mask = Image.fromarray(crack), tmp_path / "mask.png"
    for path in (tmp_path / "x.jpg", tmp_path / "x.png", tmp_path / "x.tif"):
        picture.save(path, exif=exif)
        upright = MaskRule().read(path, path)
        picture.save(mask)
        if path.suffix != ".jpg":
            assert (MaskRule(unturned=True).read(mask, path) == upright).all()
        assert MaskRule(unturned=True).read(mask, path).shape == upright.shape
        picture.save(mask, exif=exif)  # the mask is turned by an orientation of its own
        assert (MaskRule(unturned=True).read(mask, path) == MaskRule().read(mask, path)).all()


def test_the_size_error_explains_exif():
    assert "--masks-unturned" in size_mismatch((60, 96), (96, 60))
    assert "--masks-unturned" not in size_mismatch((60, 95), (96, 60))


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_are_refused(tmp_path, kind):
    Image.fromarray(np.eye(9, dtype=kind)).save(tmp_path / "mask.tif")
    with pytest.raises(ValueError, match="mask.tif: a mask of more than 8 bits; save cracks as"):
        MaskRule().read(tmp_path / "mask.tif", tmp_path / "mask.tif")


def test_a_palette_that_hides_the_cracks_is_refused(tmp_path):
    """Values 0 and 1 of a palette in which both are black: no crack could be seen or read."""
    mask = Image.new("P", (8, 8))
    mask.putpalette([0] * 768)
    mask.putpixel((3, 3), 1)
    mask.save(tmp_path / "m.png")
    with pytest.raises(ValueError, match="hides the cracks"):
        MaskRule().read(tmp_path / "m.png", tmp_path / "m.png")
