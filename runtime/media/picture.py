"""A picture with everything its file said that the restored file must say again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..pixels import RgbImage, check_rgb

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Suffixes of pictures and the format, as Pillow calls it, that a file of that name is written in."""

SUFFIXES = frozenset(FORMATS)

UNREAD_SUFFIXES = frozenset(
    {".gif", ".apng", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".tga", ".ppm", ".pgm"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
)
"""Of pictures that are not read; a folder's are counted, so that nobody takes them for restored."""


@dataclass(frozen=True, eq=False)
class Picture:
    """The upright pixels of a file and what belongs to them; 16-bit files come with their upper 8 bits."""

    pixels: RgbImage
    """uint8 (H, W, 3) RGB; transparent pixels keep their colour."""
    alpha: NDArray[np.uint8] | None = None
    """uint8 (H, W), 255 is opaque; None where the file has no transparency."""
    grey: bool = False
    """The file holds no colour: the three channels are equal, and one is written."""
    exif: bytes | None = None
    """Starts with `Exif`, two zeros; its orientation is normal and it holds no thumbnail."""
    icc: bytes | None = None
    """Colour profile that `pixels`, or their grey, are to be seen through; None: sRGB."""
    dpi: tuple[float, float] | None = None
    """Dots an inch, across and down."""
    frames: int = 1
    """Pictures in the file; only the first of an animation or of several pages is read."""

    def __post_init__(self) -> None:
        check_rgb(self.pixels, "pixels")
        if self.alpha is None:
            return
        size = self.pixels.shape[:2]
        if self.alpha.dtype != np.uint8 or self.alpha.shape != size:
            got = f"{self.alpha.dtype} {self.alpha.shape}"
            raise TypeError(f"alpha: got {got}, expected uint8 {size}, the size of the pixels")
