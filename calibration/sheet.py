"""A contact sheet of a set, for people: its faces from dark to bright, and the detector's frames below."""

from __future__ import annotations

import cv2
import numpy as np

from ..runtime.geometry import resize
from ..runtime.pixels import RgbBatch, RgbImage
from ..runtime.tiles import tile

COLUMNS, SIDE = 24, 64
"""Faces in a row, and how large each is shown."""
ROWS = 20
"""Of faces at most; of larger sets every so-manieth is shown."""
FRAME_COLUMNS = 8


def make_sheet(faces: RgbBatch, frames: RgbBatch) -> RgbImage:
    """uint8 (H, 24 x 64, 3) of (N, s, s, 3) faces, enlarged without smoothing, and (M, h, w, 3) frames."""
    brightness = faces.mean((1, 2, 3))
    shown = np.argsort(brightness, kind="stable")
    every = np.linspace(0, len(shown) - 1, min(len(shown), COLUMNS * ROWS)).round().astype(int)
    above = tile(np.stack([_fitted(faces[index], SIDE) for index in shown[every]]), COLUMNS)
    below = tile(np.stack([_fitted(frame, COLUMNS * SIDE // FRAME_COLUMNS) for frame in frames]), FRAME_COLUMNS)
    return np.concatenate([above, below])


def _fitted(image: RgbImage, side: int) -> RgbImage:
    if max(image.shape[:2]) >= side:
        return resize(image, (side, side))
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)
