"""What a video that was begun holds that a later run can go on from.

Of one that was finished early these are all of its frames, of one that was not those before its last key frame. For
files are written from front to back, so that all before a packet that is there is whole; and whatever comes after a key
frame is shown after it, so that the frames before it are the first ones, without a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .fragments import count_frames, plays_however_it_ends, whole_packets

if TYPE_CHECKING:
    from av.packet import Packet

_START_CODES = "h264_mp4toannexb"
"""Encoders give packets with start codes, files keep them with lengths (ISO 14496-15, 5.3)."""
_BARE = f"{_START_CODES},filter_units=remove_types=7-8"
"""And without the parameter sets (ITU-T H.264, 7.4.1), which files keep once."""
_WAITING = 16
"""Frames of H.264 that may wait for a later one (ITU-T H.264, A.3.1)."""


@dataclass(frozen=True)
class Salvage:
    """The first frames of a video."""

    path: Path
    frames: int
    """More than 0."""


def salvaged(unfinished: Iterable[Path], finished: Path | None = None) -> Salvage | None:
    """The most that one of them holds; None where none of them is there and plays."""
    found = [Salvage(path, _before_last_key(path)) for path in unfinished if plays_however_it_ends(path)]
    if finished is not None and plays_however_it_ends(finished):
        found.append(Salvage(finished, count_frames(finished)))
    return max((each for each in found if each.frames), key=lambda each: each.frames, default=None)


def packets_of(salvage: Salvage, extradata: bytes, start: Fraction | None = None) -> Iterator[Packet]:
    """The packets of those frames, in the order of the file, as the encoder with that `extradata` would give them.

    start: seconds of the source's clock at which the first frame is shown, from which a format may have moved all of
        them: Matroska so that no sound begins before 0, MP4 to a full millisecond. None: they stay where they are.

    Raises:
        UsageError: they come from an encoder that was set otherwise, and one file cannot hold both.
    """
    from av.bitstream import BitStreamFilterContext

    bare, first, moved = None, 0, 0
    for number, packet in enumerate(islice(whole_packets(salvage.path), salvage.frames)):
        if bare is None:
            _require_same_encoder(packet, extradata, salvage.path)
            bare, first = BitStreamFilterContext(_BARE, packet.stream), packet.pts or 0
            moved = 0 if start is None else first - _ticks(start, packet)
        for each in bare.filter(packet):
            if each.dts is None:  # Matroska says nothing for the first few
                each.dts = first - _WAITING + number
            assert each.pts is not None
            each.pts, each.dts = each.pts - moved, each.dts - moved
            yield each


def _ticks(seconds: Fraction, packet: Packet) -> int:
    """Of the packet's clock, rounded as FFmpeg does: half up."""
    assert packet.time_base is not None
    return floor(seconds / packet.time_base + Fraction(1, 2))


def _before_last_key(path: Path) -> int:
    before = 0
    for count, packet in enumerate(whole_packets(path)):
        before = count if packet.is_keyframe else before
    return before


def _require_same_encoder(packet: Packet, extradata: bytes, path: Path) -> None:
    from av.bitstream import BitStreamFilterContext
    from av.packet import Packet

    copy = Packet(bytes(packet))
    copy.is_keyframe = True
    (whole,) = BitStreamFilterContext(_START_CODES, packet.stream).filter(copy)
    if not extradata or not _units(extradata) <= _units(bytes(whole)):
        raise UsageError(
            f"--resume: {path} was begun with another encoder than this machine has now; "
            "choose another --output, or leave --resume out to start anew"
        )


def _units(data: bytes) -> set[bytes]:
    """What lies between start codes."""
    return {unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]}
