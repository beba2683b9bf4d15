"""Items are read ahead in order, at most so many, and what fails fails in its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from queue import Queue

import pytest

from fsr.runtime.runs import ahead
from fsr.runtime.runs.ahead import read_ahead

PATIENCE = 10.0


def test_everything_comes_in_order() -> None:
    assert list(read_ahead(range(100), 3)) == list(range(100))
    assert list(read_ahead([], 3)) == []


def test_it_reads_on_while_the_reader_works_and_no_further_than_asked() -> None:
    read, three = [], threading.Event()

    def items() -> Iterator[int]:
        for number in count():
            read.append(number)
            if number == 3:  # 0 in the reader's hands, 1 and 2 waiting, 3 about to
                three.set()
            yield number

    with closing(read_ahead(items(), 2)) as numbers:
        assert next(numbers) == 0
        assert three.wait(PATIENCE)
        assert len(read) == 4


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    numbers = read_ahead(items(), 5)
    assert next(numbers) == 1
    with pytest.raises(OSError, match="gone"):
        next(numbers)


def test_no_wait_is_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Ctrl-C has to wait for the next item on Windows."""
    waits: list[float | None] = []

    class Watched(Queue):
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            if block:
                waits.append(timeout)
            if len(waits) == 3:
                come.set()
            return super().get(block, timeout)

    def items() -> Iterator[int]:
        assert come.wait(PATIENCE)
        yield 1

    come = threading.Event()
    monkeypatch.setattr(ahead, "Queue", Watched)
    monkeypatch.setattr(ahead, "LOOK_SECONDS", 0.001)
    assert list(read_ahead(items(), 1)) == [1]
    assert len(waits) > 3 and set(waits) == {0.001}


def test_a_reader_that_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with closing(read_ahead(count(), 1)) as numbers:
        next(numbers)
    assert threading.active_count() == before
