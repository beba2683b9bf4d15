"""A picture file to a `Picture`: size check -> pixels -> upright -> RGB, grey and alpha apart."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import InputError
from ..pixels import RgbImage
from . import exif, jpeg
from .picture import Picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 89_000_000
"""A larger picture is refused before it is decoded; above this Pillow warns of an attack."""

_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, struct.error)
"""What Pillow raises on bytes that are not what their header says."""

_DESCRIPTIVE_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298)
"""Of a TIFF: description, make, model, software, time, artist, computer, copyright. The others say how it is stored."""
_TAG_FOLDERS = (0x8769, 0x8825)
"""Exposure and the like; place."""


def read_picture(path: Path | str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a JPEG, PNG, WebP, BMP or TIFF, told apart by content, whatever the suffix says.

    Raises:
        InputError: missing, none of these, damaged, or larger than `max_pixels`; a truncated file is an error,
            never half a picture.
    """
    from PIL.Image import DecompressionBombError
    from PIL.ImageCms import PyCMSError

    try:
        with Path(path).open("rb") as file, _open(file) as image:
            _check_size(image, max_pixels)
            return _picture(image, file)
    except (*_DAMAGED, DecompressionBombError, PyCMSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read as a picture: {reason}") from error


def _open(file: BinaryIO) -> ImageFile:
    """Read the header. `PIL.Image.open` would warn about large pictures, which are refused here by their size."""
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    openers = {
        b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
        b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
        b"RIFF": WebPImagePlugin.WebPImageFile,
        b"BM": BmpImagePlugin.BmpImageFile,
        b"II": TiffImagePlugin.TiffImageFile,
        b"MM": TiffImagePlugin.TiffImageFile,
    }
    start = file.read(8)
    file.seek(0)
    for signature, opener in openers.items():
        if start.startswith(signature):
            return opener(file)
    raise ValueError(f"it {'is empty' if not start else 'is no JPEG, PNG, WebP, BMP or TIFF'}")


def _check_size(image: ImageFile, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        got = f"{width}x{height} = {width * height / 1e6:.0f} megapixels"
        raise ValueError(f"got {got}, expected at most {max_pixels / 1e6:.0f}; shrink or cut it first")


def _picture(image: ImageFile, file: BinaryIO) -> Picture:
    if (jpeg_pixels := _plain_jpeg(image, file)) is None:
        image.load()  # first: a PNG may say behind its pixels what follows
    orientation, exif_bytes = _orientation_and_exif(image)
    dpi, frames, icc = _dpi(image), getattr(image, "n_frames", 1), image.info.get("icc_profile")
    if jpeg_pixels is not None:
        return Picture(exif.turned(jpeg_pixels, orientation), None, False, exif_bytes, icc, dpi, frames)
    plain = _eight_bit(image)
    if plain.mode == "CMYK":
        plain, icc = _rgb_from_cmyk(plain, icc), None
    elif image.mode == "LAB":  # `_eight_bit` made sRGB of it
        icc = None
    colours, alpha = _without_alpha(plain)
    grey = colours.mode in ("1", "L")
    if colours.mode != "RGB":  # convert would copy
        colours = colours.convert("RGB")
    pixels = exif.turned(np.array(colours), orientation)
    alpha = None if alpha is None else exif.turned(alpha, orientation)
    return Picture(pixels, alpha, grey, exif_bytes, icc, dpi, frames)


def _plain_jpeg(image: ImageFile, file: BinaryIO) -> RgbImage | None:
    if image.format != "JPEG" or image.mode != "RGB":
        return None
    here = file.tell()
    file.seek(0)
    pixels = jpeg.decoded(file.read())
    file.seek(here)  # where Pillow goes on
    return pixels if pixels is not None and pixels.shape[1::-1] == image.size else None


def _orientation_and_exif(image: ImageFile) -> tuple[int, bytes | None]:
    if image.format == "TIFF":  # Pillow turns it upright
        return exif.UPRIGHT, _exif_of_tiff(image)
    if (stored := image.info.get("exif")) is None:
        return exif.UPRIGHT, None
    return exif.orientation(stored), exif.upright(stored)


def _exif_of_tiff(image: ImageFile) -> bytes | None:
    from PIL.Image import Exif

    stored, kept = image.getexif(), Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in stored:
            kept[tag] = stored[tag]
    for tag in _TAG_FOLDERS:
        if folder := stored.get_ifd(tag):
            kept[tag] = folder
    return kept.tobytes() if len(kept) else None


def _dpi(image: ImageFile) -> tuple[float, float] | None:
    across, down = (float(value) for value in image.info.get("dpi", (0, 0)))
    is_known = all(math.isfinite(value) and value > 1 for value in (across, down))  # 1: a TIFF that says none
    return (across, down) if is_known else None


def _eight_bit(image: Image) -> Image:
    """Every mode of Pillow to one of 8 bits a channel, without a palette."""
    from PIL.Image import fromarray

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return fromarray((np.array(image).astype(np.uint16) >> 8).astype(np.uint8))  # Pillow would clip to white
    if image.mode in ("I", "F"):
        raise ValueError(f"got 32-bit pixels (mode {image.mode}) of unknown range, expected 8 or 16 bits")
    if "transparency" in image.info or image.mode in ("PA", "RGBa"):
        return image.convert("RGBA" if image.mode not in ("1", "L") else "LA")
    return image.convert("RGB") if image.mode in ("P", "YCbCr", "LAB", "HSV") else image


def _without_alpha(image: Image) -> tuple[Image, np.ndarray | None]:
    if image.mode not in ("LA", "RGBA"):
        return image, None
    *_, alpha = image.split()
    return image.convert(image.mode[:-1]), np.array(alpha)


def _rgb_from_cmyk(image: Image, icc: bytes | None) -> Image:
    """Through the profile of the press to sRGB; without one by subtraction."""
    if icc is None:
        return image.convert("RGB")
    import io

    from PIL import ImageCms

    press = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    converted = ImageCms.profileToProfile(image, press, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if converted is None:
        raise ValueError("its CMYK profile converts nothing")
    return converted
