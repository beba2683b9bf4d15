"""The only place that changes colour order, layout or value range.

Inside the program a picture is `RgbImage`: uint8, (H, W, 3), RGB. BGR exists only around OpenCV calls;
floats in [0, 1] and NCHW exist only around networks.
"""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

RgbImage: TypeAlias = NDArray[np.uint8]
"""uint8, (H, W, 3), RGB."""

RgbBatch: TypeAlias = NDArray[np.uint8]
"""uint8, (N, H, W, 3), RGB."""

FloatBatch: TypeAlias = NDArray[np.float32]
"""float32, (N, 3, H, W), RGB in [0, 1]."""


def bgr_from_rgb(image: RgbImage) -> NDArray[np.uint8]:
    """Reverse the channels of uint8 (H, W, 3); contiguous, as OpenCV needs it. Its own inverse."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)  # a fiftieth of the time of a reversed copy


rgb_from_bgr = bgr_from_rgb


def to_float_nchw(batch: RgbBatch) -> FloatBatch:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in [0, 1]."""
    return np.divide(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)), 255, dtype=np.float32)


def to_uint8_nhwc(batch: FloatBatch) -> RgbBatch:
    """float (N, 3, H, W) in [0, 1] -> uint8 (N, H, W, 3), rounded half to even and clipped."""
    return np.ascontiguousarray(np.clip(np.rint(batch * 255), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))


def check_rgb(image: object, name: str = "image") -> RgbImage:
    """Return `image` if it is an `RgbImage` with at least one pixel.

    Raises:
        TypeError: not a uint8 array of shape (H, W, 3).
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"{name}: got {got}, expected uint8 (H, W, 3) in RGB order")
    if 0 in image.shape:
        raise TypeError(f"{name}: got an empty picture {image.shape}, expected at least one pixel")
    return image
