"""results.jsonl: what became of every picture or frame, a line each, and what a later run can skip.

The first line is a header, `{"run": {...}}`. A line is written once the files it speaks of are in place and is on
the disk before the next begins, so that after a kill at any moment every whole line is true; only the last may be torn.
Frames are recorded as they go into a video; once that is in place a last line says so, `{"end": {...}}`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Self

from ..align import RESTORED
from ..detect import Face
from ..errors import InputError, OutputError, UsageError
from ..files import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..pipeline import RestoredFace

Record = dict[str, Any]

PIXELS = "pixels"
"""Key of the header under which lies what shapes the pixels, by option."""
END = "end"
"""Key of the line behind the frames of a video that has got its name."""


class Records:
    """A record file open for adding lines; a context manager."""

    def __init__(self, path: Path, run: Mapping[str, Any], kept: Sequence[Record] = (), *, sync: bool = True):
        """Start `path` anew with a header and the records `kept` from before, whole or not at all.

        run: JSON values. sync: wait for the disk after each line.

        Raises:
            OutputError: the file cannot be written.
        """
        write_text(path, "".join(_line(record) for record in [{"run": dict(run)}, *kept]))
        self.path = path
        self._sync = sync
        self._file = path.open("ab", buffering=0)

    def add(self, record: Record) -> None:
        """Append one line.

        Raises:
            OutputError: the disk is full or gone; the line may be torn, and `unfinished` drops it.
                Or somebody deleted or moved the file, which would still take lines that nobody finds.
        """
        line = _line(record).encode()
        try:
            if not self.path.exists():
                raise OSError("it was deleted or moved while the run was under way")
            while line:
                line = line[self._file.write(line) :]
            if self._sync:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def add_end(path: Path, end: Record) -> None:
    """Write behind the frames that their video is in place.

    Raises:
        OutputError: the disk is full or gone.
    """
    try:
        with path.open("r+b") as file:
            with mmap(file.fileno(), 0, access=ACCESS_READ) as lines:  # of hours: tens of megabytes
                end_of_last = lines.rfind(b"\n") + 1  # a full disk may have torn what follows
            file.truncate(end_of_last)
            file.seek(0, os.SEEK_END)
            file.write(_line({END: end}).encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _read(path: Path) -> tuple[Record, list[Record]]:
    if not path.exists():
        return {}, []
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")  # behind the last line's end lies a torn one, or nothing
        lines = [json.loads(line) for line in whole.splitlines()]
        return (lines[0]["run"], lines[1:]) if lines else ({}, [])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the record of a run ({error}); without --resume it is started anew") from error


def read_run(path: Path, run: Mapping[str, Any]) -> tuple[Record, list[Record], Record | None]:
    """Header and records of an earlier run with the options of `run`, and what `add_end` wrote.

    The last is None where that run is under way or was killed; ({}, [], None) where there is no file.

    Raises:
        UsageError: options that shape the pixels differ between that run and this.
        InputError: not a record file.
    """
    before, lines = _read(path)
    for option, value in run[PIXELS].items() if before else ():
        if (got := before.get(PIXELS, {}).get(option)) != value:
            raise UsageError(
                f"--resume: {path} was begun with {option} {got}, this run has {value}; "
                "give the same options, another --output, or leave --resume out to start anew"
            )
    return before, [line for line in lines if END not in line], lines[-1].get(END) if lines else None


def resumable(path: Path, run: Mapping[str, Any], is_done: Callable[[Record], bool]) -> list[Record]:
    """The records of an earlier run for which `is_done` says that nothing is left to do; errors as of `read_run`."""
    return [record for record in read_run(path, run)[1] if is_done(record)]


def face_record(face: RestoredFace, crop: str | None = None) -> Record:
    """One face as JSON: pixels of the source with two decimals, pixel centres at integers."""
    shown = float(face.opacity) if face.decision == RESTORED else 0.0  # of a face that is left nothing is shown
    tracked = {} if face.track is None else {"track": face.track, "opacity": round(shown, 3)}
    return {
        **tracked,
        "box_xyxy": _rounded(face.face.box_xyxy),
        "landmarks": _rounded(face.face.landmarks),
        "score": round(float(face.face.score), 4),
        "native_size": round(float(face.native_size), 2),
        "decision": face.decision,
        "model": face.model,
        "crop": crop,
    }


def recorded_face(record: Record) -> Face:
    """Of a `face_record`, as exact as that is."""
    box, landmarks = (np.array(record[key], np.float32) for key in ("box_xyxy", "landmarks"))
    return Face(box, landmarks, record["score"])


def rounded_milliseconds(milliseconds: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(float(value), 3) for stage, value in milliseconds.items()}


def _rounded(array: NDArray[Any]) -> list[Any]:
    return array.astype(float).round(2).tolist()


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"  # ASCII: a name that is not UTF-8 survives as an escape
