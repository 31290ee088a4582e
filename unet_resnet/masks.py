"""What do the mask files of a folder mean?

Masks have no standard: cracks are 255, or 1, or red, or numbered, or opaque. A single file cannot
tell: its only value 1 may be a crack or the noise of a JPEG. So `rule_of` looks at a whole folder.

| in the masks | crack is |
|---|---|
| 0 and 255, soft edges, JPEG noise | above 127 |
| one other value or colour on black, such as 1 | more than half as bright, and said |
| cracks numbered 1, 2, 3 ... in each file | all but 0, and said |
| one colour of varying transparency | more than half opaque, and said |
| classes, void, no black, two kinds of file, mostly crack, photos | refused |
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unet_resnet.files import one_line
from unet_resnet.images import QUARTER_TURNS, opened, size_of, turn_of, upright
from unet_resnet.mask_files import NEAR, REMEDY, WHITE, Label, MaskValues, decoded, survey

SPECIAL, UNSURE = "masks are not 0 and 255", "photo is turned by EXIF, its mask is not"
UNTURNED = "if masks are drawn on the photos as stored, add --masks-unturned"
FAULTS = {  # and what to do
    "mask is more than half white": "invert it: cracks must be white, the rest black",
    "mask is drawn, but too dark to count": f"draw cracks in white ({WHITE})"}


class UnclearMasks(ValueError):
    """Masks that could mean several things; the text names the first of them."""

    def __init__(self, masks: Sequence[MaskValues], found: str) -> None:
        self.paths = [mask.path for mask in masks]
        super().__init__(one_line(f"{self.paths[0]}: {found}"))


@dataclass(frozen=True)
class Rule:
    """How the masks of a folder are read: crack is brighter than `threshold`."""

    threshold: int = WHITE // 2
    in_alpha: bool = False  # crack is more opaque than that, instead
    unturned: bool = False  # masks are drawn on the stored pixels of photos that EXIF turns
    note: str = ""

    def values(self, mask: MaskValues) -> np.ndarray:
        """Pixels of each value that counts."""
        return mask.alpha if self.in_alpha and mask.alpha is not None else mask.values

    def crack_pixels(self, mask: MaskValues) -> int:
        return int(self.values(mask)[self.threshold + 1:].sum())

    def read(self, mask: Path, photo: Path) -> Tensor:
        """The mask of a photo, upright, as (1, h, w) uint8: 1 for crack, else 0.

        Raises OSError or ValueError, naming the file, if it cannot be read.
        """
        turn = exif_turn(photo) if self.unturned else None
        with opened(mask) as image:
            turn = turn if turn_of(image) is None else None
            values, _, alpha = decoded(upright(image), image.format == "JPEG")
        if self.in_alpha:
            values = np.zeros_like(values) if alpha is None else alpha
        crack = (values > self.threshold).astype(np.uint8)
        if turn is not None:
            crack = np.array(Image.fromarray(crack).transpose(turn))
        return torch.from_numpy(crack)[None]


def exif_turn(photo: Path) -> Image.Transpose | None:
    with opened(photo) as image:
        return turn_of(image)


def misfit(mask: Sequence[int], photo: Sequence[int], turn: Image.Transpose | None) -> str:
    """Why a mask (h, w) does not fit its photo (h, w), which EXIF may turn, and what to do."""
    sizes = f"{mask[1]}x{mask[0]} pixels, but its photo has {photo[1]}x{photo[0]}"
    if turn in QUARTER_TURNS and tuple(mask) == tuple(photo)[::-1]:
        return f"{sizes} after EXIF turns it; {UNTURNED}"
    return f"{sizes}; export the mask at the photo's size"


def may_be_unturned(mask: MaskValues, photo: tuple[int, int], turn: Image.Transpose | None) -> bool:
    """Whether EXIF turns the photo (h, w), not the mask, and sizes do not tell how it is drawn."""
    square = photo[0] == photo[1]
    return turn is not None and not mask.turned and mask.size == photo and (
        square or turn not in QUARTER_TURNS)


def rule_for(files: Mapping[Path, Path], unturned: bool = False) -> tuple[Rule, list[str]]:
    """How the masks of one folder (by their photos) are read, and notes for the user.

    A file that cannot be read is passed over. Raises ValueError, naming a mask, if they are not
    understood, inverted or too dark.
    """
    masks, unsure = [], []
    for photo, path in files.items():
        try:
            mask, size, turn = survey(path), size_of(photo), exif_turn(photo)
        except (OSError, ValueError):
            continue
        masks.append(mask)
        unsure += [photo] * may_be_unturned(mask, size, turn)
    rule = replace(rule_of(masks), unturned=unturned)
    for mask in masks:
        if fault := fault_of(mask, rule):
            raise ValueError(one_line(f"{mask.path}: {fault}; {FAULTS[fault]}"))
    notes = []
    if rule.note:
        folder = os.path.commonpath([mask.path.parent for mask in masks])
        notes.append(f"note: {SPECIAL}: {folder}: {rule.note}")
    if unsure and not unturned:
        notes.append(f"warning: {UNSURE}: {len(unsure)}, e.g. {unsure[0]}; {UNTURNED}")
    return rule, notes


def fault_of(mask: MaskValues, rule: Rule) -> str:
    """What makes a mask useless when it is read so, one of FAULTS, or ""."""
    crack = rule.crack_pixels(mask)
    if 2 * crack > mask.values.sum():
        return "mask is more than half white"
    drawn = mask.values[rule.threshold // 4 + 1:].any() and not rule.in_alpha
    return "mask is drawn, but too dark to count" if drawn and not crack else ""


def rule_of(masks: Sequence[MaskValues]) -> Rule:
    """How the masks of one folder are read. Raises UnclearMasks if nothing certain can be said."""
    masks = sorted(masks, key=lambda mask: mask.path)
    if photos := [mask for mask in masks if is_photo(mask.values)]:
        raise UnclearMasks(photos, "looks like a photo, not like a mask; if photos and masks are "
                           "swapped, exchange the two folders")
    clear = [mask for mask in masks if mask.alpha is not None]
    if any(np.count_nonzero(mask.alpha) > 1 for mask in clear):
        if opaque := [mask for mask in masks if mask.alpha is None and mask.values[1:].any()]:
            raise UnclearMasks(opaque, f"drawn in colours, but {clear[0].path.name} in its "
                               f"transparency; {REMEDY}")
        return Rule(in_alpha=True, note="drawn in transparency: what is opaque is read as crack")
    noisy = any(mask.values[WHITE + 1 - NEAR:WHITE].any() for mask in masks if not mask.lossy)
    found = {mask: {label for label in mask.labels if not (noisy and is_near(label))}
             for mask in masks}
    found = {mask: labels for mask, labels in found.items() if labels}
    if set().union(*found.values()) <= {WHITE}:
        return Rule()
    return rule_of_labels(found, black=any(mask.values[0] for mask in masks))


def rule_of_labels(found: Mapping[MaskValues, set[Label]], black: bool) -> Rule:
    """`rule_of` opaque masks with areas of these labels, perhaps on black."""
    uses = Counter(chain(*found.values()))
    first = max(uses, key=lambda label: (uses[label], brightness(label), str(label)))
    most = max(map(len, found.values()))
    odd = [mask for mask, labels in found.items() if labels != {first}]
    if not odd and black:
        kind = "values 0 and" if isinstance(first, int) else "colour"
        return Rule(brightness(first) // 2, note=f"drawn in {kind} {first}: {first} is read as "
                    "crack")
    if most >= 5 and len(set(map(len, found.values()))) >= 3 and all(
            labels == {*range(1, len(labels) + 1)} for labels in found.values()):
        return Rule(0, note=f"drawn in numbers 0 to {most}: all but 0 is read as crack")
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
