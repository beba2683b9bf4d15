"""What a camera and its files do to a face: kernel -> blur -> noise -> JPEG, each by chance and by a random amount.

The order is that of the light's way. Amounts are those of a usable picture: a network that has to mend ruins learns to
smooth, and loses on good pictures more than it gains. A quarter of the faces stays clean.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from ..runtime.pixels import RgbBatch, RgbImage, bgr_from_rgb, rgb_from_bgr

CLEAN_SHARE = 0.25
KERNELS = (Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)
BLUR_SHARE, BLUR_SIGMA = 0.4, (0.3, 0.9)
"""Pixels at native size: a lens or a focus that is a little off."""
NOISE_SHARE, NOISE_SIGMA = 0.5, (1.0, 8.0)
"""Grey levels at middle grey, evenly on a logarithmic scale."""
JPEG_SHARE, JPEG_QUALITY = 0.7, (40, 95)
BLOCK = 16
"""Side of what JPEG codes at once, its colours at half size."""
LIT_SHARE, GAMMA, WHITE = 0.5, (0.7, 1.6), 0.06
"""Of lighting: exponents, and the standard deviation of each colour's gain."""


def seen_by_camera(face: RgbImage, native: int, rng: np.random.Generator) -> RgbImage:
    """uint8 (S, S, 3) RGB -> uint8 (native, native, 3)."""
    if rng.random() < CLEAN_SHARE:
        return _shrunk(face, native, KERNELS[0])
    seen = _shrunk(face, native, KERNELS[rng.integers(len(KERNELS))])
    if rng.random() < BLUR_SHARE:
        seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), rng.uniform(*BLUR_SIGMA)), np.uint8)
    if rng.random() < NOISE_SHARE:
        seen = noisy(seen, float(np.exp(rng.uniform(*np.log(NOISE_SIGMA)))), rng)
    if rng.random() < JPEG_SHARE:
        low, high = JPEG_QUALITY
        seen = through_jpeg(seen, int(rng.integers(low, high + 1)), rng.integers(BLOCK, size=2))
    return seen


def noisy(picture: RgbImage, sigma: float, rng: np.random.Generator) -> RgbImage:
    """Noise of the light itself: its variance grows with the brightness; sigma: grey levels at middle grey."""
    floats = picture.astype(np.float32)
    spread = sigma * np.sqrt((floats + 32) / (128 + 32))  # the 32: what the electronics add in the dark
    return np.clip(np.rint(floats + spread * rng.standard_normal(picture.shape, np.float32)), 0, 255).astype(np.uint8)


def through_jpeg(picture: RgbImage, quality: int, offset_yx: tuple[int, int] | np.ndarray) -> RgbImage:
    """Coded and decoded as a part of a larger picture, whose blocks begin `offset_yx` pixels above and left of it."""
    top, left = (int(side) for side in offset_yx)
    height, width = picture.shape[:2]
    bottom, right = -(top + height) % BLOCK, -(left + width) % BLOCK
    border = cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_REFLECT)
    _, coded = cv2.imencode(".jpg", bgr_from_rgb(np.asarray(border, np.uint8)), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = rgb_from_bgr(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8))
    return np.ascontiguousarray(decoded[top : top + height, left : left + width])


def relit(crops: RgbBatch, seed: int) -> RgbBatch:
    """The faces in other light, half of them: brightness and its colour. What is to be restored changes with them."""
    lit = crops.copy()
    levels = np.arange(256) / 255
    for number in range(len(crops)):
        rng = np.random.default_rng((seed, 4, number))
        if rng.random() < LIT_SHARE:
            gamma, gains = np.exp(rng.uniform(*np.log(GAMMA))), np.exp(rng.normal(0, WHITE, 3))
            table = np.clip(np.rint(255 * levels[:, None] ** gamma * gains), 0, 255).astype(np.uint8)
            lit[number] = cv2.LUT(crops[number], table[None])
    return lit


def _shrunk(face: RgbImage, native: int, kernel: Image.Resampling) -> RgbImage:
    return np.asarray(Image.fromarray(face).resize((native, native), kernel), np.uint8)
