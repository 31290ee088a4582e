"""Is every kind of mask read right and said, or refused with what was found and what to do?"""

import io
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from unet_resnet.audit.mask_rules import fault_of, infer_rule, read_values
from unet_resnet.audit.scoring import resolve_masks
from unet_resnet.data import Pair
from unet_resnet.images import MaskRule

SIDE = 96
Draw = Callable[[np.ndarray, np.ndarray], Image.Image]  # of a crack and something beside it, bool


def strokes(seed: int, count: int = 2, width: int = 4) -> np.ndarray:
    """Ragged lines across a mask, as bool."""
    points = np.random.default_rng(seed).uniform(4, SIDE - 4, (count, 4, 2))
    picture = Image.new("1", (SIDE, SIDE))
    for line in points:
        ImageDraw.Draw(picture).line([tuple(point) for point in line], 1, width)
    return np.array(picture)


def around(crack: np.ndarray, pixels: int = 2) -> np.ndarray:
    """The outline of a crack, that far out."""
    wide = Image.fromarray(crack).convert("L").filter(ImageFilter.MaxFilter(2 * pixels + 1))
    return (np.array(wide) > 0) & ~crack


NOTHING = np.zeros((SIDE, SIDE), bool)
# The crack and what is beside it; the last photo shows neither.
SCENES = [(strokes(seed), strokes(seed + 50, 1, 9) & ~strokes(seed)) for seed in range(4)]
SCENES.append((NOTHING, NOTHING))


def values(crack: int, beside: int = 0, ground: int = 0, kind: type = np.uint8) -> Draw:
    def draw(line: np.ndarray, other: np.ndarray) -> Image.Image:
        return Image.fromarray(np.where(line, crack, np.where(other, beside, ground)).astype(kind))
    return draw


def colours(crack: tuple[int, ...], beside: tuple[int, ...] | None = None,
            ground: tuple[int, ...] = (0, 0, 0)) -> Draw:
    def draw(line: np.ndarray, other: np.ndarray) -> Image.Image:
        array = np.empty((*line.shape, len(crack)), np.uint8)
        array[:] = ground
        if beside:
            array[other] = beside
        array[line] = crack
        return Image.fromarray(array)
    return draw


def indexed(palette: list[int], beside: int = 0) -> Draw:
    def draw(line: np.ndarray, other: np.ndarray) -> Image.Image:
        index = np.where(line, 1, np.where(other, beside, 0)).astype(np.uint8)
        image = Image.frombytes("P", (SIDE, SIDE), index.tobytes())
        image.putpalette(palette + [0] * (768 - len(palette)))
        return image
    return draw


def then(draw: Draw, change: Callable[[Image.Image], Image.Image]) -> Draw:
    return lambda line, other: change(draw(line, other))


def as_jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)
    return change


def smooth(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(0.8))


def resized(factor: float) -> Callable[[Image.Image], Image.Image]:
    """There and back: soft, in as many values as the method gives, and as large as before."""
    def change(image: Image.Image) -> Image.Image:
        size = round(SIDE * factor)
        return image.resize((size, size), Image.Resampling.BOX).resize(
            (SIDE, SIDE), Image.Resampling.BILINEAR)
    return change


def beneath(colour: tuple[int, int, int]) -> Draw:
    """Opaque where crack is, and this colour everywhere."""
    return lambda line, _: Image.fromarray(np.dstack(
        [np.full((SIDE, SIDE, 3), colour, np.uint8), line.astype(np.uint8) * 255]))


