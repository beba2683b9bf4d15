"""What teachers say of the training faces, computed once into a file that is read as it is needed.

Every face is there as it is and mirrored, as batches draw them. Outputs are kept as uint8, features as float16.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from ..runtime.errors import CheckpointError, OutputError
from ..runtime.files import atomic_path
from ..runtime.pixels import RgbBatch, to_uint8_nhwc
from .batches import Draw, faces_of, to_floats
from .device import CPU
from .tensor_file import open_tensors, read_all

FORMAT = "fsr-teacher-outputs"
ADVICE = "remove it, or name another with --teacher-cache"
CHUNK = 64


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of a batch."""

    output: Tensor | None
    """Float (B, 3, H, H) in about [0, 1]."""
    features: list[Tensor]
    """Chosen layers, each (B, C, S, S); none if they are not distilled or not asked for."""


class Tutor(Protocol):
    """Whatever gives lessons: networks that run, or a file of what they said."""

    def __call__(self, draw: Draw, low: Tensor, *, features: bool = True) -> Lesson:
        """The lesson on these faces; low: as drawn, float (B, 3, h, h)."""
        ...


class CachedTutor:
    """Reads lessons from a file made by `cache_lessons`; the file is mapped, not loaded."""

    def __init__(self, path: Path) -> None:
        with open_tensors(path, "pt", CheckpointError, ADVICE) as (file, _):
            tensors = read_all(file)
        self._output = tensors.pop("output", None)
        self._features = [tensors[name] for name in sorted(tensors)]

    def __call__(self, draw: Draw, low: Tensor, *, features: bool = True) -> Lesson:
        at = torch.from_numpy(draw.mirrored.astype(np.int64)), torch.from_numpy(draw.indices)
        output = None if self._output is None else to_floats(self._output[at].to(low.device))
        return Lesson(output, [feature[at].to(low.device).float() for feature in self._features if features])


def cache_lessons(
    path: Path, tutor: Tutor, low: RgbBatch, about: dict[str, Any], console: Console, device: torch.device = CPU
) -> CachedTutor:
    """The tutor's lessons on every face of `low`, uint8 (N, h, h, 3), from `path` or computed into it.

    about: what the lessons depend on beside the faces, such as the hashes of the teachers. device: where the tutor is.

    Raises:
        CheckpointError: `path` holds something else.
        OutputError: there is no room for it.
    """
    about = {**about, "faces": hashlib.sha256(np.ascontiguousarray(low).data).hexdigest()}
    if path.exists():
        with open_tensors(path, "pt", CheckpointError, ADVICE) as (_, metadata):
            known = json.loads(metadata.get(FORMAT, "{}"))
        if known != about:
            raise CheckpointError(f"{path}: holds lessons of other teachers or other faces; {ADVICE}")
        console.print(f"lessons of the teachers are read from {path}")
        return CachedTutor(path)
    trial = tutor(*_chunk(low, 0, 1, False, device))
    shapes: dict[str, tuple[int, ...]] = {}
    if trial.output is not None:
        _, channels, *size = trial.output.shape
        shapes["output"] = (2, len(low), *size, channels)
    shapes |= {f"feature{i:02}": (2, len(low), *f.shape[1:]) for i, f in enumerate(trial.features)}
    with _new_file(path, shapes, about) as arrays:
        starts = [(mirrored, start) for mirrored in (False, True) for start in range(0, len(low), CHUNK)]
        for mirrored, start in track(starts, "lessons of the teachers", console=console):
            stop = min(start + CHUNK, len(low))
            lesson = tutor(*_chunk(low, start, stop, mirrored, device))
            place = int(mirrored), slice(start, stop)
            if lesson.output is not None:
                arrays["output"][place] = to_uint8_nhwc(lesson.output.float().cpu().numpy())
            for index, feature in enumerate(lesson.features):
                arrays[f"feature{index:02}"][place] = feature.half().cpu().numpy()
    return CachedTutor(path)


def _chunk(low: RgbBatch, start: int, stop: int, mirrored: bool, device: torch.device) -> tuple[Draw, Tensor]:
    draw = Draw(np.arange(start, stop), np.full(stop - start, mirrored))
    return draw, faces_of(low, draw, device)


@contextmanager
def _new_file(
    path: Path, shapes: dict[str, tuple[int, ...]], about: dict[str, Any]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield arrays that are a safetensors file's own bytes, so that memory never holds them all; whole or not at all.

    The format: the header's length in 8 bytes, the header as JSON, then the tensors one after the other.
    """
    header: dict[str, Any] = {"__metadata__": {FORMAT: json.dumps(about)}}
    end = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape)) * (1 if name == "output" else 2)
        kind = "U8" if name == "output" else "F16"
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # safetensors wants aligned data
    free = shutil.disk_usage(next(p for p in (path.parent, *path.parents) if p.exists())).free
    if end > free:
        raise OutputError(
            f"{path}: the teachers' lessons take {end / 1e9:.1f} GB, and {free / 1e9:.1f} are free; "
            "choose another place with --teacher-cache, or run the teachers at every step with --live-teacher"
        )
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + end)
        arrays = {
            name: np.memmap(
                temporary,
                np.uint8 if name == "output" else np.float16,
                "r+",
                8 + len(text) + header[name]["data_offsets"][0],
                shape,
            )
            for name, shape in shapes.items()
        }
        yield dict(arrays)
        for array in arrays.values():
            array.flush()
        arrays.clear()
