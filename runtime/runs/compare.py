"""Two pictures side by side under their names, for the eye."""

from __future__ import annotations

import cv2
import numpy as np

from ..pixels import RgbImage, check_rgb

FONT = cv2.FONT_HERSHEY_SIMPLEX


def side_by_side(left: RgbImage, right: RgbImage, names: tuple[str, str] = ("bicubic", "restored")) -> RgbImage:
    """Both of uint8 (H, W, 3) RGB -> (bar + H, 2 W, 3): a bar with the names, as high as `bar_height` says, above them.

    Raises:
        ValueError: the pictures differ in size.
    """
    if check_rgb(left, "left").shape != check_rgb(right, "right").shape:
        raise ValueError(f"got pictures of {left.shape} and {right.shape}, expected the same size")
    bar = np.hstack([_label(name, left.shape[1], bar_height(left.shape[0])) for name in names])
    return np.vstack([bar, np.hstack([left, right])])


def bar_height(height: int) -> int:
    """Of the bar above pictures that are `height` pixels high: even, as video needs it."""
    return max(16, height // 36 * 2)


def _label(name: str, width: int, height: int) -> RgbImage:
    """White text on black, no larger than fits."""
    label = np.zeros((height, width, 3), np.uint8)
    (text_width, text_height), _ = cv2.getTextSize(name, FONT, 1.0, 1)
    size = min(0.5 * height / text_height, 0.9 * width / text_width)
    corner = (int(0.05 * width), int((height + size * text_height) / 2))
    cv2.putText(label, name, corner, FONT, size, (255, 255, 255), 1, cv2.LINE_AA)
    return label
