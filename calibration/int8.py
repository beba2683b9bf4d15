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
    """(K,) scales of weights (K, ...): the largest of each channel is 127 steps.

    Or fewer, where steps of a power of two hold every weight of a channel exactly.
    """
    flat = weights.reshape(len(weights), -1)
    largest = np.abs(flat).max(1) / LEVELS
    exact = power_of_two_steps(flat)
    largest = np.where(whole_in_steps(flat, exact), exact, largest)
    # Of a channel that is nearly 0 the bias alone matters, and must not overflow int32 in steps this small.
    least = np.maximum(np.abs(bias) / (input_scale * MAX_BIAS), np.finfo(np.float32).tiny)
    return np.maximum(largest, least).astype(np.float32)


def power_of_two_steps(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K,) the smallest powers of two of which 127 reach the largest of weights (K, M)."""
    largest = np.maximum(np.abs(weights).max(1), np.finfo(np.float32).tiny)
    return np.exp2(np.ceil(np.log2(largest / LEVELS))).astype(np.float32)


def whole_in_steps(weights: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(K,) whether weights (K, M) are whole multiples of their channel's step."""
    multiples = weights / steps[:, None]
    return (multiples == np.rint(multiples)).all(1)


def first_is_cheap(sizes: Sequence[int]) -> bool:
    """Whether the first of a network's convolutions, all on one grid, costs little; sizes: of their weights."""
    return sizes[0] < CHEAP * sum(sizes)
