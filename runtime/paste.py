"""Put restored faces back into the enlarged picture, touching only each face's rectangle."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Transform, compose, scale_of, scaling
from .pixels import RgbImage

FEATHER = 0.16
"""Share of the crop's side over which the restored face fades in, from each edge."""

CRISP_UNTIL = 0.75
"""Scale of the last warp up to which linear samples are the better filter, for a quarter of the work of cubic ones. At
.52, .56, .6 and .75 they come within 38.5, 35.2, 40.8 and 37.0 dB of an antialiased warp of the parity faces, cubic
ones within 34.7, 31.5, 37.2 and 37.5; at .88 within 35.1, cubic ones within 38.7. Where softness is no harm, up to
1."""


def paste(
    canvas: RgbImage,
    restored: RgbImage,
    canvas_from_restored: Transform,
    strength: float = 1.0,
    *,
    crisp: bool = False,
) -> None:
    """Blend one restored face into `canvas`, in place.

    canvas: uint8 (H, W, 3) RGB. restored: uint8 (S, S, 3) RGB. strength: 0 (nothing changes) to 1.
    crisp: keep a face sharp that is pasted no larger than it was.
    """
    source, canvas_from_source = prefiltered(restored, canvas_from_restored)
    left, top, right, bottom = rectangle(canvas_from_source, len(source), canvas)
    if left >= right or top >= bottom:
        return
    here_from_source = canvas_from_source - np.array([[0, 0, left], [0, 0, top]])
    size_wh = (right - left, bottom - top)
    cubic = scale_of(here_from_source) > (CRISP_UNTIL if crisp else 1)
    kernel = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    face = cv2.warpAffine(source, here_from_source, size_wh, flags=kernel, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(feather(len(source)), here_from_source, size_wh) * strength
    region = canvas[top:bottom, left:right]
    region[:] = cv2.blendLinear(np.ascontiguousarray(region), face, 1 - weight, weight)


def prefiltered(restored: RgbImage, canvas_from_restored: Transform) -> tuple[RgbImage, Transform]:
    """Halve the face until the rest of the shrinking is by less than 2; returns it with its transform.

    By averages of 2 x 2 pixels, which OpenCV takes several times as fast as any others.
    """
    scale, side = scale_of(canvas_from_restored), len(restored)
    factor = 1
    while scale * factor <= 0.5 and side % (2 * factor) == 0 and side // factor >= 8:
        factor *= 2
        half = (side // factor, side // factor)
        restored = np.asarray(cv2.resize(restored, half, interpolation=cv2.INTER_AREA), np.uint8)
    return restored, compose(canvas_from_restored, scaling(factor)) if factor > 1 else canvas_from_restored


def rectangle(canvas_from_source: Transform, side: int, canvas: RgbImage) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the pixels of `canvas` that a square source covers; empty where it is outside."""
    (a, b, x), (c, d, y) = canvas_from_source.tolist()
    middle, half = (side - 1) / 2, side / 2
    x, y = x + (a + b) * middle, y + (c + d) * middle
    wide, high = half * (abs(a) + abs(b)), half * (abs(c) + abs(d))
    height, width = canvas.shape[:2]
    left, top = max(math.floor(x - wide), 0), max(math.floor(y - high), 0)
    return left, top, min(math.ceil(x + wide) + 1, width), min(math.ceil(y + high) + 1, height)


@lru_cache(maxsize=32)
def feather(side: int) -> NDArray[np.float32]:
    """(side, side) weights: 0 at the edges, 1 inside, half a cosine between."""
    from_edge = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5) / side
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.clip(from_edge / FEATHER, 0, 1))
    weights = np.outer(ramp, ramp).astype(np.float32)
    weights.setflags(write=False)
    return weights
