"""Whether frames flow, and how old they are when they are shown."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable

BUCKETS = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
"""Upper edges of the histogram of latencies, in seconds."""
DEADLINE = 10.0
"""Seconds without a frame after which something is wrong."""


class Watchdog:
    """Counts frames as they are shown, in the pipeline's thread, and says when they fail to come."""

    def __init__(self, deadline: float = DEADLINE, clock: Callable[[], float] = time.monotonic) -> None:
        self.deadline = deadline
        self.frames = 0
        self.failed = 0
        self._clock = clock
        self._last = clock()

    def frame(self, failed: bool = False) -> None:
        self._last = self._clock()
        self.frames += 1
        self.failed += failed

    @property
    def idle(self) -> float:
        """Seconds since the last frame, or since the start."""
        return self._clock() - self._last

    def complaint(self) -> str | None:
        """What is wrong, as a sentence; None while frames flow."""
        idle = self.idle
        if idle <= self.deadline:
            return None
        what = "no frame" if self.frames else "no frame yet"
        return f"{what} for {idle:.0f} s, the limit is {self.deadline:g} s"


class Histogram:
    """Of latencies, as Prometheus counts them; one thread observes, others may read."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds
