"""What an earlier run left of a video, so that `--resume` goes on where it was stopped or killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..detect import Face
from ..files import set_aside, temporaries_of
from ..media.salvage import Salvage, salvaged
from ..track import Known
from .records import Record, read_end, recorded_face, resumable

WARM_UP = 1.0
"""Seconds before the first frame to be restored in which its faces are followed again: numbers, fades and averages go
on from there."""


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
        UsageError: the earlier run had other options, or another input.
        InputError: not a record file.
    """
    records, end = resumable(records_path, run, lambda _: True), read_end(records_path)
    if end and end["whole"] and all(final.is_file() for final in finals):
        return Earlier(records, end=end)
    kept: dict[Path, Salvage] = {}
    for final in finals:  # what bears the name already is of this run only where it says so
        unfinished = [*temporaries_of(final), *([final] if end and end["failed"] else [])]
        if salvage := salvaged(unfinished, final if end and not end["failed"] else None):
            own = salvage.path == final
            kept[final] = salvage if own else replace(salvage, path=set_aside(salvage.path, final))
    frames = min(len(records), *(salvage.frames for salvage in kept.values())) if len(kept) == len(finals) else 0
    return Earlier(records[:frames], kept) if frames else Earlier()


def _faces(record: Record) -> dict[int, Face]:
    """By the number of their track."""
    return {face["track"]: recorded_face(face) for face in record.get("faces", []) if "track" in face}
