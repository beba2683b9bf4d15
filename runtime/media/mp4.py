"""Whether an MP4 or MOV file is all there: FFmpeg reads one whose table was cut off, without the sound, and is silent.

Source of the layout: ISO 14496-12, section 4.2.
"""

from __future__ import annotations

from pathlib import Path

_TO_THE_END, _LONG = 0, 1
"""Sizes that mean something else."""


def is_cut_off(path: Path) -> bool:
    """Whether the file ends inside one of its boxes; one cut between two cannot be told from a whole one.

    What is behind the last box and is none, as some programs leave it there, ends the walk.
    """
    whole, position = path.stat().st_size, 0
    with path.open("rb") as file:
        while position < whole:
            file.seek(position)
            head = file.read(16)
            if len(head) < 8 or not (head[4:8].isascii() and head[4:8].decode("ascii").isprintable()):
                return False
            size = int.from_bytes(head[:4], "big")
            if size == _TO_THE_END:
                return False
            size = int.from_bytes(head[8:], "big") if size == _LONG else size
            if size < 8:
                return False
            position += size
    return position > whole
