"""Less is done for each frame of a live source that cannot be kept up with, and more again once it can.

Faces are searched for less often; where that is not enough, restored by models that take less time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import TypeVar

from ..bundle import ModelEntry
from ..moving import MovingChain
from ..pipeline import LIGHTEST
from ..track import Pace

T = TypeVar("T")

PACES = (Pace(), Pace(10, 3, 8), Pace(20, 3, 10), Pace(45, 3, 15))
"""From the most effort to the least."""
WINDOW = 3.0
"""Seconds over which the waiting is measured."""
BUSY, IDLE = 0.03, 0.35
"""Share of the time spent waiting for the source, below which less and above which more is done."""
QUIET = 60.0
"""Seconds after a sentence in which nothing but a new worst is said: a load that comes and goes would fill the log."""
FIRST_STAY, LONGEST_STAY = 30.0, 600.0
"""Seconds with the fast models before the better ones are tried again; twice as long each time that they are too slow
still: the change is seen."""


@dataclass(frozen=True)
class Effort:
    """How much is done for a frame."""

    level: int = 0
    """0: all; the higher, the less."""
    what: str = ""
    """How it is less, in a clause; empty where it is not."""


FULL = Effort()


class KeepUp:
    """`KeepUp(chain)(frames)` yields the frames of a live source, and changes what `chain` does by how long each had to
    be waited for. A source that is always ready is one whose frames come faster than they are taken.

    lighter: opens the models that take less time, in a thread of its own, when they are wanted first; None: there are
    none. say: told in a sentence. tell: told of every change.
    """

    def __init__(
        self,
        chain: MovingChain,
        lighter: Callable[[], Sequence[ModelEntry]] | None = None,
        say: Callable[[str], None] = lambda _: None,
        tell: Callable[[Effort], None] = lambda _: None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        clock = clock or time.monotonic
        self._chain, self._say, self._tell, self._clock = chain, say, tell, clock
        self._best, self._fast, self._lighter = chain.models, chain.models, lighter
        self._opening: Thread | None = None
        self._refusal: str | None = None
        self._level = self._worst = 0
        self._said = self._changed = clock()
        self._stay, self._tried = FIRST_STAY, float("-inf")
        """How long the fast models stay, and when the better ones were tried again."""

    def __call__(self, frames: Iterable[T]) -> Iterator[T]:
        waited, since = 0.0, None
        iterator = iter(frames)
        while True:
            asked = self._clock()
            try:
                frame = next(iterator)
            except StopIteration:
                return
            now = self._clock()
            if since is None:  # the first is always waited for
                since = now
            else:
                waited += now - asked
            if now - since >= WINDOW:
                self._judge(waited / (now - since), now)
                waited, since = 0.0, now
            yield frame

    @property
    def _last(self) -> int:
        """The level of which nothing can be done but to drop frames."""
        return len(PACES) + (self._lighter is not None)

    def _judge(self, share: float, now: float) -> None:
        """share: of the time, spent waiting for the source."""
        if share < BUSY and self._level < self._last:
            self._go(self._level + 1, now)
        elif share > IDLE and self._level:
            if self._level == len(PACES) and self._lighter is not None and now - self._changed < self._stay:
                return
            self._go(self._level - 1, now)

    def _go(self, level: int, now: float) -> None:
        is_fast = level >= len(PACES) and self._lighter is not None
        if is_fast and not self._is_open():
            return
        was_fast, step = self._chain.models is not self._best, level - self._level
        if is_fast and not was_fast:
            in_vain = now - self._tried < self._stay
            self._stay = min(LONGEST_STAY, 2 * self._stay) if in_vain else FIRST_STAY
        elif was_fast and not is_fast:
            self._tried = now
        self._level, self._changed = level, now
        self._chain.tracker.pace = PACES[min(level, len(PACES) - 1)]
        self._chain.models = self._fast if is_fast else self._best
        what = self._what(was_fast)
        self._tell(Effort(level, what if level else ""))
        if level > self._worst or now - self._said >= QUIET:
            self._worst, self._said = max(self._worst, level), now
            self._say(f"{'cannot keep up with the source' if step > 0 else 'time to spare'}: {what}")

    def _is_open(self) -> bool:
        """Whether the fast models are there; where they cannot be, it is said, and they are wanted no more."""
        if self._fast is not self._best:
            return True
        if self._refusal is not None:
            self._lighter = None
            self._say(f"the models of less effort cannot be opened: {self._refusal}")
        elif self._opening is None:  # beside the stream, which goes on
            self._opening = Thread(target=self._open, name="fsr-effort", daemon=True)
            self._opening.start()
        return False

    def _open(self) -> None:
        assert self._lighter is not None
        try:
            self._fast = self._lighter()
        except Exception as error:  # of an engine, whatever it is: the stream goes on without
            self._refusal = str(error)

    def _what(self, was_fast: bool) -> str:
        """Is done at this level."""
        best, fast = self._best[0].tier, self._fast[0].tier
        if self._level == self._last:
            tier = "" if LIGHTEST in (best, fast) else f"tier {LIGHTEST}, "
            by = "" if fast == best else f" and faces restored by tier {fast}"
            return f"some frames are dropped{by}; {tier}a larger --min-face and a smaller --scale take less time"
        if self._level == len(PACES):
            return f"faces are restored by tier {fast}"
        pace = PACES[self._level]
        how = ", mostly at half size" if pace.fine_every > 1 else ""
        again = f"faces are restored by tier {best} again, and " if was_fast else ""
        return f"{again}new faces are searched for in every {pace.search_every}th frame{how}"
