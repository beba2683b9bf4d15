"""A USB camera by its number, through OpenCV."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from ..errors import InputError
from ..pixels import RgbImage, rgb_from_bgr
from ..quiet import quiet_opencv
from .source import Source, VideoFrame, timed_by_clock

DEVICES = Path("/dev")
TIME_BASE = Fraction(1, 90_000)
USUAL_RATE = Fraction(30)


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def isOpened(self) -> bool: ...
    def read(self) -> tuple[bool, Any]: ...
    def get(self, propId: int, /) -> float: ...
    def set(self, propId: int, value: float, /) -> bool: ...
    def release(self) -> None: ...


class Camera(Source):
    """Frames of camera `index` as they come, timed by the clock, until it is closed or stops.

    open_capture, clock: stand-ins for OpenCV and `time.monotonic`. size_wh, rate: asked for; the camera takes the
    nearest that it knows.

    Raises:
        InputError: no such camera, no permission, or no frame comes. A camera that stops later ends the frames, which
            is raised when the camera is left.
    """

    live = True

    def __init__(
        self,
        index: int,
        open_capture: Callable[[int], Capture] = cv2.VideoCapture,
        clock: Callable[[], float] = time.monotonic,
        *,
        size_wh: tuple[int, int] | None = None,
        rate: Fraction | None = None,
    ) -> None:
        self.index = index
        self._clock = clock
        with quiet_opencv():
            self._capture = open_capture(index)
        self._ask(size_wh, rate)
        first = self._read() if self._capture.isOpened() else None
        if first is None:
            is_open = self._capture.isOpened()
            self.close()
            raise InputError(
                f"camera {index}: {'delivers no frame' if is_open else 'cannot be opened'}; {advice(index)}"
            )
        self._first = first
        self.size_wh = (first.shape[1], first.shape[0])
        told = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = Fraction(told).limit_denominator(1001) if 1 <= told <= 1000 else USUAL_RATE

    def __iter__(self) -> Iterator[VideoFrame]:
        start = self._clock()
        yield from timed_by_clock(self._first, self._read, self._clock, TIME_BASE)
        self.failure = InputError(
            f"camera {self.index}: stopped delivering frames after {self._clock() - start:.1f} s; check its cable"
        )

    def close(self) -> None:
        self._capture.release()

    def _ask(self, size_wh: tuple[int, int] | None, rate: Fraction | None) -> None:
        wishes: list[tuple[int, float]] = []
        if size_wh is not None:
            wishes += [(cv2.CAP_PROP_FRAME_WIDTH, size_wh[0]), (cv2.CAP_PROP_FRAME_HEIGHT, size_wh[1])]
        if rate is not None:
            wishes.append((cv2.CAP_PROP_FPS, float(rate)))
        for key, value in wishes:
            self._capture.set(key, value)

    def _read(self) -> RgbImage | None:
        with quiet_opencv():
            is_read, bgr = self._capture.read()
        return rgb_from_bgr(np.asarray(bgr, np.uint8)) if is_read else None


def advice(index: int) -> str:
    """What to try when camera `index` does not work, by what this machine shows."""
    if sys.platform != "linux":
        return "check that it is plugged in, used by no other program, and that this program may use cameras"
    found = sorted(DEVICES.glob("video[0-9]*"), key=lambda device: int(device.name.removeprefix("video")))
    if not found:
        return f"no {DEVICES}/video* is there: plug a camera in, or give a container its --device"
    wanted = DEVICES / f"video{index}"
    if wanted not in found:
        return f"found {', '.join(map(str, found))}: try --camera {found[0].name.removeprefix('video')}"
    if not _may_read(wanted):
        return f"{wanted} may not be read: sudo usermod -aG video $USER, then log in again"
    return f"{wanted} is there: close other programs that use it, or try another of {', '.join(map(str, found))}"


def _may_read(device: Path) -> bool:
    return os.access(device, os.R_OK | os.W_OK)
