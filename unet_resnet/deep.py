"""Which grey values are black and white in a picture of more than 8 bits?

| in the file | read as |
|---|---|
| what the tag GDAL_NODATA names | no data: the median of the rest |
| an extreme of -9999 or less, 65535, or from 1e18, and no other half as far from 0 | the same |
| 12 bits a sample, or tags with a range that the pixels do not contradict | that range |
| values that reach the upper half of 0..1, 255, 1023, 4095, 16383 or 65535 | that range |
| any other values | from the 0.5th to the 99.5th percentile |
| WhiteIsZero in a TIFF | inverted |
| NaN; infinite values; a single value besides no data | refused |
| colours of 16 bits of which none fills the 15th bit: Pillow keeps the upper 8 | refused |
| planes of 16 bits without compression, signed bytes: Pillow decodes them wrongly | refused |

Ranges are compared with the two percentiles: few pixels of other values do not count.
"""

import numpy as np
from PIL import Image

COLOURS = "colours of 16 bits"  # key of Image.info; Pillow decodes their upper 8
TOPS = (1, 255, 1023, 4095, 16383, 65535)
OUTLIERS = 0.5  # per cent, at each end
STEPS = 64  # fewer grey values of 256 would be left of values that fill a 64th of a range: 4
NO_DATA, BITS, STRETCHED = ("photo with values for no data", "photo of 10, 12 or 14 bits",
                            "photo with grey values of unknown range")
ASSUMED = {NO_DATA: "recognised by their distance from all others, and shown grey",
           BITS: "recognised by the highest values",
           STRETCHED: "stretched between percentiles; save it as 8 bits to choose the range"}
SUBFILE, REDUCED, DNG_VERSION = 254, 1, 50706
BITS_PER_SAMPLE, PHOTOMETRIC, PLANES, SAMPLE_FORMAT, GDAL_NODATA = 258, 262, 284, 339, 42113
LOWEST, HIGHEST = (340, 280), (341, 281)  # SMinSampleValue, MinSampleValue, ...
REMEDY = "save it as 8 bits"


def tag(image: Image.Image, *numbers: int, default: float = 0) -> float:
    """The first value of the first of these TIFF tags that the image has."""
    tags = getattr(image, "tag_v2", {})
    found = next((tags[number] for number in numbers if number in tags), default)
    return found[0] if isinstance(found, tuple) else found


def check_decoder(image: Image.Image) -> None:
    """Raise ValueError for what Pillow (up to 13.0) decodes wrongly, or of which it sees only a
    preview, and mark colours of 16 bits. The image is not yet decoded.
    """
    if tag(image, DNG_VERSION) or tag(image, SUBFILE) == REDUCED:
        raise ValueError("a camera's raw file, of which only a preview can be read; save it as "
                         "JPEG, PNG or TIFF first")
    if not image.tile:
        return
    codec, raw, bits = image.tile[0][0], str(image.tile[0][3]), tag(image, BITS_PER_SAMPLE)
    wrong = ""
    if codec == "raw" and bits > 8 and tag(image, PLANES) == 2:
        wrong = "its channels of 16 bits lie one after the other"
    elif bits == 8 and tag(image, SAMPLE_FORMAT) == 2 or codec == "libtiff" and "16BS" in raw:
        wrong = "its values are signed"
    if wrong:
        raise ValueError(f"{wrong}, which Pillow decodes wrongly; {REMEDY}")
    if "16" in raw and not is_deep(image):
        image.info[COLOURS] = True


def check_colours(image: Image.Image) -> None:
    """Raise ValueError for decoded colours of 10, 12 or 14 bits in 16: their upper 8 are no
    picture."""
    if COLOURS in image.info:
        bands = [band for band in image.getbands() if band not in "Aa"]
        if (highest := max(image.getchannel(band).getextrema()[1] for band in bands)) < 64:
            raise ValueError(f"its colours of 16 bits fill {(highest + 1) / 256:.1%} of their "
                             f"range, and Pillow leaves their upper 8 bits; {REMEDY}")


def more_bits(image: Image.Image) -> bool:
    """Whether the file has more than 8 bits, so that decoding may refuse it."""
    return is_deep(image) or COLOURS in image.info


def is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def to_bytes(image: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """A deep image as grey values (h, w) uint8, and which of ASSUMED this took.

    Raises ValueError for what cannot be interpreted.
    """
    array = np.array(image)
    if tag(image, BITS_PER_SAMPLE) == 32 and tag(image, SAMPLE_FORMAT, default=1) == 1:
        array = array.view(np.uint32)
    values = array.astype(np.float32)
    data, assumed = with_data(values, str(getattr(image, "tag_v2", {}).get(GDAL_NODATA, "")))
    some = sample(values, data)
    if not some.size:
        raise ValueError("it holds no data")
    if not np.isfinite(values).all(where=data):
        raise ValueError(f"its grey values are not all finite; {REMEDY}")
    values[~data] = np.median(some)
    low, high, stretched = grey_range(image, values, some)
    values -= low
    values *= 255 / (high - low)
    grey = np.rint(values, out=values).clip(0, 255, out=values).astype(np.uint8)
    if grey.min() == grey.max() and array.min() != array.max():
        raise ValueError(f"one grey value would be left of {array.min():g} to {array.max():g}; "
                         f"{REMEDY}")
    if tag(image, PHOTOMETRIC, default=1) == 0 and image.format == "TIFF":
        grey = 255 - grey
    return grey, assumed + stretched


def sample(values: np.ndarray, data: np.ndarray) -> np.ndarray:
    """At least a million of the values that are data, if there are as many."""
    step = values.size // 2**20 | 1
    return values.ravel()[::step][data.ravel()[::step]]


def with_data(values: np.ndarray, named: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which pixels (h, w) bool hold data, of float32 and the text of the tag GDAL_NODATA."""
    data, assumed = np.ones(values.shape, bool), ()
    try:
        data &= ~np.isnan(values) if np.isnan(float(named)) else values != np.float32(named)
    except ValueError:
        pass  # no tag, or no number in it
    while True:
        ends = (values.min(where=data, initial=np.inf), values.max(where=data, initial=-np.inf))
        for end in ends:
            if np.isfinite(end) and (end <= -9999 or end == 65535 or end >= 1e18):
                others = data & (values != end)
                if others.any() and (values / end).max(where=others, initial=-np.inf) < 0.5:
                    data, assumed = others, (NO_DATA,)
                    break
        else:
            return data, assumed


def grey_range(image: Image.Image, values: np.ndarray, some: np.ndarray
               ) -> tuple[float, float, tuple[str, ...]]:
    """The values that become black and white, and which of ASSUMED this took."""
    low, high = np.percentile(some, (OUTLIERS, 100 - OUTLIERS))
    bits = int(tag(image, BITS_PER_SAMPLE))
    first, last = tag(image, *LOWEST), tag(image, *HIGHEST)
    if bits == 12:
        first, last = 0, 4095
    if first < last != 2**bits - 1 and first <= low and high <= last and (
            high - low >= (last - first) / STEPS):
        return first, last, ()
    if low == high:
        low, high = values.min(), values.max()
    for top in TOPS:
        if low >= 0 and top / 2 <= high <= top and high - low >= top / STEPS:
            return 0, top, (BITS,) * (255 < top < 65535)
    if low == high:  # one value: as bright as it is in the least range that holds it
        return 0, next((top for top in TOPS if high <= top), high), ()
    return float(low), float(high), (STRETCHED,)
