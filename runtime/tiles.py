"""Square faces as tiles of one picture, and back: a parity set that a person can open and look at."""

from __future__ import annotations

import numpy as np

from .errors import BundleError
from .pixels import RgbBatch, RgbImage


def tile(faces: RgbBatch, columns: int = 8) -> RgbImage:
    """Lay (N, S, S, 3) out in rows of `columns`; the last row is filled up with black."""
    count, size = faces.shape[:2]
    rows = -(-count // columns)
    padded = np.zeros((rows * columns, size, size, 3), np.uint8)
    padded[:count] = faces
    grid = padded.reshape(rows, columns, size, size, 3).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(rows * size, columns * size, 3))


def untile(picture: RgbImage, count: int, columns: int = 8) -> RgbBatch:
    """Take the first `count` tiles out of what `tile` made.

    Raises:
        BundleError: the picture is not `columns` square tiles wide, or holds fewer tiles.
    """
    size, rest = divmod(picture.shape[1], columns) if columns > 0 else (0, 0)
    if rest or count < 0 or size == 0 or picture.shape[0] % size or picture.shape[0] // size * columns < count:
        raise BundleError(f"got a picture of {picture.shape}, expected {count} square tiles in rows of {columns}")
    rows = picture.shape[0] // size
    grid = picture.reshape(rows, size, columns, size, 3).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(rows * columns, size, size, 3)[:count])
