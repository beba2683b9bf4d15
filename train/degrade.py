"""Low-resolution faces made from high-resolution ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ..runtime.geometry import resize
from ..runtime.pixels import RgbBatch


def shrink(crops: RgbBatch, size: int) -> RgbBatch:
    """Clean degradation: antialiased bicubic on uint8, (N, S, S, 3) -> (N, size, size, 3); also enlarges."""
    return _resized(crops, size, np.full(len(crops), crops.shape[1]))


def shrink_from_native(crops: RgbBatch, size: int, span: float, seed: int) -> RgbBatch:
    """As a camera and the runtime make a crop: shrunk to a native size of its own, then resized to `size`.

    Native sizes are drawn evenly on a logarithmic scale from size / span to size * span. A network that only knows
    faces of exactly its input size gains nothing on blurrier ones.
    """
    exponents = np.random.default_rng((seed, 2)).uniform(-1, 1, len(crops))
    natives = np.rint(size * span**exponents).astype(int)
    return _resized(crops, size, np.minimum(natives, crops.shape[1]))


def _resized(crops: RgbBatch, size: int, natives: NDArray[np.integer]) -> RgbBatch:
    """Every crop to its native size, then to `size`."""
    out = np.empty((len(crops), size, size, 3), np.uint8)

    def shrink_one(index: int) -> None:
        native = int(natives[index])
        out[index] = resize(resize(crops[index], (native, native)), (size, size))

    with ThreadPoolExecutor() as pool:  # Pillow leaves the interpreter lock while it resizes
        for _ in pool.map(shrink_one, range(len(crops)), chunksize=64):
            pass
    return out
