"""How a file is laid out so that it plays however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.packet import Packet

_LIKE_MP4 = frozenset({".mp4", ".m4v", ".mov", ".3gp"})
_FRAGMENT = "1000000"  # microseconds


def plays_however_it_ends(final: Path) -> bool:
    """Whether a file of that name can be laid out so."""
    return bool(container_options(final))


def container_options(final: Path) -> dict[str, str]:
    """For FFmpeg's muxer. Each second is written whole as it is done, so that a full disk, a kill or a
    crash costs the last one and not the file; when it is finished an MP4 becomes an ordinary one.
    """
    if final.suffix.lower() == ".mkv":
        return {"flush_packets": "1", "cluster_time_limit": "1000"}
    if final.suffix.lower() not in _LIKE_MP4:
        return {}
    # delay_moov: else what begins late, or with frames that wait for later ones, begins at a wrong time.
    return {"movflags": "+hybrid_fragmented+delay_moov", "frag_duration": _FRAGMENT, "flush_packets": "1"}


def count_frames(path: Path) -> int:
    """Of the pictures of a file that was not finished: those that are whole; 0 where it does not play."""
    return sum(1 for _ in whole_packets(path))


def whole_packets(path: Path) -> Iterator[Packet]:
    """The pictures of a file, finished or not, up to the first that is not whole; none where it does not play.

    None is decoded, for it may last hours.
    """
    import av
    from av.error import FFmpegError

    with suppress(FFmpegError, OSError, IndexError, ValueError), av.open(str(path.absolute())) as container:
        for packet in container.demux(video=0):
            if packet.is_corrupt:
                return
            if packet.size:
                yield packet
