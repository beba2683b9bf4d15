"""Chains take turns, the first round goes unmeasured, and OpenCV's threads are put back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from fsr.runtime.bench.race import MIN_ROUNDS, PICTURES, Contestant, Outcome, race, take_turn

PICTURE = Path("a.jpg")


class NamedChain:
    """Writes its name and OpenCV's number of threads into a shared list."""

    def __init__(self, name: str, calls: list[tuple[str, int]]) -> None:
        self.name, self.calls = name, calls
        self.targets: list[Path] = []

    def __call__(self, source: Path, target: Path) -> Outcome:
        self.calls.append((self.name, cv2.getNumThreads()))
        self.targets.append(target)
        return Outcome(np.full((1, 4), ord(source.name[0])), 1, {"detect": 1.0})


def runs(names: Sequence[str]) -> list[str]:
    """Repetitions as one."""
    return [name for index, name in enumerate(names) if index == 0 or name != names[index - 1]]


def test_chains_take_turns(tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    sides = [Contestant(name, NamedChain(name, calls), 1, 1) for name in "AB"]
    turns = race(sides, {"load": [PICTURE]}, tmp_path, seconds=0)
    assert runs([name for name, _ in calls]) == ["A", "B"] * (1 + MIN_ROUNDS)
    assert [len(own) for own in turns["load"]] == [MIN_ROUNDS, MIN_ROUNDS]


def test_each_turn_has_its_threads_and_the_old_number_comes_back(tmp_path: Path) -> None:
    before, calls = cv2.getNumThreads(), []
    sides = [Contestant("A", NamedChain("A", calls), 1, before + 1), Contestant("B", NamedChain("B", calls), 1, 1)]
    race(sides, {"load": [PICTURE]}, tmp_path, seconds=0)
    assert set(calls) == {("A", before + 1), ("B", 1)}
    assert cv2.getNumThreads() == before


def test_the_threads_come_back_after_an_error(tmp_path: Path) -> None:
    def broken(source: Path, target: Path) -> Outcome:
        raise ValueError("broken")

    before = cv2.getNumThreads()
    with pytest.raises(ValueError, match="broken"):
        race([Contestant("A", broken, 1, before + 1)], {"load": [PICTURE]}, tmp_path, seconds=0)
    assert cv2.getNumThreads() == before


def test_all_pictures_are_repeated_as_often_and_none_shares_its_target(tmp_path: Path) -> None:
    chain = NamedChain("A", [])
    turn = take_turn(Contestant("A", chain, 2, 1), [Path("a.jpg"), Path("b.jpg"), Path("c.jpg")], tmp_path)
    assert len(turn.outcomes) == 9 >= 2 * PICTURES
    assert [outcome.boxes_xyxy[0, 0] for outcome in turn.outcomes] == [ord(c) for c in "abc" * 3]
    assert len(set(chain.targets)) == 9
