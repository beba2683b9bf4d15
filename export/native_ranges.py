"""Which model of a bundle serves which native sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..train.contestants import Contestant, fits
from ..train.degrade import CLEAN
from ..train.evaluate import native_size_curves, read_faces
from ..train.native_size import NativeSizeCurve, select_models
from ..train.pack import PackInfo


@dataclass(frozen=True)
class NativeRange:
    """Fields of `runtime.bundle.ModelEntry`."""

    native_from: float
    native_to: float
    native_measured: bool


def measure_native_sizes(
    contestants: Sequence[Contestant], packs: Sequence[PackInfo], degradations: Sequence[str] = (CLEAN,)
) -> dict[int, Mapping[str, NativeSizeCurve]]:
    """Gain against native size on validation faces, degraded in each way, by the size the faces are compared at.

    At the smallest output size every model takes part; at larger ones, those that put out so much.
    """
    curves: dict[int, Mapping[str, NativeSizeCurve]] = {}
    for size in sorted({contestant.output_size for contestant in contestants}):
        high = [read_faces(p, "val") for p in packs if fits(p, contestants[0].framing, size) and p.count("val")]
        if high:
            taking_part = [c for c in contestants if c.output_size >= size]
            curves[size] = native_size_curves(taking_part, np.concatenate(high), degradations)
    return curves


def ranges_by_tier(
    contestants: Sequence[Contestant], tiers: Mapping[str, str], curves: Mapping[int, Mapping[str, NativeSizeCurve]]
) -> dict[str, NativeRange]:
    """`native_ranges` of each tier by itself: a program runs one tier, whose models share all sizes among them.

    tiers: by the contestant's name.
    """
    ranges: dict[str, NativeRange] = {}
    for tier in dict.fromkeys(tiers.values()):
        mine = [c for c in contestants if tiers[c.name] == tier]
        names = {c.name for c in mine}
        own = {
            size: {name: curve for name, curve in by_name.items() if name in names}
            for size, by_name in curves.items()
            if names & by_name.keys()
        }
        ranges |= native_ranges(mine, own)
    return ranges


def native_ranges(
    contestants: Sequence[Contestant], curves: Mapping[int, Mapping[str, NativeSizeCurve]]
) -> dict[str, NativeRange]:
    """From which native size to which one each model is used.

    Who is best is decided where all can be compared, at the smallest output size. How far the last one reaches is
    decided at its own output size, where nothing is lost by shrinking it. Without curves of all models, each serves up
    to its input size, for a larger face may be made worse.
    """
    smallest = min(c.output_size for c in contestants)
    if smallest not in curves:
        return _unmeasured(contestants)
    chosen = select_models(curves[smallest])
    ranges = {c.name: NativeRange(0.0, 0.0, True) for c in contestants}
    for start, end, name in sorted(chosen, key=lambda piece: piece[1] - piece[0]):  # of several the longest stays
        ranges[name] = NativeRange(round(start, 1), round(end, 1), True)
    if chosen:
        last = chosen[-1][2]
        middle = (ranges[last].native_from + ranges[last].native_to) / 2
        own = [select_models({last: by_name[last]}) for by_name in curves.values() if last in by_name]
        reach = max(end for pieces in own for start, end, _ in pieces if start <= middle <= end)
        ranges[last] = NativeRange(ranges[last].native_from, round(reach, 1), True)
    return ranges


def _unmeasured(contestants: Sequence[Contestant]) -> dict[str, NativeRange]:
    ordered = sorted(contestants, key=lambda c: c.input_size)
    starts = [0, *(c.input_size for c in ordered[:-1])]
    return {c.name: NativeRange(start, c.input_size, False) for c, start in zip(ordered, starts, strict=True)}
