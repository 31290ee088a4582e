"""What infer.py makes of two photos, as the picture at the top of the README.

    pip install -e ".[measure]" && python benchmarks/showcase.py --output docs/showcase.jpg

The surfaces are public-domain photos from scikit-image, because the data sets may not be shown
here. The cracks are synthetic: dark and soft, with ragged edges that follow the grain of the
surface, and a lit rim.
"""

import argparse
import math
from pathlib import Path

import torch
from PIL import Image
from skimage import data
from torch import Generator, Tensor
from torch.nn import functional as F

from unet_resnet import load
from unet_resnet.checkpoint import SHIPPED
from unet_resnet.inference import overlay
from unet_resnet.inference.predictor import MIN_AREA, to_photo
from unet_resnet.measure import drawing, widths
from unet_resnet.metrics import count
from unet_resnet.synthetic.pavement import move, curve, distance, rand, texture

SIDE, CELL = 448, 300  # pixels: of a photo, and in the picture
GRAIN = 3.2  # how much gravel is reduced, to look like asphalt
BLUR = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16


def asphalt(seed: int) -> Tensor:
    """Gravel, reduced; pieces of it side by side, so that no mirrored pattern shows."""
    g, stones = Generator().manual_seed(seed), to_photo(data.gravel()).float()
    stones = F.interpolate(stones[None], scale_factor=1 / GRAIN, mode="area")[0]
    photo, reach = torch.zeros(3, SIDE, SIDE), stones.shape[-1]
    piece = texture(g, SIDE, 60)  # its level lines are the seams between the pieces
    for level in (-math.inf, -2, -1.4, -0.9, -0.4, 0, 0.4, 0.9, 1.4, 2):
        turned = stones.rot90(int(torch.randint(4, (), generator=g)), (1, 2))
        shifts = torch.randint(reach, (2,), generator=g)
        rows, columns = ((torch.arange(SIDE) + shift) % reach for shift in shifts)
        photo = torch.where(piece > level, turned[:, rows][:, :, columns], photo)
    return photo * 0.75 + 25


def wall() -> Tensor:
    return to_photo(data.brick())[:, :SIDE, :SIDE] * torch.tensor([1.3, 1.15, 1.0])[:, None, None]


def crack(photo: Tensor, ends: list[list[float]], width: float, branches: int, seed: int
          ) -> tuple[Tensor, Tensor]:
    """The photo (3, s, s) in 0..255 with a crack between two ends (row, column), as uint8, and the
    mask (1, s, s) bool."""
    g, size = Generator().manual_seed(seed), photo.shape[-1]
    strokes = torch.tensor([[[*ends[0], width / 2], [*ends[1], width / 3]]])
    tree = [curve(g, strokes, bend=0.06, smooth=1.1, uneven=0.45)]
    for _ in range(branches):
        start = tree[0][torch.randint(len(tree[0]), (1,), generator=g), 0]
        start = start * torch.tensor([1, 1, 0.55])
        end = move(start, rand(g, 0, 2 * math.pi, 1), rand(g, 0.1, 0.3, 1) * size)
        end = end * torch.tensor([1, 1, 0.4])
        tree.append(curve(g, torch.stack((start, end), 1), bend=0.06, smooth=1.1, uneven=0.3))
    gap = distance(torch.cat(tree), size, reach=12)
    grey = photo.mean(0)
    grain = grey - F.avg_pool2d(grey[None, None], 9, 1, 4)[0, 0]
    gap = gap + 0.5 * (grain / grain.std()).clamp(-2, 2)  # bright grains stand into the crack
    cover = (0.5 - gap).clamp(0, 1)
    deep = (-gap / (width / 2)).clamp(0, 1)
    lit = (1 - gap.roll((-2, -2), (0, 1)).abs() / 2).clamp(0, 1) * (1 - cover)
    photo = photo * (1 - cover * (0.55 + 0.25 * deep)) * (1 + 0.12 * lit)
    photo = torch.lerp(photo, F.conv2d(photo[:, None], BLUR[None, None], padding=1)[:, 0], 0.5)
    return photo.clamp(0, 255).round().byte(), cover[None] >= 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    parser.add_argument("--output", type=Path, default=Path("showcase.jpg"))
    args = parser.parse_args()
    predictor, rows = load(args.checkpoint), []
    for photo, mask in (crack(asphalt(1), [[-10, 120], [460, 330]], 7, 3, seed=3),
                        crack(wall(), [[-10, 130], [460, 300]], 4, 0, seed=8)):
        found = predictor(photo, min_area=MIN_AREA) >= predictor.threshold
        print(f"Dice {count(found, mask).dice:.3f}")
        marked = overlay.overlay(photo, found)
        rows.append([photo, marked, drawing.draw(marked, widths.measure(found), legend=False)])
    picture = overlay.contact_sheet(rows, CELL).permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(args.output, quality=90)


if __name__ == "__main__":
    main()
