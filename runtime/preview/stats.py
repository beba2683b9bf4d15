"""What the page asks of the statistics of a run."""

from __future__ import annotations

from typing import Protocol


class Snapshot(Protocol):
    """A run at one moment."""

    @property
    def frames(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def fps(self) -> float: ...
    @property
    def latency_ms_median(self) -> float | None: ...
    @property
    def latency_ms_p95(self) -> float | None: ...
    @property
    def faces(self) -> int: ...
    @property
    def reconnects(self) -> int: ...


class Stats(Protocol):
    """Gives snapshots, from any thread."""

    def snapshot(self) -> Snapshot: ...
