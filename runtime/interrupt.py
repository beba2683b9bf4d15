"""Ctrl-C and SIGTERM as a wish to stop rather than an exception or an end wherever the program is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_stops: list[threading.Event] = []
"""Of the runs under way, the innermost last."""


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C or SIGTERM sets; a second one does as usual.

    So that what is under way can be finished. Outside the main thread, where signals cannot be caught, and where
    a signal is ignored on purpose (Ctrl-C in a job in the background), it does not set the event.
    """
    stop = threading.Event()
    _stops.append(stop)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    caught = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    if threading.current_thread() is not threading.main_thread():
        caught = []

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        _restore()

    def _restore() -> None:
        for number in caught:
            signal.signal(number, before[number])

    for number in caught:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        _restore()
        _stops.remove(stop)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, so that what is half done is tidied away.

    Not where it is ignored or handled already, nor outside the main thread.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end of this, for what is lost if it is not done to its end.

    What is ignored or handled by other than Python stays so; outside the main thread none arrives anyway.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    if threading.current_thread() is not threading.main_thread():
        held = []
    came: list[int] = []
    for number in held:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, before[number])
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


def is_stopping() -> bool:
    """Whether the run under way was asked to stop: what waits for a source that brings nothing looks here."""
    return any(stop.is_set() for stop in _stops)
