"""What `fsr-export bench` measured of engines on this machine, kept so that `auto` takes the fastest that passed.

One file a run, and times of different runs are never compared: a quieter minute would make any engine the faster one.
They count only where they were taken: on the same processor and GPU, by the same versions of the engines. Plans of
TensorRT have records of their own beside them; here are the engines that run a bundle's ONNX files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..errors import EngineUnavailableError
from ..files import cache_folder, write_text
from ..machine import this_machine
from ..strict_json import from_json
from .plan_choice import PRECISIONS, Files

VERSION = 1
"""Of a file; raised when a field changes its meaning."""
BENCH = "fsr-export bench"
ENGINE_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino")
TIE = 1.05
"""Times whose ratio is smaller are equal: so much lies between two runs of one engine."""
MOST_RUNS = 32
"""That are kept."""


@dataclass(frozen=True)
class Speed:
    """One model or detector, as one engine ran it."""

    file: str
    """SHA-256 of its ONNX file."""
    engine: str
    precision: str
    milliseconds: float
    """A face, mean over the numbers of faces at once; of the detector, a picture."""
    failures: list[str]
    """Why the parity gate refused it here; empty if it passed."""


@dataclass(frozen=True)
class SpeedRun:
    """One run of `fsr-export bench`: a file in the cache."""

    version: int
    where: dict[str, str]
    """What the times depend on; see `where`."""
    created: str
    """When, ISO 8601 in UTC."""
    speeds: list[Speed]


def speeds_folder() -> Path:
    """Where the runs are kept; whoever removes one is asked for `fsr-export bench` again."""
    return cache_folder() / "speeds"


def where() -> dict[str, str]:
    """What times depend on beside the file that is run: processor, its vector extensions, GPUs, versions of engines."""
    machine = this_machine()
    packages = {name: machine.packages[name] for name in ENGINE_PACKAGES if name in machine.packages}
    extensions = ", ".join(machine.vector_extensions or [])
    return {"processor": machine.processor, "extensions": extensions, "GPUs": ", ".join(machine.gpus), **packages}


def keep_speeds(speeds: Sequence[Speed]) -> Path:
    """Write a run down, in place of an earlier one of the same files at the same place.

    Raises:
        OutputError: the cache cannot be written.
    """
    here = where()
    key = json.dumps([here, sorted({speed.file for speed in speeds})], sort_keys=True)
    path = speeds_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    created = datetime.now(timezone.utc).isoformat()
    write_text(path, json.dumps(asdict(SpeedRun(VERSION, here, created, list(speeds))), indent=1) + "\n")
    for old in sorted(speeds_folder().glob("*.json"), key=lambda file: -file.stat().st_mtime)[MOST_RUNS:]:
        old.unlink(missing_ok=True)
    return path


def kept_speeds() -> tuple[list[list[Speed]], str]:
    """The runs that were made here, newest first, and a clause about those that do not count; empty without any."""
    if not (paths := sorted(speeds_folder().glob("*.json"))):  # looking at the machine takes a start-up's time
        return [], ""
    here, runs, clause = where(), list[SpeedRun](), ""
    for path in paths:
        try:
            run = read_run(path)
        except EngineUnavailableError as error:
            clause = str(error)
            continue
        if run.where == here:
            runs.append(run)
        else:
            name = next(name for name in {**run.where, **here} if run.where.get(name) != here.get(name))
            then, now = run.where.get(name, "none"), here.get(name, "none")
            clause = clause or f"the times kept are of {name} {then}, here is {now}"
    return [run.speeds for run in sorted(runs, key=lambda run: run.created, reverse=True)], clause


def read_run(path: Path) -> SpeedRun:
    """One file of the cache.

    Raises:
        EngineUnavailableError: damaged, or of another version; a clause.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EngineUnavailableError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise EngineUnavailableError(f"{path} is of another version of fsr-edge")
    run = from_json(SpeedRun, data, str(path), EngineUnavailableError)
    if not all(math.isfinite(speed.milliseconds) and speed.milliseconds > 0 for speed in run.speeds):
        raise EngineUnavailableError(f"{path} holds a time that is none")
    return run


def refusal(models: Sequence[Files], engine: str, precision: str, runs: Sequence[Sequence[Speed]]) -> str | None:
    """Why the parity gate last refused one of `models` here, in that precision by that engine; None if it did not."""
    for files in models:
        sha256 = files[precision].sha256 if precision in files else ""
        key = (sha256, engine, precision)
        last = next((s for run in runs for s in run if (s.file, s.engine, s.precision) == key), None)
        if last is not None and last.failures:
            return f"its {precision} failed the gate here: {last.failures[0]}"
    return None


def rank(
    models: Sequence[Files],
    precisions: Collection[str],
    engines: Collection[str],
    runs: Sequence[Sequence[Speed]],
) -> Mapping[tuple[str, str], float]:
    """Milliseconds a face, mean over `models`, by engine and precision: those in which all passed, fastest first.

    Of equals the one that takes least memory comes first, then the most exact. The newest of `runs` decides that timed
    all `models` in all of `precisions` that they have; nothing is ranked without one.
    """
    wanted = {(files[p].sha256, p) for files in models for p in precisions if p in files}
    for run in runs:
        if wanted and wanted <= {(speed.file, speed.precision) for speed in run}:
            return _rank(models, precisions, engines, run)
    return {}


def _rank(
    models: Sequence[Files], precisions: Collection[str], engines: Collection[str], run: Sequence[Speed]
) -> Mapping[tuple[str, str], float]:
    passed = {(s.file, s.engine, s.precision): s.milliseconds for s in run if not s.failures}
    found: dict[tuple[str, str], float] = {}
    for engine in engines:
        for precision in reversed(PRECISIONS):
            keys = [(files[precision].sha256, engine, precision) for files in models if precision in files]
            if precision in precisions and len(keys) == len(models) and all(key in passed for key in keys):
                found[engine, precision] = sum(passed[key] for key in keys) / len(keys)
    least = min(found.values(), default=0.0)
    return dict(sorted(found.items(), key=lambda item: max(item[1], least * TIE)))
