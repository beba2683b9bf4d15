"""EXIF as the bytes a file holds: what a turned picture must change is changed in place, all else stays.

Taking the tags apart and writing them anew would lose maker notes, which point at places in the file.
Source of the layout: TIFF 6.0, section 2; EXIF 2.3 (CIPA DC-008), 4.6.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

HEADER = b"Exif\0\0"
ORIENTATION = 0x0112
UPRIGHT = 1

_SHORT = 3
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
"""By orientation, after the transposition of those from 5 on, of `cv2.flip`: 0 flips rows, 1 columns, -1 both."""
_ENTRY = 12  # bytes: tag, type, count, value


def orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, that EXIF with or without its header says; 1 where it says none that can be read."""
    tiff = _tiff(exif)
    try:
        found = _orientation_field(tiff)
    except (struct.error, KeyError):
        return UPRIGHT
    if found is None:
        return UPRIGHT
    value = struct.unpack_from(_order(tiff) + "H", tiff, found)[0]
    return value if 1 <= value <= 8 else UPRIGHT


def upright(exif: bytes) -> bytes | None:
    """The same EXIF with its header, for pixels that were turned upright: orientation 1 and no thumbnail.

    The thumbnail would show the picture as it was. None if it is damaged.
    """
    tiff = bytearray(_tiff(exif))
    try:
        order = _order(tiff)
        if (field := _orientation_field(tiff)) is not None:
            struct.pack_into(order + "H", tiff, field, UPRIGHT)
        first, count = _directory(tiff)
        struct.pack_into(order + "I", tiff, first + count * _ENTRY, 0)  # offset of the thumbnail's directory
    except (struct.error, KeyError):
        return None
    return HEADER + bytes(tiff)


def turned(stored: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3) as stored to how it is to be seen, contiguous; sides change places from 5 on."""
    if orientation >= 5:
        stored = np.asarray(cv2.transpose(stored), np.uint8)
    if (flip := _FLIPS.get(orientation)) is not None:
        stored = np.asarray(cv2.flip(stored, flip), np.uint8)
    return stored


def _tiff(exif: bytes) -> bytes:
    return exif.removeprefix(HEADER)


def _order(tiff: bytes | bytearray) -> str:
    return _BYTE_ORDERS[bytes(tiff[:4])]


def _directory(tiff: bytes | bytearray) -> tuple[int, int]:
    """Where the first directory's entries start, and how many there are."""
    order = _order(tiff)
    offset = struct.unpack_from(order + "I", tiff, 4)[0]
    return offset + 2, struct.unpack_from(order + "H", tiff, offset)[0]


def _orientation_field(tiff: bytes | bytearray) -> int | None:
    first, count = _directory(tiff)
    for entry in range(first, first + count * _ENTRY, _ENTRY):
        if struct.unpack_from(_order(tiff) + "HH", tiff, entry) == (ORIENTATION, _SHORT):
            return entry + 8
    return None
