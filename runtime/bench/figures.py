"""What `--bench` measured, as numbers and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..geometry import iou
from ..machine import Machine
from ..options import RestoreOptions
from .race import Contestant, Turn

SAME_FACE = 0.5
"""Overlap from which two boxes are one face."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds."""

    median: float
    p5: float
    """The 5th percentile: what it takes when nothing else runs."""


@dataclass(frozen=True)
class Speed:
    """One contestant with one load."""

    chain: str
    workers: int
    milliseconds: Timing
    """A picture: with several workers the time between two pictures done, which is less than one takes."""
    pictures_a_second: float
    faces_a_second: float
    """Restored faces."""


@dataclass(frozen=True)
class Recall:
    """Of `faces` faces of one kind, `found` were found by a chain."""

    of: str
    by: str
    faces: int
    found: int


@dataclass(frozen=True)
class LoadReport:
    """Pictures that were measured together."""

    name: str
    pictures: int
    size_wh: tuple[int, int]
    """Of the first of them."""
    detector_wh: tuple[int, int]
    """What our detector searches of it, in tiles where that is large; the naive one searches `size_wh`."""
    stages: dict[str, dict[str, Timing]]
    """By chain, then by stage, for one picture of one worker."""
    speeds: list[Speed]
    times_naive: dict[int, float]
    """By number of workers: how many times as many pictures a second as the naive chain with as many."""
    recall: list[Recall]


@dataclass(frozen=True)
class BenchReport:
    """Everything measured, and what it must be read with."""

    machine: Machine
    engine: str
    """Engine, device, precision and tier, in a sentence."""
    options: RestoreOptions
    codec: str
    workers: int
    rounds: int
    first_picture_milliseconds: float
    """Models opened and the first picture restored; Python and this module were loaded before."""
    peak_megabytes: float | None
    """Of this process with all its workers busy, before the naive chain was loaded."""
    notes: list[str]
    """What each contestant is."""
    loads: list[LoadReport]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def stages_of(contestants: Sequence[Contestant], turns: Sequence[list[Turn]]) -> dict[str, dict[str, Timing]]:
    """Of the contestants with one worker."""
    return {
        contestant.name: _stages(own)
        for contestant, own in zip(contestants, turns, strict=True)
        if contestant.workers == 1
    }


def _stages(turns: Sequence[Turn]) -> dict[str, Timing]:
    pictures = [outcome.milliseconds for turn in turns for outcome in turn.outcomes]
    stages = dict.fromkeys(stage for picture in pictures for stage in picture)
    return {stage: timing([picture.get(stage, 0.0) for picture in pictures]) for stage in stages}


def speeds_of(contestants: Sequence[Contestant], turns: Sequence[list[Turn]]) -> list[Speed]:
    """Of every contestant, in their order."""
    speeds = []
    for contestant, own in zip(contestants, turns, strict=True):
        milliseconds = timing([turn.milliseconds for turn in own])
        rate = 1e3 / milliseconds.median
        faces = float(np.mean([outcome.restored for outcome in own[0].outcomes]))
        speeds.append(Speed(contestant.name, contestant.workers, milliseconds, round(rate, 2), round(rate * faces, 2)))
    return speeds


def times_naive(contestants: Sequence[Contestant], turns: Sequence[list[Turn]]) -> dict[int, float]:
    """By number of workers: the median over rounds, in each of which both met the same machine."""
    by_name = {(c.name, c.workers): own for c, own in zip(contestants, turns, strict=True)}
    ratios = {}
    for (name, workers), ours in by_name.items():
        if name == "fsr" and (naive := by_name.get(("naive", workers))):
            pairs = zip(ours, naive, strict=True)
            ratios[workers] = round(float(np.median([b.milliseconds / a.milliseconds for a, b in pairs])), 2)
    return ratios


def recall_of(
    contestants: Sequence[Contestant],
    turns: Sequence[list[Turn]],
    pictures: int,
    placed: Sequence[NDArray[np.floating]] | None,
) -> list[Recall]:
    """What each chain finds of the faces of the other, and of those that were `placed`, if that is known.

    pictures: of the load; a turn that repeats them counts once.
    """
    seen = {} if placed is None else {"placed": list(placed)}
    for contestant, own in zip(contestants, turns, strict=True):
        seen[contestant.name] = [outcome.boxes_xyxy for outcome in own[0].outcomes[:pictures]]
    return [
        Recall(of, by, sum(map(len, wanted)), sum(map(found_of, wanted, boxes)))
        for of, wanted in seen.items()
        for by, boxes in seen.items()
        if by not in (of, "placed")
    ]


def found_of(wanted_xyxy: Iterable[ArrayLike], found_xyxy: ArrayLike) -> int:
    """How many of the boxes (N, 4) `wanted` overlap one of (M, 4) `found` by `SAME_FACE` or more."""
    return sum(bool((iou(box, found_xyxy) >= SAME_FACE).any()) for box in wanted_xyxy)


def timing(milliseconds: Sequence[float]) -> Timing:
    median, p5 = np.percentile(milliseconds, [50, 5]).tolist()
    return Timing(round(median, 3), round(p5, 3))
