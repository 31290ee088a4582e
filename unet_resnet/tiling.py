"""How is a photograph larger than a crop predicted without seams?

Tiles overlap, and where they do, their probabilities are blended with weights that fall to zero at
a tile's border, where predictions are worst. This follows nnU-Net (Isensee et al., 2021) with two
departures. Tiles are larger than a training crop. Weights fall linearly across the overlap; a
Gaussian across the tile, as in the paper, leaves a step where tiles overlap little.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Of 12 megapixels, tiles of 640 that overlap by half compute a pixel 3.7 times, these 1.13 times.
TILE, OVERLAP = 1600, 1 / 12


def starts(length: int, tile: int, overlap: float) -> list[int]:
    """First pixels of the tiles along one side, spread evenly so that the last touches the border.

    The step is at most `tile * (1 - overlap)`, rounded down to a whole pixel. A side of 1000
    pixels with tiles of 448 and an overlap of 0.5 allows steps of 224; the 552 pixels beyond the
    first tile need 3 of them, so the tiles start at 0, 184, 368 and 552.
    """
    if length <= tile:
        return [0]
    step = max(1, int(tile * (1 - overlap)))
    count = math.ceil((length - tile) / step)
    return [round(i * (length - tile) / count) for i in range(count + 1)]


def lattice(length: int, tile: int, overlap: float) -> tuple[int, list[int]]:
    """Size and first pixels of the tiles along one side: as many as `starts` needs, and no larger
    than they have to be to overlap by `overlap * tile` pixels.

    Sizes are multiples of 32 where `tile` allows. With tiles of 1600 and an overlap of 1/12, a side
    of 4000 pixels takes 3 tiles of 1440, which overlap by 160.
    """
    count = len(starts(length, tile, overlap))
    needed = math.ceil((length + (count - 1) * overlap * tile) / count)
    size = min(-(-needed // 32) * 32, tile, length)
    return size, [round(i * (length - size) / max(1, count - 1)) for i in range(count)]


def ramp(size: int, first: list[int]) -> Tensor:
    """Weights along one side of a tile, (size,): 1 in the middle, down to almost 0 at both ends
    across the smallest overlap of tiles that start at `first`."""
    overlap = min((size - (b - a) for a, b in zip(first, first[1:])), default=0)
    centres = torch.arange(size, dtype=torch.float32) + 0.5
    return (torch.minimum(centres, size - centres) / max(1, overlap)).clamp(max=1)


def predict(probability: Callable[[Tensor], Tensor], photo: Tensor, tile: int = TILE,
            overlap: float = OVERLAP, batch: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """Probability of crack for a whole photo, tile by tile.

    `probability` maps tiles (N, 3, h, w) of the photo's type to (N, 1, h, w) in 0..1; `photo` is
    (3, h, w) of any size. Returns (1, h, w) on the CPU, float32 in 0..1, or uint8 as `to_bytes`
    makes it. `batch` tiles go through the network at once. A photo no larger than a tile is
    predicted in one piece.

    Besides photo and result, only the sums of one row of tiles are in memory.

    Raises ValueError for impossible tiles, overlaps or batches, and FloatingPointError if the
    network returns NaN.
    """
    if tile < 1 or batch < 1 or not 0 <= overlap < 1:
        raise ValueError(f"tile {tile}, overlap {overlap}, batch {batch}; expected at least 1 "
                         "pixel, 0 to below 1, and at least 1 tile")
    height, width = photo.shape[-2:]
    tile_height, tops = lattice(height, tile, overlap)
    tile_width, lefts = lattice(width, tile, overlap)
    weight_rows, weight_columns = ramp(tile_height, tops), ramp(tile_width, lefts)
    weight = weight_rows[:, None] * weight_columns
    # The weight of a pixel is a product, so the sums over tiles are two vectors, not a picture.
    sum_rows = _overlap_add(weight_rows, tops, height)
    sum_columns = _overlap_add(weight_columns, lefts, width)

    result = torch.empty(1, height, width, dtype=dtype)
    # Weighted sums of the rows that are still being added to: those of one row of tiles.
    band = torch.zeros(tile_height, width, dtype=torch.float32)
    for top, next_top in zip(tops, [*tops[1:], height]):
        for columns in (lefts[i:i + batch] for i in range(0, len(lefts), batch)):
            tiles = [photo[:, top:top + tile_height, x:x + tile_width] for x in columns]
            for x, predicted in zip(columns, probability(torch.stack(tiles)).cpu()):
                band[:, x:x + tile_width] += predicted[0] * weight
        done = next_top - top  # no later tile reaches these rows
        rows = band[:done] / (sum_rows[top:next_top, None] * sum_columns)
        if not rows.isfinite().all():  # as bytes, NaN would look like no crack
            raise FloatingPointError("the network's answers are not all numbers; use --precision "
                                     "fp32, or train with a lower --lr")
        rows.clamp_(max=1)  # a mean of ones may round to more
        result[0, top:next_top] = to_bytes(rows) if dtype == torch.uint8 else rows
        band = torch.cat((band[done:], band.new_zeros(done, width)))
    return result


def to_bytes(probability: Tensor) -> Tensor:
    """Probabilities in 8 bits: b stands for b/256 up to (b+1)/256, so that b >= k says exactly
    whether the probability is at least k/256."""
    return (probability * 256).clamp(max=255).to(torch.uint8)


def _overlap_add(weights: Tensor, first: list[int], length: int) -> Tensor:
    total = torch.zeros(length, dtype=torch.float32)
    for start in first:
        total[start:start + len(weights)] += weights
    return total
