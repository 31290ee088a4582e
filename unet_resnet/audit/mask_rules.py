"""What do the mask files of a folder mean?

A single file cannot tell: its only value 1 may be a crack or the noise of a JPEG. So `survey` notes
the values of each file, and `rule_of` looks at those of a whole folder.

| in the masks | crack is |
|---|---|
| 0 and 255, soft edges, JPEG noise | above 127 |
| one other value or colour on black, such as 1 | more than half as bright, and said |
| cracks numbered 1, 2, 3 ... in each file | all but 0, and said |
| one colour of varying transparency | more than half opaque, and said |
| classes, void, no black, two kinds of file, mostly crack, photos | refused |
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from unet_resnet.files import one_line
from unet_resnet.images import QUARTER_TURNS, has_pages, opened, turn_of
from unet_resnet.masks import NEAR, REMEDY, WHITE, Rule, decoded

Label = int | tuple[int, int, int]  # a grey value, or a colour with channels that differ
# Levels that the noise of a JPEG seldom crosses; that of colours is larger.
COARSE = [0 if value < NEAR else WHITE if value > WHITE - NEAR else (value + 16) // 32 * 32
          for value in range(256)]
COARSE_COLOURS = [0 if value < 80 else 128 if value < 192 else WHITE for value in range(256)] * 3
FAULTS = {  # and what to do
    "mask is more than half white": "invert it: cracks must be white, the rest black",
    "mask is drawn, but too dark to count": f"draw cracks in white ({WHITE})"}


@dataclass(frozen=True, eq=False)
class MaskValues:
    """What is in one mask file, before its folder decides what it means."""

    path: Path
    size: tuple[int, int]  # height and width, upright
    values: np.ndarray  # pixels of each brightness, that of the highest channel
    labels: frozenset[Label]  # values of areas, not of soft edges or noise; without 0
    alpha: np.ndarray | None  # pixels of each opacity, if nothing else can vary
    turned: bool  # by an EXIF orientation of its own
    lossy: bool  # a JPEG
    pages: bool  # more than the one that is read

    def counting(self, rule: Rule) -> np.ndarray:
        """Pixels of each value that counts."""
        return self.alpha if rule.in_alpha and self.alpha is not None else self.values

    def crack_pixels(self, rule: Rule) -> int:
        return int(self.counting(rule)[rule.threshold + 1:].sum())


def survey(path: Path) -> MaskValues:
    """Raises OSError or ValueError, naming the file, if it cannot be read."""
    with opened(path) as image:
        lossy, turned = image.format == "JPEG", turn_of(image) is not None
        pages, (values, colours, alpha) = has_pages(image), decoded(image)
    return MaskValues(path, values.shape, histogram(values), flat_labels(values, colours, lossy),
                      None if alpha is None else histogram(alpha), turned, lossy, pages)


def histogram(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return np.array(Image.fromarray(values).histogram())  # no copy of 64 bits a pixel
    return np.bincount(values.ravel(), minlength=WHITE + 1)


def counts(values: np.ndarray, colours: Image.Image | None) -> dict[Label, int]:
    if colours is None:
        pixels = histogram(values)
        return {int(value): int(pixels[value]) for value in pixels.nonzero()[0]}
    return {colour if len({*colour}) > 1 else colour[0]: count
            for count, colour in colours.getcolors(2**24)}


def flat_labels(values: np.ndarray, colours: Image.Image | None, lossy: bool) -> frozenset[Label]:
    """The labels of areas, without black.

    A pixel of a soft edge, or of noise, has a darker and a brighter one beside it; one of an area
    seldom has both. A shrunken mask has many values: there, a label must be a tenth of all drawn.
    """
    if lossy or colours and not colours.getcolors(64):  # perhaps a JPEG once, or soft edges
        values = np.array(COARSE, np.uint8)[values]
        colours = colours and colours.point(COARSE_COLOURS)
    found = counts(values, colours)
    found.pop(0, None)
    if len(found) <= 1:
        return frozenset(found)
    padded = np.pad(values, 1, mode="edge")
    level = np.zeros(values.shape, bool)
    for most in (np.maximum, np.minimum):
        rows = most(most(padded[:-2], padded[1:-1]), padded[2:])
        level |= values == most(most(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    flat = counts(values[level][None],
                  colours and Image.fromarray(np.array(colours)[level][None]))
    shades = [label for label in found if label != WHITE]
    areas = 4 * sum(flat.get(label, 0) for label in shades) > 3 * sum(map(found.get, shades))
    least = 0.001 if areas else 0.1 if len(found) > 8 else 0.02
    return frozenset(
        label for label, count in found.items() if 4 * flat.get(label, 0) > 3 * count
        and count > sum(found.values()) * min(least, 1 if isinstance(label, int) else 0.02))


class UnclearMasks(ValueError):
    """Masks that could mean several things; the text names the first of them."""

    def __init__(self, masks: Sequence[MaskValues], found: str) -> None:
        self.paths = [mask.path for mask in masks]
        super().__init__(one_line(f"{self.paths[0]}: {found}"))


def may_be_unturned(mask: MaskValues, photo: tuple[int, int], turn: Image.Transpose | None) -> bool:
    """Whether EXIF turns the photo (h, w), not the mask, and sizes do not tell how it is drawn."""
    square = photo[0] == photo[1]
    return turn is not None and not mask.turned and mask.size == photo and (
        square or turn not in QUARTER_TURNS)


def fault_of(mask: MaskValues, rule: Rule) -> str:
    """What makes a mask useless when it is read so, one of FAULTS, or ""."""
    crack = mask.crack_pixels(rule)
    if 2 * crack > mask.values.sum():
        return "mask is more than half white"
    drawn = mask.values[rule.threshold // 4 + 1:].any() and not rule.in_alpha
    return "mask is drawn, but too dark to count" if drawn and not crack else ""


def rule_of(masks: Sequence[MaskValues]) -> tuple[Rule, str]:
    """How the masks of one folder are read, and a note if they are not 0 and 255.

    Raises UnclearMasks if nothing certain can be said.
    """
    masks = sorted(masks, key=lambda mask: mask.path)
    if photos := [mask for mask in masks if is_photo(mask.values)]:
        raise UnclearMasks(photos, "looks like a photo, not like a mask; if photos and masks are "
                           "swapped, exchange the two folders")
    clear = [mask for mask in masks if mask.alpha is not None]
    if any(np.count_nonzero(mask.alpha) > 1 for mask in clear):
        if opaque := [mask for mask in masks if mask.alpha is None and mask.values[1:].any()]:
            raise UnclearMasks(opaque, f"drawn in colours, but {clear[0].path.name} in its "
                               f"transparency; {REMEDY}")
        return Rule(in_alpha=True), "drawn in transparency: what is opaque is read as crack"
    noisy = any(mask.values[WHITE + 1 - NEAR:WHITE].any() for mask in masks if not mask.lossy)
    found = {mask: {label for label in mask.labels if not (noisy and is_near(label))}
             for mask in masks}
    found = {mask: labels for mask, labels in found.items() if labels}
    if set().union(*found.values()) <= {WHITE}:
        return Rule(), ""
    return rule_of_labels(found, black=any(mask.values[0] for mask in masks))


def rule_of_labels(found: Mapping[MaskValues, set[Label]], black: bool) -> tuple[Rule, str]:
    """`rule_of` opaque masks with areas of these labels, perhaps on black."""
    uses = Counter(chain(*found.values()))
    first = max(uses, key=lambda label: (uses[label], brightness(label), str(label)))
    most = max(map(len, found.values()))
    odd = [mask for mask, labels in found.items() if labels != {first}]
    if not odd and black:
        kind = "values 0 and" if isinstance(first, int) else "colour"
        return Rule(brightness(first) // 2), f"drawn in {kind} {first}: {first} is read as crack"
    if most >= 5 and len(set(map(len, found.values()))) >= 3 and all(
            labels == {*range(1, len(labels) + 1)} for labels in found.values()):
        return Rule(0), f"drawn in numbers 0 to {most}: all but 0 is read as crack"
    if most == 1 and black:
        other = next(mask for mask, labels in found.items() if labels == {first})
        raise UnclearMasks(odd, f"drawn in {listed(found[odd[0]])}, but {other.path.name} in "
                           f"{first}; {REMEDY}, in all masks")
    odd = sorted(found, key=lambda mask: -len(found[mask]))[:len(odd) or None]
    values = found[odd[0]] | ({0} if black else set())
    void = " (255 is often void)" if {1, WHITE} <= values else ""
    raise UnclearMasks(odd, f"has {listed(values)}{void}, and nothing tells which is crack; "
                       f"{REMEDY}")


def listed(labels: set[Label]) -> str:
    words = [str(label) for label in sorted(labels, key=lambda each: (brightness(each), str(each)))]
    words = words if len(words) < 8 else [*words[:6], f"{len(words) - 6} others"]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def brightness(label: Label) -> int:
    return label if isinstance(label, int) else max(label)


def is_near(label: Label) -> bool:
    return isinstance(label, int) and not NEAR <= label <= WHITE - NEAR and label != WHITE


def is_photo(values: np.ndarray) -> bool:
    """Whether a quarter is neither near black nor near white, in many shades."""
    between = values[NEAR:WHITE + 1 - NEAR]
    return bool(between.sum() > values.sum() / 4 and np.count_nonzero(between) >= NEAR)
