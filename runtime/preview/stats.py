"""What the page asks of the statistics of a run."""

from __future__ import annotations

from typing import Protocol


class Effort(Protocol):
    """How much is done for a frame of a source that is too fast."""

    @property
    def level(self) -> int: ...
    @property
    def what(self) -> str: ...


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
    @property
    def effort(self) -> Effort: ...


class Stats(Protocol):
    """Gives snapshots, from any thread."""

    def snapshot(self) -> Snapshot: ...
