"""The crops of a face that engines are given, at every input size of a bundle.

A model serves faces of certain native sizes; a portrait has far larger ones, which the runtime leaves alone. So of
half of the faces that are too large for a model its crop is taken as a camera further away would have it: the picture
is shrunk until the face has a size that the model serves, drawn at random, and the runtime's warp cuts it out of that.
The other half is cut out of the picture as it is: the sharpest that can be, and what published protocols feed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..runtime.bundle import ModelEntry
from ..runtime.geometry import (
    Landmarks,
    Transform,
    crop_from_landmarks,
    invert,
    native_size,
    resize,
    scaling,
    transform_points,
    warp,
)
from ..runtime.pixels import RgbImage

FAR = 0.5
"""Share of the faces that are moved away."""


def native_ranges(models: Sequence[ModelEntry]) -> dict[int, tuple[float, float]]:
    """By input size: the native sizes served at run time, never beyond half to twice the input size."""
    ranges = {}
    for size in sorted({model.input_size for model in models}):
        same = [model for model in models if model.input_size == size]
        used = [model for model in same if model.native_to > model.native_from] or same
        low = max(min(model.native_from for model in used), size / 2)
        ranges[size] = (low, max(low, min(max(model.native_to for model in used), size * 2.0)))
    return ranges


def cut_crops(
    image: RgbImage,
    landmarks: Landmarks,
    framing: str,
    ranges: Mapping[int, tuple[float, float]],
    rng: np.random.Generator,
) -> dict[int, RgbImage]:
    """By input size: uint8 (size, size, 3) RGB of one face."""
    far, crops = rng.random() < FAR, {}
    for size, (low, high) in ranges.items():
        drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
        crops[size] = _cut(image, landmarks, framing, size, drawn if far else math.inf)
    return crops


def _cut(image: RgbImage, landmarks: Landmarks, framing: str, size: int, native: float) -> RgbImage:
    """The aligned crop, of a face whose native size is at most `native`."""
    crop_from_image = crop_from_landmarks(landmarks, framing, size)
    share = native / native_size(crop_from_image, size)
    if share < 1:
        height, width = image.shape[:2]
        far_wh = (max(1, round(width * share)), max(1, round(height * share)))
        far_from_image = scaling(far_wh[0] / width, far_wh[1] / height)
        image = resize(image, far_wh)
        crop_from_image = crop_from_landmarks(transform_points(far_from_image, landmarks), framing, size)
    return warp(image, crop_from_image, (size, size))


def outside_share(crop_from_image: Transform, size: int, image: RgbImage) -> float:
    """Share of the crop that lies outside the picture, on a 16x16 grid of points."""
    ticks = (np.arange(16) + 0.5) / 16 * size - 0.5
    points = transform_points(invert(crop_from_image), np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2))
    inside = (points > -0.5).all(1) & (points < np.array(image.shape[1::-1]) - 0.5).all(1)
    return float(1 - inside.mean())
