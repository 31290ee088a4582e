"""What do the mask files of a folder mean?

A single file cannot tell: its only value 1 may be a crack or the noise of a JPEG. So `read_values`
notes the values of each file, and `infer_rule` looks at those of a whole folder: crack is what is
brighter than 127, or than half of the one value or colour that all masks have besides black.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from unet_resnet.images import (
    MASK_REMEDY, WHITE, MaskRule, brightness, decode_mask, exif_turn, open_image)

Label = int | tuple[int, int, int]  # a grey value, or a colour
NEAR = 48  # values this close to black or white may be noise of a JPEG or of resampling
# Levels that the noise of a JPEG seldom crosses; that of colours is larger.
COARSE = [0 if value < NEAR else WHITE if value > WHITE - NEAR else (value + 16) // 32 * 32
          for value in range(256)]
COARSE_COLOURS = [0 if value < 80 else 128 if value < 192 else WHITE for value in range(256)] * 3
MAX_LISTED = 12  # labels in a message
FAULTS = {  # and what to do
    "mask is more than half white": "invert it: cracks must be white, the rest black",
    "mask is drawn, but too dark to count": f"draw cracks in white ({WHITE})"}


@dataclass(frozen=True, eq=False)
class MaskValues:
    """What is in one mask file, before its folder decides what it means."""

    path: Path
    size: tuple[int, int]  # height and width, upright
    values: np.ndarray  # pixels of each brightness
    labels: frozenset[Label]  # values of areas, not of soft edges or noise; without black
    turned: bool  # by an EXIF orientation of its own
    lossy: bool  # a JPEG
    frayed: bool  # `is_frayed`

    def crack_pixels(self, rule: MaskRule) -> int:
        return int(self.values[rule.threshold + 1:].sum())


def read_values(path: Path) -> MaskValues:
    """Raises OSError or ValueError, naming the file, if it cannot be read."""
    with open_image(path) as image:
        lossy, turned = image.format == "JPEG", exif_turn(image) is not None
        image = decode_mask(image)
    bright = brightness(image)
    values = np.array(Image.fromarray(bright).histogram())
    return MaskValues(path, bright.shape, values, area_labels(image, lossy), turned, lossy,
                      is_frayed(bright > WHITE // 2))


def area_labels(image: Image.Image, lossy: bool) -> frozenset[Label]:
    """The labels of areas in an image of mode L or RGB, without black.

    A pixel of a soft edge, or of noise, has a darker and a brighter one beside it; one of an area
    seldom has both.
    """
    bands = image.split()
    tint = ImageChops.difference(reduce(ImageChops.lighter, bands),
                                 reduce(ImageChops.darker, bands))
    colours = tint.getextrema()[1] > (NEAR // 3 if lossy else 0)
    image = image if colours else image.convert("L")
    coarse = lossy or colours and not image.getcolors(64)  # perhaps a JPEG once, or soft edges
    if coarse:
        image = image.point(COARSE_COLOURS if colours else COARSE)
    found = counts(image)
    if len(found) <= 1:
        return frozenset(found)
    bright = brightness(image)
    highest, lowest = (np.array(Image.fromarray(bright).filter(extreme(3)))
                       for extreme in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
    level = (bright == highest) | (bright == lowest)
    flat = counts(Image.fromarray(np.array(image)[level][None]))
    if not colours and 4 * (flat.total() - flat[WHITE]) < 3 * (found.total() - found[WHITE]):
        return frozenset({WHITE} & found.keys())  # the others are edges
    # A thin class beside a large one; more values may be what is left of soft edges.
    least = 0.001 if not coarse and len(found) < 8 else 0.02
    return frozenset(label for label, count in found.items()
                     if count > least * found.total() and 4 * flat[label] > 3 * count)


def counts(image: Image.Image) -> Counter[Label]:
    """Pixels of each value or colour but black. A grey is a value, in a coloured image too."""
    found = Counter({label[0] if image.mode == "RGB" and len({*label}) == 1 else label: count
                     for count, label in image.getcolors(image.width * image.height)})
    del found[0]
    return found


def is_frayed(crack: np.ndarray) -> bool:
    """Whether a threshold took JPEG noise around the cracks for crack; crack: (h, w) bool.

    The signs are crack pixels with at most one crack neighbour, above 2 % of the crack's area, and
    background pixels with five or more, above 5 %. All masks of Rissbilder, Volker and Eugen_Muller
    in the 11k set have both (from 2.7 and 5.5 %), none of 980 clean masks has.
    """
    padded = np.pad(crack, 1).astype(np.uint8)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    around = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]  # with the pixel itself
    area = np.count_nonzero(crack)
    return bool(np.count_nonzero(crack & (around <= 2)) > 0.02 * area
                and np.count_nonzero(~crack & (around >= 5)) > 0.05 * area)


def fault_of(mask: MaskValues, rule: MaskRule) -> str:
    """What makes a mask useless when it is read so, one of FAULTS, or ""."""
    crack = mask.crack_pixels(rule)
    if 2 * crack > mask.values.sum():
        return "mask is more than half white"
    drawn = mask.values[rule.threshold // 4 + 1:].any()
    return "mask is drawn, but too dark to count" if drawn and not crack else ""


def infer_rule(masks: Sequence[MaskValues]) -> tuple[MaskRule, str, list[Path]]:
    """How the masks of one folder are read, and a note if they are not 0 and 255; or, if nothing
    certain can be said, why, and of which masks."""
    masks = sorted(masks, key=lambda mask: mask.path)
    if photos := [mask.path for mask in masks if is_photo(mask.values)]:
        return MaskRule(), ("looks like a photo, not like a mask; if photos and masks are swapped, "
                            "exchange the two folders"), photos
    noise = {*range(NEAR), *range(WHITE + 1 - NEAR, WHITE)}
    if not any(mask.values[WHITE + 1 - NEAR:WHITE].any() for mask in masks if not mask.lossy):
        noise = set()  # they were no JPEGs once
    found = {mask.path: mask.labels - noise for mask in masks}
    uses = Counter(chain(*found.values()))
    if uses.keys() <= {WHITE}:
        return MaskRule(), "", []
    first = max(uses, key=lambda label: (uses[label], np.max(label), str(label)))
    black = any(mask.values[0] for mask in masks)
    if odd := [path for path in found if found[path] - {first} or not black]:
        values = [0] * black + sorted(found[odd[0]], key=np.max)
        listed = ", ".join(map(str, values[:MAX_LISTED])) + ", ..." * (len(values) > MAX_LISTED)
        return MaskRule(), (f"has {listed}; expected 0 and one other value, the same in "
                            f"all masks of the folder; {MASK_REMEDY}"), odd
    kind = "values 0 and" if isinstance(first, int) else "colour"
    rule = MaskRule(int(np.max(first)) // 2)
    return rule, f"drawn in {kind} {first}: {first} is read as crack", []


def is_photo(values: np.ndarray) -> bool:
    """Whether a quarter is neither near black nor near white, in many shades."""
    between = values[NEAR:WHITE + 1 - NEAR]
    return bool(between.sum() > values.sum() / 4 and np.count_nonzero(between) >= NEAR)
