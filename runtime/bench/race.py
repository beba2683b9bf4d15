"""Chains timed in turns, A B A B, so that all of them meet the same machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runs.ordered import ordered_map

PICTURES = 4
"""That each worker restores in a turn, or a little more."""
MIN_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a chain did to one picture."""

    boxes_xyxy: NDArray[np.floating]
    """(N, 4): every face it found, pixel centres at integers."""
    restored: int
    """Faces that it restored."""
    milliseconds: dict[str, float]
    """By stage."""


Chain: TypeAlias = Callable[[Path, Path], Outcome]
"""`chain(source, target)` restores one picture file into another; threads may share it."""


@dataclass(frozen=True, eq=False)
class Contestant:
    """A chain and how many threads work on pictures with it."""

    name: str
    chain: Chain
    workers: int
    opencv_threads: int
    """OpenCV has one number for the whole process: it is set at the start of each turn."""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Turn:
    """One contestant over the pictures of a load."""

    milliseconds: float
    """A picture: the time from the first file read to the last written, by the number of pictures."""
    outcomes: list[Outcome]
    """Of each picture in order; where the pictures were repeated, so are these."""


def race(
    contestants: Sequence[Contestant], loads: Mapping[str, Sequence[Path]], folder: Path, seconds: float
) -> dict[str, list[list[Turn]]]:
    """Turns by load; for each load a list for each contestant, in their order, as long as there were rounds.

    folder: for what the chains write. seconds: after which no further round begins, once there were `MIN_ROUNDS`.
    A first round goes unmeasured.
    """
    turns: dict[str, list[list[Turn]]] = {name: [[] for _ in contestants] for name in loads}
    before = cv2.getNumThreads()
    try:
        _round(contestants, loads, folder)
        start, rounds = perf_counter(), 0
        while rounds < MIN_ROUNDS or perf_counter() - start < seconds:
            for name, taken in _round(contestants, loads, folder).items():
                for own, turn in zip(turns[name], taken, strict=True):
                    own.append(turn)
            rounds += 1
    finally:
        cv2.setNumThreads(before)
    return turns


def take_turn(contestant: Contestant, pictures: Sequence[Path], folder: Path) -> Turn:
    """Restore `pictures`, all of them as often as it takes to keep the workers busy."""
    times = -(-PICTURES * contestant.workers // len(pictures))
    jobs = [(source, folder / f"{number}.jpg") for number, source in enumerate([*pictures] * times)]
    cv2.setNumThreads(contestant.opencv_threads)
    start = perf_counter()
    outcomes = list(ordered_map(lambda job: contestant.chain(*job), jobs, contestant.workers))
    return Turn((perf_counter() - start) * 1e3 / len(jobs), outcomes)


def _round(
    contestants: Sequence[Contestant], loads: Mapping[str, Sequence[Path]], folder: Path
) -> dict[str, list[Turn]]:
    return {name: [take_turn(c, pictures, folder) for c in contestants] for name, pictures in loads.items()}
