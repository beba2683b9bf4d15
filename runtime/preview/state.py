"""What the page says of the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .controls import Controls
from .health import Watchdog
from .stats import Stats
from .viewers import Viewers


@dataclass(frozen=True, eq=False)
class State:
    """Everything that changes while a run goes on, but the pictures."""

    stats: Stats
    controls: Controls
    watchdog: Watchdog
    viewers: Viewers
    about: str
    """Engine, device, precision and tier, and why they were chosen."""
    source: str

    def to_json(self) -> dict[str, Any]:
        now = self.stats.snapshot()
        return {
            "source": self.source,
            "about": self.about,
            "complaint": self.watchdog.complaint(),
            "frames": now.frames,
            "dropped": now.dropped,
            "fps": round(now.fps, 1),
            "latency_ms": [now.latency_ms_median, now.latency_ms_p95],
            "faces": now.faces,
            "reconnects": now.reconnects,
            "effort": now.effort.what,
            "viewers": self.viewers.count,
            "setting": asdict(self.controls.setting),
            "scales": list(self.controls.scales),
        }
