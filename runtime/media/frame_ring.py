"""A few frames in memory that two processes share."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory

import cv2
import numpy as np
from numpy.typing import NDArray

from ..pixels import RgbImage

SLOTS = 3
"""One being written, one being read, one between."""


@dataclass(frozen=True)
class RingPlan:
    """How another process finds a ring."""

    name: str
    size_wh: tuple[int, int]


class FrameRing:
    """`SLOTS` frames of one size; made by one process and found by another. To be closed by both."""

    def __init__(self, size_wh: tuple[int, int], name: str | None = None) -> None:
        width, height = size_wh
        self._is_mine = name is None
        self._memory = SharedMemory(name, create=self._is_mine, size=SLOTS * height * width * 3)
        shape = (SLOTS, height, width, 3)
        self._frames: NDArray[np.uint8] | None = np.ndarray(shape, np.uint8, self._memory.buf)
        self.plan = RingPlan(self._memory.name, size_wh)

    @classmethod
    def find(cls, plan: RingPlan) -> FrameRing:
        return cls(plan.size_wh, plan.name)

    def put(self, slot: int, pixels: RgbImage) -> None:
        """Write a frame of any size; see `fitted`."""
        assert self._frames is not None
        self._frames[slot] = fitted(pixels, self.plan.size_wh)

    def get(self, slot: int) -> RgbImage:
        """A copy."""
        assert self._frames is not None
        return self._frames[slot].copy()

    def close(self) -> None:
        self._frames = None  # memory that is looked at cannot be closed
        self._memory.close()
        if self._is_mine:
            self._memory.unlink()
            self._is_mine = False


def fitted(pixels: RgbImage, size_wh: tuple[int, int]) -> RgbImage:
    """The picture in one of `size_wh`: as it is, or as large as fits, in the middle of black."""
    height, width = pixels.shape[:2]
    if (width, height) == size_wh:
        return pixels
    share = min(size_wh[0] / width, size_wh[1] / height)
    inner = max(1, round(share * width)), max(1, round(share * height))
    kernel = cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC
    left, top = (size_wh[0] - inner[0]) // 2, (size_wh[1] - inner[1]) // 2
    canvas = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(pixels, inner, interpolation=kernel)
    return canvas
