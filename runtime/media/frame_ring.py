"""A few frames in memory that two processes share."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError
from ..pixels import RgbImage

SLOTS = 3
"""One being written, one being read, one between."""
_SHARED = Path("/dev/shm")  # noqa: S108  where Linux keeps shared memory: a file system, with a size of its own


@dataclass(frozen=True)
class RingPlan:
    """How another process finds a ring."""

    name: str
    size_wh: tuple[int, int]


class FrameRing:
    """`SLOTS` frames of one size; made by one process and found by another. To be closed by both.

    Raises:
        OutputError: there is no room for them.
    """

    def __init__(self, size_wh: tuple[int, int], name: str | None = None) -> None:
        width, height = size_wh
        self._is_mine, size = name is None, SLOTS * height * width * 3
        self._frames: NDArray[np.uint8] | None = None
        self._memory = SharedMemory(name, create=self._is_mine, size=size)
        if self._is_mine and (why := _lack_of_room(self._memory)):
            self.close()
            raise OutputError(
                f"no room in shared memory for {SLOTS} frames of {width} x {height}, {size / 1e6:.0f} MB: {why}; give "
                "a container more, as docker run --shm-size 256m does, or take a smaller picture"
            )
        shape = (SLOTS, height, width, 3)
        self._frames = np.ndarray(shape, np.uint8, self._memory.buf)
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


def _lack_of_room(memory: SharedMemory) -> str | None:
    """Take the room now: else it is asked for page by page, and the one that is not there kills who writes to it."""
    if not hasattr(os, "posix_fallocate") or not (file := _SHARED / memory.name).exists():
        return None  # of macOS and Windows: it is as large as the memory
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, memory.size)
    except OSError as error:
        return error.strerror if error.errno in (errno.ENOSPC, errno.ENOMEM) else None
    finally:
        os.close(descriptor)
    return None


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
