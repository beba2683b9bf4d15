"""Low-resolution faces made from high-resolution ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..runtime.geometry import resize
from ..runtime.pixels import RgbBatch


def shrink(crops: RgbBatch, size: int) -> RgbBatch:
    """Clean degradation: antialiased bicubic on uint8, (N, S, S, 3) -> (N, size, size, 3); also enlarges."""
    out = np.empty((len(crops), size, size, 3), np.uint8)

    def shrink_one(index: int) -> None:
        out[index] = resize(crops[index], (size, size))

    with ThreadPoolExecutor() as pool:  # Pillow leaves the interpreter lock while it resizes
        for _ in pool.map(shrink_one, range(len(crops)), chunksize=64):
            pass
    return out
