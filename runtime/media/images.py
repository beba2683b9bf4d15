"""Pictures from and to disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, OutputError
from ..files import atomic_path
from ..pixels import RgbImage, check_rgb

if TYPE_CHECKING:
    from PIL import Image as PillowImage

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def find_images(folder: Path) -> list[Path]:
    """Every picture below `folder`, sub-folders included, in a stable order; hidden files and folders are passed over.

    Raises:
        InputError: the folder is missing, is not a folder, or holds no picture.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: got {'a file' if folder.exists() else 'nothing there'}, expected a folder")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not _is_hidden(path.relative_to(folder)) and path.is_file()
    )
    if not found:
        raise InputError(f"{folder}: no picture in it; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return found


def read_image(path: Path) -> RgbImage:
    """Read a picture as uint8 (H, W, 3) RGB, turned upright as its EXIF orientation says.

    Raises:
        InputError: missing, not a picture, or damaged; a truncated file is an error, never half a picture.
    """
    from PIL import Image, ImageOps  # here: a video run needs neither

    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image) if image.getexif().get(0x0112, 1) != 1 else image
            return _rgb(upright)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture: {error}") from error


def write_image(path: Path, image: RgbImage) -> None:
    """Write uint8 (H, W, 3) RGB in the format that the suffix names, whole or not at all.

    Raises:
        OutputError: the suffix is not one of `SUFFIXES`, or the file cannot be written.
    """
    from PIL import Image

    check_rgb(image)
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: got suffix {path.suffix!r}, expected one of {', '.join(sorted(SUFFIXES))}")
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)


def _is_hidden(inside: Path) -> bool:
    return any(part.startswith(".") for part in inside.parts)


def _rgb(image: PillowImage.Image) -> RgbImage:
    """Every mode of Pillow as uint8 (H, W, 3); transparency is dropped."""
    if image.mode == "RGB":
        return np.array(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = np.array(image).astype(np.uint16) >> 8  # Pillow would clip 16 bits to white
        return np.repeat(grey.astype(np.uint8)[..., np.newaxis], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(f"got 32-bit pixels (mode {image.mode}) of unknown range, expected 8 or 16 bits")
    if image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB would warn about transparent colours
    return np.array(image.convert("RGB"))
