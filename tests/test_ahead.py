"""Items are read ahead in order, at most so many, and what fails fails in its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

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

    with closing(read_ahead(items(), 2)) as ahead:
        assert next(ahead) == 0
        assert three.wait(PATIENCE)
        assert len(read) == 4


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    ahead = read_ahead(items(), 5)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def test_a_reader_that_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with closing(read_ahead(count(), 1)) as ahead:
        next(ahead)
    assert threading.active_count() == before
