"""How much memory one model takes in one engine, seen from a process that does nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..runtime.bench.memory import peak_megabytes
from ..runtime.engines import open_network
from ..runtime.engines.choice import PROBE
from ..runtime.errors import EngineUnavailableError

CALLS = 3


def memory_of(engine: str, model: Path, precision: str, shape: Sequence[int]) -> float | None:
    """MB that opening `model` and running a batch of `shape` adds to a process that has the engine already; None where
    the system does not tell or the process failed."""
    program = f"from {__name__} import main; main()"
    arguments = [engine, str(model), precision, *map(str, shape)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return float(words[-1]) if done.returncode == 0 and words else None


def main() -> None:
    """Print how far the peak rises."""
    engine, model, precision, *shape = sys.argv[1:]
    with suppress(EngineUnavailableError):  # TensorRT has no plan of it
        open_network(engine, PROBE)
    before = peak_megabytes()
    network = open_network(engine, Path(model), precision)
    batch = np.zeros([int(length) for length in shape], np.uint8)
    for _ in range(CALLS):
        network(batch)
    if before is not None and (after := peak_megabytes()) is not None:
        sys.stdout.write(f"{after - before}\n")
