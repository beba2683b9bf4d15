"""What a stopwatch adds up: clocks are faked, so that nothing depends on this machine's speed."""

from __future__ import annotations

from itertools import count

import pytest

from fsr.runtime.timing import Stopwatch


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    """A stopwatch whose clock moves on by one second each time it is read."""
    seconds = count()
    monkeypatch.setattr("fsr.runtime.timing.perf_counter", lambda: float(next(seconds)))
    return Stopwatch()


def test_adds_up_by_stage(watch: Stopwatch) -> None:
    for stage in ("read", "detect", "read"):
        with watch(stage):
            pass
    assert watch.milliseconds == {"read": 2000, "detect": 1000}


def test_stages_keep_their_order(watch: Stopwatch) -> None:
    with watch("outer"), watch("inner"):
        pass
    assert list(watch.milliseconds.items()) == [("outer", 3000), ("inner", 1000)]


def test_a_stage_that_fails_counts_and_its_error_goes_on(watch: Stopwatch) -> None:
    with pytest.raises(ValueError, match="broken"), watch("read"):
        raise ValueError("broken")
    assert watch.milliseconds == {"read": 1000}
