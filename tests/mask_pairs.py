"""Small masks, two by two, for the tests of whatever compares a prediction with the truth."""

import torch
from hypothesis import settings, strategies as st
from hypothesis.extra.numpy import arrays

bounded = settings(deadline=None, max_examples=100, derandomize=True)
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
PAIRS = SHAPES.flatmap(lambda shape: arrays(bool, (2, *shape))).map(torch.from_numpy)
EMPTY = [  # prediction, truth, and their IoU, Dice, precision and recall
    ("...", "...", [1, 1, 1, 1]),
    ("#..", "...", [0, 0, 0, 0]),
    ("...", "#..", [0, 0, 0, 0]),
    ("#..", "#..", [1, 1, 1, 1]),
    ("#..", "..#", [0, 0, 0, 0]),
    ("###", "#..", [1 / 3, 1 / 2, 1 / 3, 1]),
]


def mask_of(text: str) -> torch.Tensor:
    return torch.tensor([[letter == "#" for letter in line] for line in text.split()])
