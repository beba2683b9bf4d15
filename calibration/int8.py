"""What training and export must agree on about int8, beside the ranges of activations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .ranges import LEVELS

MAX_BIAS = 2**30
"""Of a bias in steps of input scale times weight scale, as which engines keep it in int32."""

PAIR = 2**15 // 255
"""Steps that two neighbouring weights of one sign may have together: x86 processors without VNNI add the products of
two at a time in 16 bits, activations reach 255, and a sum beyond that saturates."""

CHEAP = 0.03
"""Share of the arithmetic below which the layer that reads the picture stays in float: a picture has 8 bits, symmetric
int8 holds 7 of them."""


def weight_scales(weights: NDArray[np.float32], bias: NDArray[np.float32], input_scale: float) -> NDArray[np.float32]:
    """(K,) scales of weights (K, C, h, w): of each channel the largest is 127 steps, two neighbours `PAIR`.

    Or fewer, where a channel fits steps of a power of two.
    """
    powers = power_of_two_steps(weights)
    needed = np.where(fits_steps(weights, powers), powers, smallest_steps(weights))
    # Of a channel that is nearly 0 the bias alone matters, and must not overflow int32 in steps this small.
    least = np.abs(bias) / (input_scale * MAX_BIAS)
    return np.maximum(needed, least).astype(np.float32)


def smallest_steps(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K,) the smallest in which int8 holds weights (K, C, h, w)."""
    largest = np.abs(weights.reshape(len(weights), -1)).max(1) / LEVELS
    # Rounding may add half a step to each of a pair.
    return np.maximum(np.maximum(largest, pair_sums(weights) / (PAIR - 1)), np.finfo(np.float32).tiny)


def power_of_two_steps(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K,) the smallest powers of two among them."""
    return np.exp2(np.ceil(np.log2(smallest_steps(weights)))).astype(np.float32)


def pair_sums(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K,) the largest sum of two neighbours of one sign, without it, among weights (K, C, h, w).

    Engines hold the input channels of one place side by side, by twos. An odd number of them pairs the last with the
    next place's, each engine its own way: there any two count as neighbours. Depthwise kernels (C = 1) add no pairs.
    """
    if weights.shape[1] == 1:
        return np.zeros(len(weights), np.float32)
    signed = np.maximum(weights, 0), np.maximum(-weights, 0)
    if weights.shape[1] % 2:
        largest = [np.sort(part.reshape(len(part), -1), 1)[:, -2:].sum(1) for part in signed]
    else:
        largest = [(part[:, ::2] + part[:, 1::2]).reshape(len(part), -1).max(1) for part in signed]
    return np.maximum(*largest)


def fits_steps(weights: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(K,) whether weights (K, C, h, w) are multiples of half their channel's step and keep their sum when rounded.

    So are bilinear ones in steps of 1/128: whole where they enlarge by 4, and by 8 the products of odd sixteenths, of
    which, rounded to even, two gain the half step that two lose, crosswise: flat colours and even slopes stay exact.
    """
    multiples = weights.reshape(len(weights), -1).astype(np.float64) / steps[:, None]
    halves = (2 * multiples == np.rint(2 * multiples)).all(1)
    return halves & (np.rint(multiples).sum(1) == multiples.sum(1))


def first_is_cheap(sizes: Sequence[int]) -> bool:
    """Whether the first of a network's convolutions, all on one grid, costs little; sizes: of their weights."""
    return sizes[0] < CHEAP * sum(sizes)
