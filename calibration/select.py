"""Choose faces that cover what was found, not the first ones: duplicates out -> half spread, half as they come.

Each face is a point, one coordinate a property. The first half is spread: every next face is the one farthest from
all chosen before, so the rims of what was found are in. The second half is drawn at random from the rest, for ranges
by entropy or percentile depend on how often a value occurs, and rims alone would overrate what is rare.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from .coverage import PROPERTIES, values_of
from .measure import FaceMeasures

SPREAD = 0.5
"""Share of the faces that is spread."""
MAX_TOGETHER = 3
"""Faces chosen at most from one picture, or from one second of a video."""
REACH = 2.5
"""Spreads from the median beyond which a face is no rarer: a single odd value must not outweigh all else."""


def features(faces: Sequence[FaceMeasures]) -> NDArray[np.float64]:
    """(N, properties): distance from the median in robust standard deviations, within `REACH`; unknown values are 0."""
    columns = []
    for kind in PROPERTIES:
        values = values_of(faces, kind.name)
        values = np.log(np.maximum(values, 1e-3)) if kind.logarithmic else values
        known = values[~np.isnan(values)]
        low, middle, high = np.percentile(known, [15.87, 50, 84.13]) if known.size else (0.0, 0.0, 0.0)
        scaled = (values - middle) / max((high - low) / 2, 1e-9)
        columns.append(np.nan_to_num(np.clip(scaled, -REACH, REACH), nan=0.0))
    return np.stack(columns, 1)


def choose(points: NDArray[np.float64], moments: Sequence[Hashable], count: int, seed: int) -> list[int]:
    """Indices of at most `count` of (N, D) points, in the order they were chosen.

    moments: where each face is from; at most `MAX_TOGETHER` of one are chosen. The same arguments give the same choice.
    """
    rng = np.random.default_rng(seed)
    quota = _Quota(moments)
    chosen: list[int] = []
    if not len(points) or count < 1:
        return chosen
    distances = np.full(len(points), np.inf)
    index = int(rng.integers(len(points)))
    for _ in range(max(1, round(count * SPREAD))):
        chosen.append(index)
        quota.take(index)
        distances = np.minimum(distances, ((points - points[index]) ** 2).sum(1))
        reachable = np.where(quota.open, distances, -1.0)
        index = int(reachable.argmax())
        if reachable[index] < 0:
            break
    for index in rng.permutation(len(points)).tolist():
        if len(chosen) < count and quota.open[index]:
            chosen.append(index)
            quota.take(index)
    return chosen


class _Quota:
    """Which faces may still be chosen."""

    def __init__(self, moments: Sequence[Hashable]) -> None:
        self.open = np.ones(len(moments), bool)
        self._together: dict[Hashable, list[int]] = {}
        for index, moment in enumerate(moments):
            self._together.setdefault(moment, []).append(index)
        self._moments = moments
        self._taken: dict[Hashable, int] = {}

    def take(self, index: int) -> None:
        moment = self._moments[index]
        self.open[index] = False
        self._taken[moment] = self._taken.get(moment, 0) + 1
        if self._taken[moment] >= MAX_TOGETHER:
            self.open[self._together[moment]] = False
