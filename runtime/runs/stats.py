"""How a stream is doing: frames a second, latency from camera to display, what was dropped; asked from any thread."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ..media.source import Source
from .effort import FULL, Effort
from .frame_work import FrameResult
from .stream import Show

RECENT_SECONDS = 3.0
"""What frames a second are counted over."""
RECENT_FRAMES = 300
"""What the latencies of now are taken from."""
EDGES: list[float] = np.geomspace(1e-3, 100.0, 1161).tolist()
"""In seconds, each 1% after the one before: between which the latencies of a run are counted, however long it is."""


@dataclass(frozen=True)
class StatsSnapshot:
    """A run at one moment."""

    frames: int
    """Shown so far."""
    dropped: int
    """Of a live source, so far: they came faster than they were taken."""
    fps: float
    """Frames shown a second, lately."""
    latency_ms_median: float | None
    """From capture until every output had the frame, of the last `RECENT_FRAMES`; None of a file."""
    latency_ms_p95: float | None
    faces: int
    """In the last frame."""
    reconnects: int
    seconds_since_frame: float | None
    """None before the first."""
    effort: Effort = FULL
    """Of a live source that cannot be kept up with, less is made."""
    run_latency_ms: tuple[float, float] | None = None
    """Median and 95th percentile of the whole run, to 1%."""

    def sentence(self) -> str:
        """For a line on the screen."""
        parts = [f"{self.fps:.1f} frames/s"]
        if self.latency_ms_median is not None and self.latency_ms_p95 is not None:
            parts.append(f"{self.latency_ms_median:.0f} ms behind (95%: {self.latency_ms_p95:.0f})")
        parts.append(f"{self.dropped} dropped")
        if self.reconnects:
            parts.append(f"found again {self.reconnects} times")
        if self.effort.what:
            parts.append(self.effort.what)
        return ", ".join(parts)


class StreamStats:
    """Counts results as the last sink of a run, so that a frame's latency holds all that the others do."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock = source, clock
        self._lock = Lock()
        self._times: deque[float] = deque()
        self._latencies: deque[float] = deque(maxlen=RECENT_FRAMES)
        self._counts = np.zeros(len(EDGES), np.int64)
        self._frames = self._faces = 0
        self._last: float | None = None
        self._started = clock()
        self._effort = FULL

    def tell(self, effort: Effort) -> None:
        """From any thread."""
        self._effort = effort

    def add(self, result: FrameResult) -> None:
        now = self._clock()
        with self._lock:
            self._frames += 1
            self._faces, self._last = len(result.restored.faces), now
            self._times.append(now)
            self._forget(now)
            if result.frame.captured is not None:
                self._latencies.append(now - result.frame.captured)
                self._counts[max(0, bisect_right(EDGES, self._latencies[-1]) - 1)] += 1

    def snapshot(self) -> StatsSnapshot:
        now = self._clock()
        with self._lock:  # shortly: the pipeline waits for it
            self._forget(now)
            frames, faces, last, recent = self._frames, self._faces, self._last, len(self._times)
            latencies, counts = list(self._latencies), self._counts.copy()
        seconds = max(min(RECENT_SECONDS, now - self._started), 1e-3)
        median, p95 = (1e3 * np.percentile(latencies, (50, 95))).tolist() if latencies else (None, None)
        return StatsSnapshot(
            frames=frames,
            dropped=self._source.dropped,
            fps=recent / seconds,
            latency_ms_median=median,
            latency_ms_p95=p95,
            faces=faces,
            reconnects=self._source.reconnects,
            seconds_since_frame=None if last is None else now - last,
            effort=self._effort,
            run_latency_ms=(_percentile(counts, 0.5), _percentile(counts, 0.95)) if latencies else None,
        )

    @contextmanager
    def sink(self) -> Iterator[Show]:
        """To be the last of the sinks."""
        yield self.add

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] <= now - RECENT_SECONDS:
            self._times.popleft()


def _percentile(counts: NDArray[np.int64], share: float) -> float:
    """In milliseconds, of latencies counted by `EDGES`."""
    total = np.cumsum(counts)
    return 1e3 * EDGES[int(np.searchsorted(total, share * total[-1]))]
