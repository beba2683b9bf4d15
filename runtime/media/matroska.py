"""Whether a Matroska or WebM file is all there: FFmpeg takes one that was cut off for one that ended.

Source of the layout: RFC 8794 (EBML), sections 4 to 6; RFC 9559 (Matroska), section 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_LONGEST_ID = 4
_UNKNOWN = -1
"""Length of what a recorder had not finished."""


def is_cut_off(path: Path) -> bool:
    """Whether the file ends inside one of its elements; one cut between two cannot be told from a whole one.

    Steps from element to element: from cluster to cluster, or from block to block of clusters whose length a recorder
    did not write. Damage ends the walk: the decoder finds it.
    """
    whole, position = path.stat().st_size, 0
    with path.open("rb") as file:
        while position < whole:
            file.seek(position)
            kind, length = _number(file, keep_marker=True), _number(file)
            start = file.tell()
            if kind is None or length is None:
                return start >= whole
            if length == _UNKNOWN:
                if kind not in (_SEGMENT, _CLUSTER):
                    return False
                position = start
            elif start + length > whole:
                return True
            else:
                position = start if kind == _SEGMENT else start + length
    return False


def _number(file: BinaryIO, *, keep_marker: bool = False) -> int | None:
    """A number of variable length; None where the file ends, or holds no such number."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    if keep_marker and length > _LONGEST_ID:
        return None
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        return None
    value = int.from_bytes(first + rest, "big")
    if keep_marker:
        return value
    value -= 1 << 7 * length
    return _UNKNOWN if value == (1 << 7 * length) - 1 else value
