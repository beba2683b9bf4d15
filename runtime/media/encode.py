"""A `Picture` to a file, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OutputError
from ..files import atomic_path
from . import jpeg
from .picture import FORMATS, SUFFIXES, Picture

if TYPE_CHECKING:
    from PIL.Image import Image

_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
_HOLDS_ALPHA = frozenset({"PNG", "WEBP", "TIFF"})
_HOLDS_PROFILE = frozenset({"JPEG", "PNG", "WEBP", "TIFF"})

_RUN_LENGTH = 3  # zlib's Z_RLE: as small as the usual level 6 on photographs, in a fifth of the time


def write_picture(path: Path, picture: Picture, quality: int = 95) -> None:
    """Write in the format that the suffix names, with the EXIF, profile and dots an inch that it can hold.

    Transparency is left out where the format has none (JPEG, BMP). quality: 1 to 100, of JPEG and WebP.

    Raises:
        OutputError: the suffix is not one of `SUFFIXES`, the format cannot hold a picture of this size, or the file
            cannot be written.
    """
    if (kind := FORMATS.get(path.suffix.lower())) is None:
        raise OutputError(f"{path}: got suffix {path.suffix!r}, expected one of {', '.join(sorted(SUFFIXES))}")
    _check_size(path, picture, kind)
    with atomic_path(path) as temporary:
        try:
            if kind == "JPEG" and not picture.grey:
                temporary.write_bytes(
                    jpeg.encoded(picture.pixels, quality, exif=picture.exif, icc=picture.icc, dpi=picture.dpi)
                )
            else:
                _image(picture, kind).save(temporary, kind, **_options(picture, kind, quality))
        except ValueError as error:
            raise OutputError(f"{path}: cannot be written as {kind}: {error}") from error


def _check_size(path: Path, picture: Picture, kind: str) -> None:
    height, width = picture.pixels.shape[:2]
    longest = _LONGEST_SIDE.get(kind, max(height, width))
    if max(height, width) > longest:
        raise OutputError(
            f"{path}: got {width}x{height}, expected sides of at most {longest}, all that {kind} can hold; "
            "lower --scale or convert the picture to PNG"
        )


def _image(picture: Picture, kind: str) -> Image:
    from PIL.Image import fromarray

    image = fromarray(picture.pixels)
    if picture.grey:
        image = image.convert("L")
    if picture.alpha is not None and kind in _HOLDS_ALPHA:
        image.putalpha(fromarray(np.ascontiguousarray(picture.alpha)))
    return image


def _options(picture: Picture, kind: str, quality: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "JPEG": {"quality": quality},
        "PNG": {"compress_level": 1, "compress_type": _RUN_LENGTH},
        # Method 4, the usual one, takes twice the time and saves nothing at this quality.
        "WEBP": {"quality": quality, "method": 2, "exact": picture.alpha is not None},
    }.get(kind, {})
    if picture.dpi is not None and kind != "WEBP":
        options["dpi"] = picture.dpi
    if kind in _HOLDS_PROFILE:
        known = {"exif": picture.exif, "icc_profile": picture.icc}
        options |= {name: value for name, value in known.items() if value is not None}
    return options
