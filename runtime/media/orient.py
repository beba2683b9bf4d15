"""The quarter turns and flips that a video's display matrix asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..pixels import RgbImage

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

UPRIGHT = ((1, 0), (0, 1))


def display_matrix(frame: VideoFrame) -> NDArray[np.int_]:
    """(2, 2) of -1, 0 and 1: shown (x, y) = stored (x, y) times it. Angles between quarter turns become the nearest.

    Source of the layout: libavutil/display.h.
    """
    if (stored := frame.side_data.get("DISPLAYMATRIX")) is None:
        return np.array(UPRIGHT)
    matrix = np.frombuffer(bytes(stored), np.int32).reshape(3, 3)[:2, :2].astype(np.int64)
    along = np.abs(matrix).argmax(axis=1)
    if along[0] == along[1]:  # damaged: both axes of the picture on one of the screen
        return np.array(UPRIGHT)
    nearest = np.zeros((2, 2), int)
    nearest[[0, 1], along] = np.sign(matrix[[0, 1], along])
    return nearest


def turned(pixels: RgbImage, matrix: NDArray[np.int_]) -> RgbImage:
    """(H, W, 3) as stored to (H, W, 3) or (W, H, 3) as shown, contiguous."""
    if matrix[0, 0] == 0:  # stored x is shown along y
        pixels = pixels.swapaxes(0, 1)
    flips = matrix.sum(axis=0)  # of shown x, of shown y
    return np.ascontiguousarray(pixels[:: flips[1], :: flips[0]])
