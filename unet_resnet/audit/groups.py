"""Which images show the same photograph, and must therefore sit on one side of a split?

The file name gives most of the answer, a perceptual hash finds copies under other names.
"""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from unet_resnet.data import Pair

CAMERA = r"(?:IMG|MVIMG|DSC[NF]?|DJI|GOPR|PXL|P(?=\d{7}|_\d{8}_))"
SOURCE = re.compile(r"(Eugen_Muller|Sylvie_Chambon|[^_]*)_")
NOT_A_SOURCE = re.compile(rf"(?:\d.*)?|P|{CAMERA}[\d-]*", re.IGNORECASE)
LABEL_STUDIO = re.compile(r"^[0-9a-f]{8}-")  # what it puts before a name
# What follows the photograph's name: the place of a crop, an augmentation, a second extension.
SUFFIX = re.compile(
    r"""(?: [_-]x\d+[_-]?y\d+
          | [_-]r(?:ow)?\d+[_-]?c(?:ol)?\d+
          | [_-](?:crop|tile|patch)(?:[_-]?\d+)*
          | [_-](?:rot(?:at(?:ed?|ion))?[_-]?\d*(?:deg)?|mirror(?:ed)?
                  |[hv]?flip(?:ped)?(?:[_-]?(?:h|v|lr|ud))?)
          | [_-](?:aug(?:mented)?|copy)[_-]?\d*
          | (?:_(?:jpe?g|png))?\.rf\.[0-9a-f]+  # Roboflow's name for each augmented copy
          | \.(?:jpe?g|png)
        )+$""", re.IGNORECASE | re.VERBOSE)

# One photograph, spelled differently by different sets: CFD, forest and Sylvie_Chambon 001..118
# are CrackForest under equal numbers (the photos were compared).
SPELLINGS = ((re.compile(r"^(?:CFD|forest|Sylvie_Chambon)_(?=(?:0\d\d|10\d|11[0-8])$)"), "CFD_"),
             (re.compile(r"^(GAPS384_[a-z]+)-(?=\d)"), r"\1_"),
             (re.compile(r"^CRACK500_(?=\d{8}_\d{6})"), ""))  # as its authors name it

# A name starts with its photograph: what matches is the group. A letter after the number, as in
# Eugen_Muller_8980a, may mean a second cut and is left out.
PHOTOGRAPH = re.compile(
    rf"""(?: CRACK500_IMG_\d+ | Rissbilder_for_Florian_[0-9A-Z]+
           | Volker_DSC\d+ | DeepCrack_[^-]+ | GAPS384_[a-z]+_\d+ | Eugen_Muller_\d+
           | (?:\d{{5}}|7Q3A\d{{4}})(?=-\d{{1,2}}$)  # DeepCrack's own names
           | Sylvie_Chambon_Im_\D+\d+ | noncrack_noncrack_concrete_wall_\d+ | masonry_[a-z]_\d+
           | UAVCrackX_x\d+  # the photographs of one flight overlap: each zoom is one group
           | ConcreteWall_[a-z]+\d+ | MT(?:Crack|Free)_obj\d+  # exposures of one tile
           | (?:{CAMERA}[_-]?)?\d{{8}}[_-](?:\d{{6,9}}|WA\d+)(?![0-9A-Z])  # date and time
           | {CAMERA}[_-]?\d+(?![0-9A-Z])                                # counter
         )""", re.IGNORECASE | re.VERBOSE)

# Names that no second photograph has, in any folder: those of known sets, dates with times.
UNIQUE = re.compile(
    rf"""(?: (?:CFD|CRACK500|cracktree200|DeepCrack|Eugen_Muller|GAPS384|Rissbilder|Sylvie_Chambon
              |Volker|UAVCrackX|SUT|ShadowCrack|CrackTile|ConcreteWall|MTCrack|MTFree|HRCDS
              |CFDFree)_
           | masonry_[a-z]_\d | noncrack_[a-z] | (?:{CAMERA}[_-]?)?\d{{8}}[_-]\d{{6,9}}(?!\d)
         )""", re.IGNORECASE | re.VERBOSE)

FREQUENCIES = 24  # cosines per axis
KEPT = 384  # signs kept of the 575: weak coefficients change sign under JPEG
FLOOR = 1e-5  # grey levels of 0..1; the weakest real photograph has 3e-5 at its median coefficient
# Agreement of copies. Of 20 million pairs of strangers the best reached 0.56 (two bare surfaces,
# each with one dark corner); of 11 000 altered copies all but one reached 0.64.
COPY_AGREEMENT = 0.6
BLANK = torch.zeros(FREQUENCIES**2, dtype=torch.int8)  # the hash that resembles nothing


def source_of(stem: str) -> str:
    """The data set an image came from: `CFD_014` -> `CFD`; a camera's own name -> `photos`.

    Else each photo of tiles such as wall12_x0_y512 would be a source, and count like one.
    """
    named = SOURCE.match(SUFFIX.sub("", LABEL_STUDIO.sub("", stem)) or stem)
    return "photos" if not named or NOT_A_SOURCE.fullmatch(named[1]) else named[1]


def group_of(stem: str) -> str:
    """The photograph an image was cut from, as far as its name (without suffix) tells: the names of
    known sets and of cameras, and crops and augmentations that say so. Others are their own group.
    """
    if (bare := SUFFIX.sub("", stem) or stem) != stem:
        stem = LABEL_STUDIO.sub("", bare)  # which each crop has another of
    for pattern, spelling in SPELLINGS:
        stem = pattern.sub(spelling, stem)
    photograph = PHOTOGRAPH.match(stem)
    return photograph.group() if photograph else stem


