"""Reads ahead in a thread of its own, so that reading and what comes after it go on side by side."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

LOOK_SECONDS = 0.1
"""Between two looks at what came: while a lock is waited for without end, Windows does not deliver Ctrl-C."""


def read_ahead(items: Iterable[T], count: int, idle: Callable[[], object] = lambda: None) -> Generator[T, None, None]:
    """Yield `items`, read by another thread, at most `count` and the one in hand ahead.

    idle: called now and then, in the thread that iterates, while it waits for the next.

    What `items` raises is raised in its place. A reader that may stop early closes the iterator, which waits for the
    item being read, and then lets `items` go.
    """
    queue: Queue[tuple[T] | BaseException | None] = Queue(count)
    closed = Event()
    thread = Thread(target=_read, args=(items, queue, closed), name="fsr-ahead", daemon=True)
    thread.start()
    try:
        while (got := _next(queue, idle)) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got[0]
    finally:
        closed.set()
        _empty(queue)
        thread.join()


def _read(items: Iterable[T], queue: Queue[tuple[T] | BaseException | None], closed: Event) -> None:
    last: BaseException | None = None
    try:
        for item in items:
            queue.put((item,))
            if closed.is_set():
                return
    except BaseException as error:  # raised where it is read
        last = error
    finally:
        if not closed.is_set():
            queue.put(last)


def _next(queue: Queue[tuple[T] | BaseException | None], idle: Callable[[], object]) -> tuple[T] | BaseException | None:
    while True:
        with suppress(Empty):
            return queue.get(timeout=LOOK_SECONDS)
        idle()


def _empty(queue: Queue[tuple[T] | BaseException | None]) -> None:
    """Make room for a writer that waits for it."""
    try:
        while True:
            queue.get_nowait()
    except Empty:
        return
