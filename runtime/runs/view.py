"""What a window shows of a result: restored or side by side, the faces as a strip, figures, and the keys."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..pixels import RgbImage
from ..preview.faces import face_strip
from .compare import FONT
from .frame_work import FrameResult, FrameWork
from .stats import StatsSnapshot

KEYS = {
    "c": "side by side with plain enlargement",
    "f": "faces, before above after",
    "i": "figures",
    "h": "this help",
    "q, Esc": "end",
}
_BAR = 28


class View:
    """Draws results; keys turn its parts on and off."""

    def __init__(self, work: FrameWork, figures: Callable[[], StatsSnapshot], *, compare: bool = False) -> None:
        self._work, self._figures = work, figures
        self._shown = {"c": compare, "f": False, "i": True, "h": False}
        self._strip_height = 0

    def press(self, key: str) -> None:
        """Take a key; unknown ones show the help."""
        if key in self._shown:
            self._shown[key] = not self._shown[key]
        else:
            self._shown["h"] = True

    def draw(self, result: FrameResult) -> RgbImage:
        """uint8 (H, W, 3) RGB, as wide as the picture or two of it."""
        image = self._work.compared(result) if self._shown["c"] else result.restored.image.copy()
        if self._shown["i"]:
            _write(image, [self._figures().sentence()], at_bottom=True)
        if self._shown["h"]:
            _write(image, [f"{key}: {what}" for key, what in KEYS.items()])
        return np.vstack([image, self._strip(result, image.shape[1])]) if self._shown["f"] else image

    def _strip(self, result: FrameResult, width: int) -> RgbImage:
        """As wide as the picture, and once seen always as high, so that the window does not jump."""
        _, tiles = face_strip(result)
        if tiles is not None:
            self._strip_height = max(self._strip_height, tiles.shape[0])
        strip = np.zeros((self._strip_height or _BAR, width, 3), np.uint8)
        if tiles is not None:
            seen = tiles[:, :width]
            strip[: seen.shape[0], : seen.shape[1]] = seen
        return strip


def _write(image: RgbImage, lines: list[str], *, at_bottom: bool = False) -> None:
    """White on a darkened bar, in place, as large as fits the width."""
    height, width = image.shape[:2]
    size = max(0.3, min(1.0, width / 1600))
    step = int(_BAR * size) + 4
    top = max(0, height - step * len(lines)) if at_bottom else 0
    image[top : top + step * len(lines)] //= 3
    for number, line in enumerate(lines):
        cv2.putText(image, line, (8, top + step * number + int(0.75 * step)), FONT, 0.6 * size + 0.1, (255,) * 3, 1, 16)
