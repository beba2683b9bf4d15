"""Work spread over threads whose results come back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from .ahead import read_ahead

T = TypeVar("T")
U = TypeVar("U")

LOOK_AHEAD = 2
"""Items a worker that may be under way or waiting for their turn: what bounds the memory."""


def ordered_map(
    work: Callable[[T], U], items: Iterable[T], workers: int, look_ahead: int = LOOK_AHEAD
) -> Generator[U, None, None]:
    """Yield `work(item)` for each item, in order, as soon as it is there; `workers` threads do the work.

    `items` is read by the thread that iterates, never more than `look_ahead * workers` ahead. What `work` or `items`
    raises is raised at its item's place, after everything before it; what comes later is dropped. A caller that may
    stop early closes the iterator (`contextlib.closing`), which waits for the work under way.
    """
    pending: deque[Future[U]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fsr")
    try:
        for future in _submitted(pool, work, items):
            pending.append(future)
            while pending and (pending[0].done() or len(pending) >= look_ahead * workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ordered_stream(
    work: Callable[[T], U], items: Iterable[T], workers: int, ahead: int, idle: Callable[[], object] = lambda: None
) -> Generator[U, None, None]:
    """As `ordered_map`, for items that may be long in coming: a thread of its own reads them, at most `ahead` beyond
    the one in hand, and each result is yielded as soon as it is there, not once the next item has come.

    idle: called now and then, in the thread that iterates, while no item comes.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fsr")
    try:
        with closing(read_ahead((pool.submit(work, item) for item in items), ahead, idle)) as futures:
            for future in futures:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submitted(pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T]) -> Iterator[Future[U]]:
    """The future of each item; where `items` itself fails, one last future with its error."""
    try:
        for item in items:
            yield pool.submit(work, item)
    except Exception as error:  # raised by result(), in its turn
        failed: Future[U] = Future()
        failed.set_exception(error)
        yield failed
