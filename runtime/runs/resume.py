"""What an earlier run left of a video, so that `--resume` goes on where it was stopped or killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from os.path import relpath
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..detect import Face
from ..errors import UsageError
from ..files import aside, is_being_written, maker_of, temporaries_of
from ..media.salvage import Salvage, salvaged
from ..track import Known
from .records import Record, read_run, recorded_face

WARM_UP = 1.0
"""Seconds before the first frame to be restored in which its faces are followed again: numbers, fades and averages go
on from there."""
NAMED = "named"
"""Key of the header under which lies, for each video, what bore its name when the run began: see `Earlier.named`."""


@dataclass(frozen=True)
class Earlier:
    """A run before this one; nothing is left of it by default."""

    records: Sequence[Record] = ()
    """Of the frames that are not restored again."""
    kept: Mapping[Path, Salvage] = field(default_factory=lambda: MappingProxyType({}))
    """By the name that a video is to have, an unfinished one that holds at least these frames."""
    end: Record | None = None
    """Where everything is done and in place."""

    @property
    def frames(self) -> int:
        return len(self.records)

    def named(self, finals: Sequence[Path], records_path: Path) -> dict[str, list[int]]:
        """For the header of the run that goes on: of what bears each name by now the bytes, and the frames to keep.

        None are kept of an older video. Whatever has another length later is the work of that run, killed or not.
        """
        kept = {salvage.path: salvage.frames for salvage in self.kept.values()}
        return {_name(final, records_path): [_bytes(final), kept.get(final, 0)] for final in finals}

    def skip(self, rate: Fraction) -> int:
        """How many frames of the source nothing is done with."""
        return max(0, self.frames - round(WARM_UP * rate))

    def known(self, skip: int) -> Known:
        """The faces of the frames from `skip` on."""
        numbers = (face.get("track", 0) for record in self.records for face in record.get("faces", []))
        return Known([_faces(record) for record in self.records[skip:]], 1 + max(numbers, default=0))


def earlier_run(records_path: Path, finals: Sequence[Path], run: Mapping[str, Any]) -> Earlier:
    """What there is of the run that recorded into `records_path` and makes the videos `finals`.

    run: header of the run that is to go on.

    Raises:
        UsageError: the earlier run had other options, or another input, or is still at work.
        InputError: not a record file.
    """
    before, records, end = read_run(records_path, run)
    if end and end["whole"] and all(final.is_file() for final in finals):
        return Earlier(records, end=end)
    named, kept = before.get(NAMED, {}), dict[Path, Salvage]()
    for final in finals:
        size, known = named.get(_name(final, records_path), (_bytes(final), 0))
        there, begun = _under_name(final, size, known, is_over=end is not None), salvaged(_left_of(final))
        if there and (begun is None or begun.frames <= there.frames):
            kept[final] = there
        elif begun:
            kept[final] = replace(begun, path=begun.path.replace(aside(final)))
    frames = min(len(records), *(salvage.frames for salvage in kept.values())) if len(kept) == len(finals) else 0
    return Earlier(records[:frames], kept) if frames else Earlier()


def _left_of(final: Path) -> list[Path]:
    """What runs that are over left unfinished."""
    left = list(temporaries_of(final))
    for temporary in left:
        if is_being_written(temporary):
            number = maker_of(temporary)
            raise UsageError(
                f"--resume: {final} is being made by process {number}; stop that or wait for its end; if another "
                f"program has that number by now, rename {temporary} to {aside(final).name} and resume"
            )
    return left


def _under_name(final: Path, size: int, frames: int, *, is_over: bool) -> Salvage | None:
    """What a run has put under the name `final`; else what it kept there, `frames` of a file of `size` bytes."""
    if _bytes(final) != size:
        return salvaged([], final) if is_over else salvaged([final])
    whole = salvaged([], final) if frames else None
    return whole and replace(whole, frames=min(frames, whole.frames))


def _name(final: Path, records_path: Path) -> str:
    """As seen from the records, so that all of it can be moved."""
    return Path(relpath(final, records_path.parent)).as_posix()


def _bytes(path: Path) -> int:
    """0 where nothing is there."""
    return path.stat().st_size if path.exists() else 0


def _faces(record: Record) -> dict[int, Face]:
    """By the number of their track."""
    return {face["track"]: recorded_face(face) for face in record.get("faces", []) if "track" in face}
