"""What training and export must agree on about int8, beside the ranges of activations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .ranges import LEVELS

MAX_BIAS = 2**30
"""Of a bias in steps of input scale times weight scale, as which engines keep it in int32."""

CHEAP = 0.03
"""Share of the arithmetic below which the layer that reads the picture stays in float: a picture has 8 bits, symmetric
int8 holds 7 of them."""


def weight_scales(weights: NDArray[np.float32], bias: NDArray[np.float32], input_scale: float) -> NDArray[np.float32]:
    """(K,) scales of weights (K, ...): the largest of each channel is 127 steps."""
    largest = np.abs(weights).reshape(len(weights), -1).max(1) / LEVELS
    # Of a channel that is nearly 0 the bias alone matters, and must not overflow int32 in steps this small.
    least = np.maximum(np.abs(bias) / (input_scale * MAX_BIAS), np.finfo(np.float32).tiny)
    return np.maximum(largest, least).astype(np.float32)


def first_is_cheap(sizes: Sequence[int]) -> bool:
    """Whether the first of a network's convolutions, all on one grid, costs little; sizes: of their weights."""
    return sizes[0] < CHEAP * sum(sizes)
