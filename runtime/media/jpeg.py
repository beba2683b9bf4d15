"""Plain colour JPEG through OpenCV: the same pixels and bytes as Pillow's, without its copies.

Source of the layout: JFIF 1.02; EXIF 2.3 (CIPA DC-008), 4.5.4; ICC.1:2010, annex B.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import cv2
import numpy as np

from ..pixels import RgbImage, bgr_from_rgb, rgb_from_bgr

_RGB: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)
"""From OpenCV 4.11 on; saves a copy."""

_END = b"\xff\xd9"
_APP1, _APP2 = 0xE1, 0xE2
_JFIF_END = 20
"""Where the first segments end: the start of the picture and the JFIF header, without a thumbnail."""
_JFIF_DENSITY = 13
_DOTS_AN_INCH = 1
_PROFILE = b"ICC_PROFILE\0"
_LONGEST_SEGMENT, _LONGEST_PROFILE_PART = 65533, 65519


def decoded(data: bytes) -> RgbImage | None:
    """uint8 (H, W, 3) RGB as stored, not turned; None for what Pillow must judge: data without an end, or damaged."""
    if not data.endswith(_END):  # OpenCV's versions differ in what they make of a truncated file
        return None
    made = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_IGNORE_ORIENTATION | (_RGB or cv2.IMREAD_COLOR))
    if made is None:
        return None
    pixels = np.asarray(made, np.uint8)
    return pixels if _RGB else rgb_from_bgr(pixels)


def encoded(
    pixels: RgbImage, quality: int, *, exif: bytes | None, icc: bytes | None, dpi: tuple[float, float] | None
) -> bytes:
    """A JPEG file, colours at half the resolution.

    Raises:
        ValueError: more EXIF than JPEG can hold.
    """
    _, made = cv2.imencode(".jpg", bgr_from_rgb(pixels), (cv2.IMWRITE_JPEG_QUALITY, quality))
    plain = made.tobytes()
    start, rest = bytearray(plain[:_JFIF_END]), plain[_JFIF_END:]
    if dpi is not None:
        struct.pack_into(">BHH", start, _JFIF_DENSITY, _DOTS_AN_INCH, *(round(dots) for dots in dpi))
    return b"".join((start, *_segments(exif, icc), rest))


def _segments(exif: bytes | None, icc: bytes | None) -> Iterator[bytes]:
    if exif is not None:
        yield _segment(_APP1, exif)
    parts = [icc[i : i + _LONGEST_PROFILE_PART] for i in range(0, len(icc), _LONGEST_PROFILE_PART)] if icc else []
    for number, part in enumerate(parts, 1):
        yield _segment(_APP2, _PROFILE + bytes((number, len(parts))) + part)


def _segment(marker: int, content: bytes) -> bytes:
    if len(content) > _LONGEST_SEGMENT:
        raise ValueError(f"got {len(content)} bytes of EXIF, expected at most {_LONGEST_SEGMENT}")
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
