"""Which values of a tensor int8 should reach: a histogram of what flows through it -> a symmetric threshold.

A threshold T stands for 127 steps of T / 127 on either side of 0; what lies beyond is clipped. A small one clips what
is rare, a large one rounds everything coarsely: the methods differ in how they weigh the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import CalibrationError, UsageError

LEVELS = 127
"""Largest value of symmetric int8; -128 is left unused, so that a negated tensor has the same scale."""

BINS = 4096
"""32 a step at the widest threshold."""

PERCENTILE = 99.99
"""Share of values, in percent, that the method `percentile` reaches."""

CANDIDATES = 120
"""Thresholds tried, evenly from a tenth of the largest value to all of it."""


class Histogram:
    """Absolute values of a tensor over any number of batches.

    Exact zeros are not counted: every scale holds them exactly, and behind a ReLU they are half of all values.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.top = 0.0
        """Upper edge of the last bin; the bins are of one width from 0."""
        self.largest = 0.0
        self.signed = False
        """Whether a negative value occurred."""

    def add(self, values: NDArray[Any]) -> None:
        """Count the values of one batch, of any shape.

        Raises:
            CalibrationError: a value is infinite or not a number.
        """
        magnitudes = np.abs(values, dtype=np.float32).ravel()
        largest = float(magnitudes.max(initial=0))
        if not np.isfinite(largest):
            raise CalibrationError("got a network whose values are not finite on the calibration faces; train it anew")
        self.signed = self.signed or float(values.min(initial=0)) < 0
        self.largest = max(self.largest, largest)
        self._reach(largest)
        if self.top:
            bins = np.minimum(magnitudes / np.float32(self.top) * BINS, BINS - 1).astype(np.int32)
            self.counts += np.bincount(bins, minlength=BINS)  # five times as fast as np.histogram
            self.counts[0] -= magnitudes.size - np.count_nonzero(magnitudes)

    def _reach(self, largest: float) -> None:
        """Widen the bins by doublings, so that what was counted stays exact."""
        if not self.top:
            self.top = largest
        while self.top < largest:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros(BINS // 2, np.int64)])
            self.top *= 2

    @property
    def centres(self) -> NDArray[np.float64]:
        """(BINS,) values that stand for the bins."""
        return (np.arange(BINS) + 0.5) * self.top / BINS


def threshold(histogram: Histogram, method: str) -> float:
    """The symmetric threshold that a method takes, above 0; 1 for a tensor that is 0 throughout.

    Raises:
        UsageError: no method of that name.
    """
    if method not in METHODS:
        raise UsageError(f"--method: got {method!r}, expected one of {', '.join(METHODS)}")
    return METHODS[method](histogram) if histogram.counts.any() else 1.0


def minmax(histogram: Histogram) -> float:
    """The largest value: nothing is clipped."""
    return histogram.largest


def percentile(histogram: Histogram) -> float:
    """What `PERCENTILE` of the values stay below."""
    reached = np.cumsum(histogram.counts) >= PERCENTILE / 100 * histogram.counts.sum()
    return min((int(reached.argmax()) + 1) * histogram.top / BINS, histogram.largest)


def mse(histogram: Histogram) -> float:
    """The candidate with the least mean squared error of rounding and clipping together."""
    errors = [float(histogram.counts @ _squared_error(histogram.centres, t)) for t in _candidates(histogram)]
    return float(_candidates(histogram)[int(np.argmin(errors))])


def entropy(histogram: Histogram) -> float:
    """The candidate whose int8 histogram tells most of the float one: least Kullback-Leibler divergence.

    S. Migacz, "8-bit inference with TensorRT", GTC 2017: clipped values fall into the last bin of the reference; bins
    are merged into int8's steps, and each step's count is spread evenly over those of its bins that hold anything.
    """
    candidates = _candidates(histogram)
    bins = np.clip(np.ceil(candidates / histogram.top * BINS).astype(int), LEVELS + 1, BINS)
    return float(candidates[int(np.argmin([_divergence(histogram.counts, count) for count in bins]))])


def _candidates(histogram: Histogram) -> NDArray[np.float64]:
    return np.linspace(0.1, 1, CANDIDATES) * histogram.largest


def _squared_error(values: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Of values at or above 0, brought to int8 and back."""
    scale = limit / LEVELS
    return (values - np.minimum(np.rint(values / scale), LEVELS) * scale) ** 2


def _divergence(counts: NDArray[np.int64], bins: int) -> float:
    """Of the first `bins` bins, the others clipped into the last of them, from their int8 version."""
    kept = counts[:bins].astype(np.float64)
    steps = np.arange(bins) * (LEVELS + 1) // bins
    filled = kept > 0
    merged = np.bincount(steps, kept, LEVELS + 1)
    spread = np.where(filled, merged[steps] / np.maximum(np.bincount(steps, filled, LEVELS + 1), 1)[steps], 0)
    reference = kept.copy()
    reference[-1] += counts[bins:].sum()
    p, q = reference / reference.sum(), spread / max(spread.sum(), 1)
    compared = p > 0
    # A last bin that held nothing but clipped values has no counterpart; a tiny one keeps the divergence finite.
    return float((p[compared] * np.log(p[compared] / np.maximum(q[compared], 1e-12))).sum())


METHODS: Mapping[str, Callable[[Histogram], float]] = MappingProxyType(
    {"minmax": minmax, "entropy": entropy, "percentile": percentile, "mse": mse}
)
"""By the name the command line has for it."""
