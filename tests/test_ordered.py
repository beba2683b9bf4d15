"""Results come in order, as soon as they can, never far ahead; errors come in their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from fsr.runtime.runs.ordered import LOOK_AHEAD, ordered_map, ordered_stream

PATIENCE = 10.0
"""Seconds after which a test that waits for another thread fails."""


def square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("length", [0, 1, 2, 50])
def test_every_result_comes_once_and_in_order(length: int, workers: int) -> None:
    assert list(ordered_map(square, range(length), workers)) == [n * n for n in range(length)]


def test_order_holds_where_the_first_takes_longest() -> None:
    others_are_done = threading.Event()
    finished: list[int] = []

    def work(number: int) -> int:
        if number == 0:
            assert others_are_done.wait(PATIENCE)
        finished.append(number)
        if len(finished) == 3:
            others_are_done.set()
        return number

    assert list(ordered_map(work, range(4), 2)) == [0, 1, 2, 3]
    assert finished[:3] == [1, 2, 3], "the others were to overtake it"


def test_workers_work_at_once() -> None:
    together = threading.Barrier(3)
    list(ordered_map(lambda _: together.wait(PATIENCE), range(6), 3))


def test_an_endless_source_is_read_no_further_than_the_look_ahead() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    with closing(ordered_map(square, source(), 2)) as results:
        for expected in range(20):
            assert next(results) == expected**2
            assert len(taken) <= expected + 1 + LOOK_AHEAD * 2


def test_a_result_comes_before_the_source_is_read_on() -> None:
    """As with a camera, whose next frame is not there yet."""
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number
            while number and not done.wait(PATIENCE):
                pytest.fail("the first item was never worked on")

    done = threading.Event()
    with closing(ordered_map(lambda _: done.set(), source(), 4)) as results:
        next(results)
    assert len(taken) < LOOK_AHEAD * 4


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_an_error_of_the_work_comes_in_its_place(error: BaseException) -> None:
    def work(number: int) -> int:
        if number == 3:
            raise error
        return number

    got: list[int] = []
    with pytest.raises(type(error)) as caught:
        for result in ordered_map(work, range(10), 2):
            got.append(result)
    assert caught.value is error
    assert got == [0, 1, 2]


def test_an_error_of_the_source_comes_after_all_before_it() -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise OSError("cable")

    got: list[int] = []
    with pytest.raises(OSError, match="cable"):
        for result in ordered_map(square, source(), 2):
            got.append(result)
    assert got == [0, 1, 4, 9, 16]


def test_closing_waits_for_the_work_and_leaves_no_thread() -> None:
    before, ended = threading.active_count(), []

    def work(number: int) -> int:
        ended.append(number)
        return number

    with closing(ordered_map(work, count(), 3)) as results:
        assert next(results) == 0
    assert threading.active_count() == before
    so_far = len(ended)
    assert so_far <= 1 + LOOK_AHEAD * 3
    assert len(ended) == so_far


def test_a_stream_gives_a_result_while_the_next_item_is_waited_for() -> None:
    """A frame is shown as soon as it is done, not with the next one, a thirtieth of a second later."""
    shown = threading.Event()

    def source() -> Iterator[int]:
        yield 3
        assert shown.wait(PATIENCE), "the first result was to come before the second item"
        yield 4

    with closing(ordered_stream(square, source(), 2, 1)) as results:
        assert next(results) == 9
        shown.set()
        assert list(results) == [16]


def test_a_stream_is_in_order_and_bounded_and_tells_errors_in_their_place() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(40):
            taken.append(number)
            yield number
        raise ValueError("a bug")

    results = ordered_stream(square, source(), 3, 2)
    for expected in range(40):
        assert next(results) == expected**2
        assert len(taken) <= expected + 1 + 4, "the one shown, 2 ahead, one in hand, one being read"
    with pytest.raises(ValueError, match="a bug"):
        next(results)


def test_a_stream_that_is_left_reads_no_more() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    with closing(ordered_stream(square, source(), 2, 1)) as results:
        next(results)
    assert len(taken) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fsr")]
