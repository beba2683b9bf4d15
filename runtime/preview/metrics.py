"""The state of a run as Prometheus reads it.

Source: Prometheus exposition formats, text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from .health import BUCKETS, Histogram, Watchdog
from .stats import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def prometheus(now: Snapshot, watchdog: Watchdog, latency: Histogram, viewers: int) -> str:
    """Every metric, with its help and type."""
    return "\n".join([*_plain(now, watchdog, viewers), *_histogram(latency), ""])


def _plain(now: Snapshot, watchdog: Watchdog, viewers: int) -> Iterator[str]:
    up = int(watchdog.complaint() is None)
    yield from _metric("fsr_up", "gauge", "1 while frames flow, 0 once the watchdog's deadline has passed.", up)
    yield from _metric("fsr_frames_total", "counter", "Frames shown.", watchdog.frames)
    yield from _metric("fsr_frames_failed_total", "counter", "Frames merely enlarged, after an error.", watchdog.failed)
    yield from _metric("fsr_frames_dropped_total", "counter", "Frames left out to keep up.", now.dropped)
    yield from _metric("fsr_reconnects_total", "counter", "Times the source was opened again.", now.reconnects)
    yield from _metric("fsr_effort_saved", "gauge", "0 while all is done, more the less is done.", now.effort.level)
    yield from _metric("fsr_frames_per_second", "gauge", "Frames a second, lately.", round(now.fps, 3))
    yield from _metric("fsr_faces", "gauge", "Faces in the last frame.", now.faces)
    yield from _metric("fsr_idle_seconds", "gauge", "Seconds since the last frame.", round(watchdog.idle, 3))
    yield from _metric("fsr_preview_viewers", "gauge", "Viewers of the page's stream.", viewers)


def _metric(name: str, kind: str, what: str, value: float) -> tuple[str, str, str]:
    return f"# HELP {name} {what}", f"# TYPE {name} {kind}", f"{name} {value}"


def _histogram(latency: Histogram) -> Iterator[str]:
    name = "fsr_latency_seconds"
    yield f"# HELP {name} From capture to display, of live sources."
    yield f"# TYPE {name} histogram"
    totals = list(accumulate(latency.counts))
    for edge, total in zip((*map(str, BUCKETS), "+Inf"), totals, strict=True):
        yield f'{name}_bucket{{le="{edge}"}} {total}'
    yield f"{name}_sum {latency.sum:.6f}"
    yield f"{name}_count {totals[-1]}"
