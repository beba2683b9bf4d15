"""Pictures from and to disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import atomic_path
from ..pixels import RgbImage, check_rgb

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def find_images(folder: Path) -> list[Path]:
    """Every picture below `folder`, sub-folders included, in a stable order; hidden names are passed over.

    Raises:
        InputError: the folder is missing, is not a folder, or holds no picture.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: got {'a file' if folder.exists() else 'nothing there'}, expected a folder")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
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
            return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture: {error}") from error


def write_image(path: Path, image: RgbImage) -> None:
    """Write uint8 (H, W, 3) RGB in the format that the suffix names, whole or not at all."""
    from PIL import Image

    check_rgb(image)
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)
