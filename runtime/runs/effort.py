"""Less is done for each frame of a live source that cannot be kept up with, and more again once it can."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import TypeVar

from ..track import Pace, Tracker

T = TypeVar("T")

PACES = (Pace(), Pace(10, 3, 8), Pace(20, 3, 10), Pace(45, 3, 15))
"""From the most effort to the least."""
WINDOW = 3.0
"""Seconds over which the waiting is measured."""
BUSY, IDLE = 0.03, 0.35
"""Share of the time spent waiting for the source, below which less and above which more is done."""
QUIET = 60.0
"""Seconds after a sentence in which nothing but a new worst is said: a load that comes and goes would fill the log."""
LAST_WORD = "still too slow: some frames are dropped; tier S, a larger --min-face and a smaller --scale take least time"


def keep_up(
    frames: Iterable[T],
    tracker: Tracker,
    say: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Yield `frames` of a live source, and change the pace of `tracker` by how long each had to be waited for.

    A source that is always ready is one whose frames come faster than they are taken.
    """
    level, worst, waited, since = 0, 0, 0.0, clock()
    said = since
    iterator = iter(frames)
    for number in count():
        asked = clock()
        try:
            frame = next(iterator)
        except StopIteration:
            return
        now = clock()
        if number == 0:  # the first is always waited for
            since = now
        else:
            waited += now - asked
        if now - since >= WINDOW:
            share, waited, since = waited / (now - since), 0.0, now
            step = 1 if share < BUSY else -1 if share > IDLE else 0
            if step == 1 and level == len(PACES):
                step = 0
            if step and 0 <= level + step <= len(PACES):
                level += step
                tracker.pace = PACES[min(level, len(PACES) - 1)]
                if say is not None and (level > worst or now - said >= QUIET):
                    worst, said = max(worst, level), now
                    say(sentence(level, step))
        yield frame


def sentence(level: int, step: int) -> str:
    """What is said of a new level."""
    if level == len(PACES):
        return LAST_WORD
    pace = PACES[level]
    how = ", mostly at half size" if pace.fine_every > 1 else ""
    why = "cannot keep up with the source" if step > 0 else "time to spare"
    return f"{why}: new faces are searched for in every {pace.search_every}th frame{how}"