def photographs(pairs: Sequence[Pair]) -> list[str]:
    """The group of each photo; where names are used again, each subfolder has its own groups."""
    stems = Counter(pair.image.stem for pair in pairs)
    groups = [group_of(pair.image.stem) for pair in pairs]
    reused = {group for pair, group in zip(pairs, groups) if stems[pair.image.stem] > 1}
    return [f"{pair.folder}/{group}" if pair.folder and group in reused and not UNIQUE.match(group)
            else group for pair, group in zip(pairs, groups)]


def same_photograph(photos: Sequence[Path], border: int) -> dict[int, int]:
    """For photos from index `border` on, one before it that shows the same photograph by name."""
    earlier: dict[str, dict[str, int]] = defaultdict(dict)  # photograph -> names of its crops
    for i, photo in enumerate(photos[:border]):
        earlier[group_of(photo.stem)].setdefault(photo.stem, i)
    found = {}
    for j, photo in enumerate(photos[border:], start=border):
        group = group_of(photo.stem)
        crops = earlier.get(group, {})
        # Cameras count from 1 again: the mere name IMG_0001, on both sides, proves nothing.
        if crops and (UNIQUE.match(group) or crops.keys() | {photo.stem} != {group}):
            found[j] = next(iter(crops.values()))
    return found


def _cosines(length: int) -> Tensor:
    """(FREQUENCIES, length): the rows of a type-II DCT, so that any image size has one meaning."""
    centres = (torch.arange(length) + 0.5) / length
    return torch.cos(math.pi * torch.arange(FREQUENCIES)[:, None] * centres)


def perceptual_hash(gray: Tensor) -> Tensor:
    """The signs of the strongest low-frequency DCT coefficients of an image.

    gray: (h, w) or (1, h, w), values 0..1. Returns (576,) int8 of -1, 0 and 1, row-major over
    vertical and horizontal frequency; 0 marks a coefficient too weak to trust its sign. An image
    without content has few signs and resembles nothing, not even itself.

    After the DCT hash of Zauner (2010), with two departures: strong signs instead of bits around
    a median, and the image is projected at its own size, not shrunk first.
    """
    gray = gray.float() - gray.float().mean()
    height, width = gray.shape[-2:]
    coefficients = _cosines(height) @ gray @ _cosines(width).T / (height * width)
    coefficients = coefficients.flatten()
    strongest = coefficients.abs().topk(KEPT)
    kept = strongest.indices[strongest.values > FLOOR]
    signs = BLANK.clone()
    signs[kept] = coefficients[kept].sign().to(torch.int8)
    return signs


def _eight_views(signs: Tensor) -> Tensor:
    """(n, 576) -> (8, n, 576): the hashes of the mirrored and quarter-turned images.

    A transposed image transposes its DCT; a mirrored one changes the sign of odd frequencies.
    """
    upright = signs.unflatten(-1, (FREQUENCIES, FREQUENCIES))
    odd = (-1.0) ** torch.arange(FREQUENCIES)
    mirrored = torch.stack([upright, upright * odd])
    flipped = torch.cat([mirrored, mirrored * odd[:, None]])
    return torch.cat([flipped, flipped.transpose(-1, -2)]).flatten(-2)


def near_duplicates(hashes: Sequence[Tensor], block: int = 128) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of images that are copies of each other, even turned or mirrored.

    hashes: n of `perceptual_hash`. Agreement = (equal signs - opposite signs) / KEPT.
    Every pair is compared in eight views: 11 000 images take 15 s on one core, 80 MB in blocks.
    """
    if not hashes:
        return []
    signs, pairs = torch.stack([*hashes]).float(), []
    for start in range(0, len(signs), block):
        views = _eight_views(signs[start:start + block])
        agreement = (views.flatten(0, 1) @ signs[start:].T).unflatten(0, (8, -1)).amax(0) / KEPT
        found = (agreement.triu(1) >= COPY_AGREEMENT).nonzero() + start
        pairs += [(i, j) for i, j in found.tolist()]
    return pairs


def merge_groups(groups: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """The groups after merging those that a pair of images links, under their smallest name."""
    joined = [*groups]
    for i, j in pairs:
        first, second = sorted((joined[i], joined[j]))
        if first != second:
            joined = [first if group == second else group for group in joined]
    return joined


def split_groups(groups: Sequence[str], sources: Sequence[str], share: float, seed: int = 0
                 ) -> list[bool]:
    """Which images are held out: whole groups, about `share` of the images of every source.

    Each source gives at least one group and keeps one, unless another source shares it and gives
    it; sources of a single group, or of three images or fewer, are pooled. The answer depends on
    names and seed, not on the order of the images. Raises ValueError if there are fewer than two
    groups.
    """
    if len(set(groups)) < 2:
        raise ValueError(f"all {len(groups)} images show one photograph and cannot be split: "
                         "expected two photographs or more; add images, or give your own --split")
    pools: dict[str, Counter[str]] = defaultdict(Counter)  # source -> images per group
    for group, source in zip(groups, sources, strict=True):
        pools[source][group] += 1
    alone = [source for source, images in pools.items() if len(images) == 1 or images.total() <= 3]
    pools[""] = sum((pools.pop(source) for source in alone), Counter())

    def shuffled(group: str) -> bytes:
        return hashlib.sha256(f"{seed}/{group}".encode(errors="surrogateescape")).digest()

    held: set[str] = set()
    for _, images in sorted(pools.items()):
        missing = share * images.total() - sum(images[group] for group in held)
        free = sorted(images.keys() - held, key=shuffled)
        for group in free[:-1]:  # the last one stays
            if abs(missing - images[group]) < abs(missing):
                held.add(group)
                missing -= images[group]
        if len(images) > 1 and held.isdisjoint(images):
            held.add(min(free, key=images.__getitem__))
    return [group in held for group in groups]
