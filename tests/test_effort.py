"""Less is done where a live source cannot be kept up with, more where it can, and it is said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector
from fsr.runtime.runs.effort import LAST_WORD, PACES, keep_up
from fsr.runtime.search import FaceSearch
from fsr.runtime.track import Tracker


class Clock:
    """Time passes as the source makes its reader wait, and as the reader works."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(FaceSearch(Detector.open(default_detector()), 24))


def run(tracker: Tracker, waits: Iterator[float], work: float) -> list[str]:
    """What is said over frames that are each waited for and worked on for some seconds."""
    clock, said = Clock(), list[str]()

    def source() -> Iterator[int]:
        for number, wait in enumerate(waits):
            clock.now += wait
            yield number

    for _ in keep_up(source(), tracker, said.append, clock):
        clock.now += work
    return said


def test_a_source_that_is_too_fast_makes_it_do_less_step_by_step(tracker: Tracker) -> None:
    said = run(tracker, iter([0.0] * 400), 0.05)
    assert tracker.pace == PACES[-1]
    assert len(said) == len(PACES) and said[-1] == LAST_WORD and "every 20th frame, mostly at half size" in said[1]


def test_time_to_spare_makes_it_do_more_again(tracker: Tracker) -> None:
    said = run(tracker, iter([0.0] * 70 + [0.0] * 1200 + [0.05] * 600), 0.05)
    assert tracker.pace == PACES[0] and "cannot keep up" in said[0] and "time to spare" in said[-1]


def test_a_load_that_comes_and_goes_does_not_fill_the_log(tracker: Tracker) -> None:
    minutes = 10
    waits = ([0.0] * 80 + [0.05] * 60) * minutes * 6  # some ten seconds each way
    assert 3 <= len(run(tracker, iter(waits), 0.05)) <= len(PACES) + minutes + 2


def test_a_source_that_is_just_kept_up_with_changes_nothing(tracker: Tracker) -> None:
    assert run(tracker, iter([0.01] * 400), 0.04) == [] and tracker.pace == PACES[0]
