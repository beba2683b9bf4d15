"""What `fsr-export bench` measured of engines on this machine, kept so that `auto` takes the fastest that passed.

Plans of TensorRT have records of their own beside them; here are the engines that run a bundle's ONNX files. A time
counts only where it was taken: on the same processor and GPU, by the same versions of the engines.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..errors import EngineUnavailableError
from ..files import cache_folder, write_text
from ..machine import this_machine
from ..strict_json import from_json
from .opening import OPENERS
from .plan_choice import PRECISIONS, Files

VERSION = 1
"""Of the file; raised when a field changes its meaning."""
FILE = "speeds.json"
BENCH = "fsr-export bench"
ENGINE_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino")
TIE = 1.05
"""Times whose ratio is smaller are equal: so much lies between two runs of one engine."""


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
class Speeds:
    """The file in the cache."""

    version: int
    where: dict[str, str]
    """What the times depend on; see `where`."""
    created: str
    """When, ISO 8601 in UTC."""
    speeds: list[Speed]


def speeds_file() -> Path:
    """Where the times are kept; whoever removes it is asked for `fsr-export bench` again."""
    return cache_folder() / FILE


def where() -> dict[str, str]:
    """What times depend on beside the file that is run: processor, its vector extensions, GPUs, versions of engines."""
    machine = this_machine()
    packages = {name: machine.packages[name] for name in ENGINE_PACKAGES if name in machine.packages}
    extensions = ", ".join(machine.vector_extensions or [])
    return {"processor": machine.processor, "extensions": extensions, "GPUs": ", ".join(machine.gpus), **packages}


def keep_speeds(speeds: Sequence[Speed]) -> Path:
    """Write times down beside those of other files that were taken here, in place of any of the same file.

    Raises:
        OutputError: the cache cannot be written.
    """
    anew = {speed.file for speed in speeds}
    try:
        before = kept_speeds()
    except EngineUnavailableError:  # of another machine, or damaged: of no use any more
        before = []
    kept = [*(speed for speed in before if speed.file not in anew), *speeds]
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    path = speeds_file()
    write_text(path, json.dumps(asdict(Speeds(VERSION, where(), created, kept)), indent=1) + "\n")
    return path


def kept_speeds() -> list[Speed]:
    """The times that were taken here, none if there are none yet.

    Raises:
        EngineUnavailableError: the file is damaged, or not of this machine and these versions; a clause.
    """
    path = speeds_file()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise EngineUnavailableError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise EngineUnavailableError(f"{path} is of another version of fsr-edge")
    kept, here = from_json(Speeds, data, str(path), EngineUnavailableError), where()
    for name in {**kept.where, **here}:
        if (then := kept.where.get(name)) != (now := here.get(name)):
            raise EngineUnavailableError(f"the times kept are of {name} {then or 'none'}, here is {now or 'none'}")
    return kept.speeds


def refusal(models: Sequence[Files], engine: str, precision: str, speeds: Sequence[Speed]) -> str | None:
    """Why the parity gate refused one of `models` here, in that precision by that engine; None if it did not."""
    files = {files[precision].sha256 for files in models if precision in files}
    refused = (s.failures for s in speeds if s.file in files and (s.engine, s.precision) == (engine, precision))
    return next((f"its {precision} failed the gate here: {failures[0]}" for failures in refused if failures), None)


def rank(
    models: Sequence[Files], precisions: Collection[str], speeds: Sequence[Speed]
) -> Mapping[tuple[str, str], float]:
    """Milliseconds a face, mean over `models`, by engine and precision: those in which all passed, fastest first.

    Of equals the one that takes least memory comes first, then the most exact.
    """
    passed = {(s.file, s.engine, s.precision): s.milliseconds for s in speeds if not s.failures}
    found: dict[tuple[str, str], float] = {}
    for engine in OPENERS:
        for precision in reversed(PRECISIONS):
            keys = [(files[precision].sha256, engine, precision) for files in models if precision in files]
            if precision in precisions and 0 < len(keys) == len(models) and all(key in passed for key in keys):
                found[engine, precision] = sum(passed[key] for key in keys) / len(keys)
    least = min(found.values(), default=0.0)
    return dict(sorted(found.items(), key=lambda item: max(item[1], least * TIE)))