def write(folder: Path, draw: Draw, suffix: str = ".png", **options: object) -> list[Path]:
    """The masks of SCENES."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"wall_{index}{suffix}" for index in range(len(SCENES))]
    for path, scene in zip(paths, SCENES):
        draw(*scene).save(path, **options)
    return paths


def rule_in(folder: Path) -> tuple[MaskRule, str]:
    """Raises ValueError for ambiguous masks, and names the first."""
    rule, note, unclear = infer_rule([read_values(path) for path in sorted(folder.iterdir())])
    if unclear:
        raise ValueError(f"{unclear[0]}: {note}")
    return rule, note


BLACK_RED, PASCAL = [0, 0, 0, 255, 0, 0], [0, 0, 0, 128, 0, 0, 0, 128, 0]
WHITE = values(255)
# How masks are drawn and saved: what is said of them.
EXACT = {
    "0 and 255": (WHITE, ".png", ""),
    "bitmap": (lambda line, _: Image.fromarray(line), ".png", ""),
    "bitmap in TIFF": (lambda line, _: Image.fromarray(line), ".tif", ""),
    "white in RGB": (colours((255, 255, 255)), ".bmp", ""),
    "white, opaque": (colours((255,) * 4, ground=(0, 0, 0, 255)), ".png", ""),
    "white on transparent black": (colours((255,) * 4, ground=(0, 0, 0, 0)), ".png", ""),
    "white palette": (indexed([0, 0, 0, 255, 255, 255]), ".png", ""),
    "video range": (values(235, ground=16), ".png", ""),
    "0 and 1": (values(1), ".png", "1 is read as crack"),
    "0 and 2": (values(2), ".png", "2 is read as crack"),
    "grey": (values(100), ".png", "100 is read as crack"),
    "red": (colours((255, 0, 0)), ".png", "(255, 0, 0) is read as crack"),
    "yellow": (colours((255, 255, 0)), ".webp", "(255, 255, 0) is read as crack"),
    "class in the red channel": (colours((1, 0, 0)), ".png", "(1, 0, 0) is read as crack"),
    "red palette": (indexed(BLACK_RED), ".png", "(255, 0, 0) is read as crack"),
    "Pascal's palette": (indexed(PASCAL), ".png", "(128, 0, 0) is read as crack"),
    "red on transparent white": (colours((255, 0, 0, 255), ground=(255, 255, 255, 0)), ".png",
                                 "(255, 0, 0) is read as crack"),
    "only alpha, white": (beneath((255, 255, 255)), ".png", ""),
    "only alpha, red": (beneath((255, 0, 0)), ".tif", "(255, 0, 0) is read as crack"),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_kind_that_is_read_to_the_pixel(tmp_path, name):
    draw, suffix, said = EXACT[name]
    paths = write(tmp_path, draw, suffix, **{"lossless": True} if suffix == ".webp" else {})
    rule, note = rule_in(tmp_path)
    assert said in note and bool(said) == bool(note)
    for path, (crack, _) in zip(paths, SCENES):
        read = rule.read(path, path)
        assert read.shape == (1, SIDE, SIDE) and np.array_equal(read[0], crack)
        assert read_values(path).crack_pixels(rule) == crack.sum()


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("colour, said", [
    ((255, 255, 255), ""), ((255, 0, 0), "(255, 0, 0) is read"), ((128, 0, 0), "(128, 0, 0) is")])
@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png"])
def test_noise_of_jpeg_is_neither_crack_nor_class(tmp_path, quality, colour, said, suffix):
    """Saved as JPEG, or once more as PNG, where nothing but its values tells."""
    paths = write(tmp_path, then(colours(colour), as_jpeg(quality)), suffix,
                  **{} if suffix == ".png" else {"quality": quality, "subsampling": 2})
    rule, note = rule_in(tmp_path)
    assert said in note and bool(said) == bool(note)
    for path, (crack, _) in zip(paths, SCENES):
        wrong = (rule.read(path, path)[0].numpy() != crack).sum()
        assert wrong <= 0.15 * crack.sum() and not (wrong and not crack.any())


@pytest.mark.parametrize("change", [smooth, *map(resized, (0.3, 0.5, 0.7))])
def test_soft_edges_are_cut_at_half_white(tmp_path, change):
    for path in write(tmp_path, then(WHITE, change)):
        assert rule_in(tmp_path) == (MaskRule(), "")
        grey = np.array(Image.open(path))
        assert np.array_equal(MaskRule().read(path, path)[0], grey > 127)


def photo(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).normal(130, 30, (SIDE, SIDE, 3)).clip(0, 255)
    return Image.fromarray(noise.astype(np.uint8))


RED, GREEN = (255, 0, 0), (0, 255, 0)
REFUSED = {
    "void": (lambda line, _: Image.fromarray(np.where(line, 1, 255 * around(line)).astype(
        np.uint8)), "has 0, 1, 255;", "save cracks as 255"),
    "void and 128": (lambda line, _: Image.fromarray(np.where(line, 128, 255 * around(
        line)).astype(np.uint8)), "has 0, 128, 255;", "save cracks as 255"),
    "1 beside, 2 crack": (values(2, 1), "has 0, 1, 2;", "save cracks as 255"),
    "1 ground, 2 crack": (values(2, 1, 1), "has 1, 2;", "save cracks as 255"),
    "nothing but 1": (values(1, 1, 1), "has 1;", "save cracks as 255"),
    "numbered cracks": (lambda line, _: Image.fromarray(np.where(
        line, np.arange(SIDE) // 8 + 1, 0).astype(np.uint8)), "has 0, ", ", 9, 10;"),
    "three greys": (values(255, 128), "has 0, 128, 255;", "save cracks as 255"),
    "thirds": (values(170, 85), "has 0, 85, 170;", "save cracks as 255"),
    "white and green": (colours((255, 255, 255), GREEN), "has 0, (", "(0, 255, 0)", "save"),
    "red and green": (colours(RED, GREEN), "has 0, (", "(0, 255, 0)", "(255, 0, 0)"),
    "red and green, soft": (then(colours(RED, GREEN), smooth), "(0, 255, 0)", "(255, 0, 0)"),
    "Pascal's palette": (indexed(PASCAL, 2), "(0, 128, 0)", "(128, 0, 0)", "save cracks"),
    "red on white": (colours(RED, ground=(255,) * 3), "has (", "(255, 0, 0)", "save cracks"),
    "16 bits": (values(65535, kind=np.uint16), "more than 8 bits", "save cracks as 255"),
    "floats": (values(1, kind=np.float32), "more than 8 bits", "save cracks as 255"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_known_is_refused_with_the_values(tmp_path, name):
    draw, *words = REFUSED[name]
    write(tmp_path, draw, ".tif" if name == "floats" else ".png")
    with pytest.raises(ValueError) as caught:
        rule_in(tmp_path)
    text = str(caught.value)
    assert text.startswith(str(tmp_path / "wall_")) and "\n" not in text
    assert not [word for word in words if word not in text], text


@pytest.mark.parametrize("wall, crack", [(1, 2), (128, 255), (100, 255)])
def test_a_thin_class_beside_a_large_one_is_seen(tmp_path, wall, crack):
    """A wall over 40 % of the picture, in it a crack of two pixels: 1.2 % of what is drawn."""
    mask = np.zeros((512, 512), np.uint8)
    mask[:400, :256] = wall
    mask[100:400, 50:52] = crack
    for i in range(3):
        Image.fromarray(np.roll(mask, i)).save(tmp_path / f"wall_{i}.png")
    with pytest.raises(ValueError, match=f"has 0, {wall}, {crack};"):
        rule_in(tmp_path)


@pytest.mark.parametrize("colour, quality", [(RED, 60), (RED, 75), (RED, 90), (GREEN, 90)])
def test_noise_of_a_jpeg_that_became_a_png_is_no_class(tmp_path, colour, quality):
    draw = colours(colour)
    for i, scene in enumerate(SCENES):
        stream = io.BytesIO()
        draw(*scene).save(stream, "JPEG", quality=quality)
        Image.open(stream).save(tmp_path / f"wall_{i}.png")
    assert rule_in(tmp_path)[0].threshold < 255


@pytest.mark.parametrize("draw", [colours(RED, GREEN), colours((255, 255, 255), GREEN),
                                  values(255, 128), values(170, 85)])
@pytest.mark.parametrize("quality", [60, 90])
def test_classes_are_seen_through_the_noise_of_jpeg(tmp_path, draw, quality):
    write(tmp_path, draw, ".jpg", quality=quality)
    with pytest.raises(ValueError, match="expected 0 and one other value"):
        rule_in(tmp_path)


@pytest.mark.parametrize("draw, said", [
    (values(0, 255, 255), "more than half white"), (values(0, 1, 1), "more than half white"),
    (colours((0, 0, 0), ground=(255,) * 3), "more than half white"),
    (then(values(180), lambda mask: mask.filter(ImageFilter.GaussianBlur(4))),
     "too dark to count")])
def test_what_is_useless_is_refused(tmp_path, draw, said):
    paths = write(tmp_path, draw)
    with pytest.raises(ValueError, match=f"{said}.*{re.escape(str(tmp_path))}.*; .*white"):
        resolve_masks([Pair(path, path, "wall") for path in paths])
    assert said in fault_of(read_values(paths[0]), rule_in(tmp_path)[0])


def test_swapped_folders_are_reported(tmp_path):
    for seed in range(3):
        photo(seed).save(tmp_path / f"wall_{seed}.jpg")
    with pytest.raises(ValueError, match="wall_0.jpg: looks like a photo.*exchange the two fol"):
        rule_in(tmp_path)


# One file of another kind, in a folder of 0 and 255.
ODD = {"0 and 1": values(1), "red": colours(RED), "grey": values(100), "void": REFUSED["void"][0],
       "classes": values(170, 85), "photo": lambda *_: photo(9)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ODD)
def test_the_one_odd_file_is_named_whatever_the_order(tmp_path, name, seed):
    paths = write(tmp_path, WHITE)
    ODD[name](*SCENES[2]).save(paths[2])
    random.Random(seed).shuffle(paths)
    assert infer_rule([read_values(path) for path in paths])[2] == [tmp_path / "wall_2.png"]


def test_zero_and_one_are_noise_beside_noise(tmp_path):
    """A black mask that was a JPEG once may hold nothing but 0 and 1."""
    paths = write(tmp_path, then(WHITE, as_jpeg(60)))
    values(1)(*SCENES[0]).save(paths[-1])
    rule, note = rule_in(tmp_path)
    assert (rule, note) == (MaskRule(), "") and not rule.read(paths[-1], paths[-1]).any()


def test_a_tint_makes_no_other_kind(tmp_path):
    """One pixel of another channel, in a folder of grey masks."""
    paths = write(tmp_path, WHITE)
    tinted = Image.open(paths[0]).convert("RGB")
    tinted.putpixel((0, 0), (0, 1, 0))
    tinted.save(paths[0])
    assert rule_in(tmp_path) == (MaskRule(), "")


def test_of_many_values_a_few_are_named(tmp_path):
    Image.fromarray(np.uint8(np.arange(240) // 6)[None].repeat(9, 0)).save(tmp_path / "wall_0.png")
    with pytest.raises(ValueError, match="has 0, 1, .*, 11, ...; expected 0 and one other value"):
        rule_in(tmp_path)


def test_masks_that_are_all_black_are_black(tmp_path):
    write(tmp_path, lambda *_: Image.new("L", (SIDE, SIDE)))
    assert rule_in(tmp_path) == infer_rule([])[:2] == (MaskRule(), "")


# EXIF

@pytest.mark.parametrize("orientation, size, unsure", [
    (None, (60, 96), False), (1, (60, 96), False), (2, (60, 96), True), (3, (60, 96), True),
    (4, (60, 96), True), (6, (96, 60), False), (8, (96, 60), False), (6, (60, 60), True)])
def test_photos_that_exif_turns_are_said_where_sizes_do_not_tell(tmp_path, capsys, orientation,
                                                                 size, unsure):
    """size: of the mask, and of the photo when it is upright."""
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    stored = size if orientation and orientation > 4 else size[::-1]
    Image.new("RGB", stored).save(tmp_path / "photo.jpg", exif=exif)
    Image.new("L", size[::-1]).save(tmp_path / "mask.png")
    pairs = [Pair(tmp_path / "photo.jpg", tmp_path / "mask.png", "")]
    assert not resolve_masks(pairs)[0].rule.unturned
    notes = capsys.readouterr().out.splitlines()
    assert len(notes) == unsure
    assert not unsure or "photo.jpg" in notes[0] and "--masks-unturned" in notes[0]
    assert resolve_masks(pairs, unturned=True)[0].rule.unturned and not capsys.readouterr().out
