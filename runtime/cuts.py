"""Where one shot ends and the next begins."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .pixels import RgbImage

THUMBNAIL_WH = (32, 18)
STEP = 8
"""Only every eighth pixel of a frame is looked at: a thumbnail of 720p costs .1 ms."""
CUT_DIFFERENCE = 10.0
"""Grey levels by which two thumbnails differ, on average, at a cut."""
CUT_RATIO = 4.0
"""Multiple of the difference between the two frames before: fast motion and flashes of a disco are no cuts."""


class CutDetector:
    """`is_cut(frame)` for frames in order: whether a shot begins with it; the first frame begins one."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._difference = 0.0

    def __call__(self, frame: RgbImage) -> bool:
        now, before = thumbnail(frame), self._before
        self._before = now
        if before is None or before.shape != now.shape:
            self._difference = 0.0
            return True
        usual, self._difference = self._difference, float(np.abs(now - before).mean())
        return self._difference > max(CUT_DIFFERENCE, CUT_RATIO * usual)


def thumbnail(frame: RgbImage) -> NDArray[np.float32]:
    """float32 (18, 32, 3), its mean brightness taken off: lamps and automatic exposure are no cuts."""
    small = cv2.resize(np.ascontiguousarray(frame[::STEP, ::STEP]), THUMBNAIL_WH, interpolation=cv2.INTER_AREA)
    small = small.astype(np.float32)
    return np.asarray(small - small.mean(), np.float32)
