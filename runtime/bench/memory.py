"""How much memory a process takes, in MB of 10^6 bytes."""

from __future__ import annotations

import sys
from pathlib import Path

PROC = Path("/proc")


def peak_megabytes() -> float | None:
    """Most that was ever resident of this process; None on Windows, which does not tell."""
    if (peak := _from_status("self", "VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def resident_megabytes(process: int | None = None) -> float | None:
    """What is resident now, of this process or another; None outside Linux, or if there is no such process."""
    return _from_status("self" if process is None else str(process), "VmRSS")


def _from_status(process: str, key: str) -> float | None:
    try:
        lines = (PROC / process / "status").read_text().splitlines()
    except OSError:
        return None
    values = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(values[key].split()[0]) * 1024 / 1e6 if key in values else None
