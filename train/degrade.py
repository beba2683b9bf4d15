"""Low-resolution faces: as tables are made, and as cameras make them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import UsageError
from ..runtime.geometry import resize
from ..runtime.pixels import RgbBatch, RgbImage
from .camera import seen_by_camera

CLEAN, ROBUST = "clean", "robust"
DEGRADATIONS = (CLEAN, ROBUST)
"""How a face reaches its native size: shrunk by antialiased bicubic alone, or as `camera.seen_by_camera` says."""

See = Callable[[RgbImage, int, int], RgbImage]
"""A face, its native size and its number in the batch -> the face at its native size."""


def shrink(crops: RgbBatch, size: int) -> RgbBatch:
    """Clean degradation: antialiased bicubic on uint8, (N, S, S, 3) -> (N, size, size, 3); also enlarges."""
    return _resized(crops, size, np.full(len(crops), crops.shape[1]), _shrunk)


def degrade(crops: RgbBatch, size: int, span: float, seed: int, kind: str = CLEAN) -> RgbBatch:
    """As a camera and the runtime make a crop: brought to a native size of its own, then resized to `size`.

    (N, S, S, 3) -> (N, size, size, 3). Native sizes are drawn evenly on a logarithmic scale from size / span to
    size * span: a network that only knows faces of exactly its input size gains nothing on blurrier ones. Every face
    depends on the seed and its place alone.

    Raises:
        UsageError: `kind` is not one of `DEGRADATIONS`.
    """
    if kind not in DEGRADATIONS:
        raise UsageError(f"--degradation: got {kind!r}, expected one of {', '.join(DEGRADATIONS)}")
    exponents = np.random.default_rng((seed, 2)).uniform(-1, 1, len(crops))
    natives = np.minimum(np.rint(size * span**exponents).astype(int), crops.shape[1])

    def seen(face: RgbImage, native: int, number: int) -> RgbImage:
        return seen_by_camera(face, native, np.random.default_rng((seed, 3, number)))

    return _resized(crops, size, natives, _shrunk if kind == CLEAN else seen)


def _shrunk(face: RgbImage, native: int, number: int) -> RgbImage:
    return resize(face, (native, native))


def _resized(crops: RgbBatch, size: int, natives: NDArray[np.integer], see: See) -> RgbBatch:
    """Every crop to its native size, then to `size`."""
    out = np.empty((len(crops), size, size, 3), np.uint8)

    def resize_one(index: int) -> None:
        out[index] = resize(see(crops[index], int(natives[index]), index), (size, size))

    with ThreadPoolExecutor() as pool:  # Pillow and OpenCV leave the interpreter lock while they work
        for _ in pool.map(resize_one, range(len(crops)), chunksize=64):
            pass
    return out
