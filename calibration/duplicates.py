"""Faces that are the same picture twice, re-encoded or resized."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..runtime.pixels import RgbImage

MAX_DISTANCE = 30
"""Bits of 256. Re-encoding at JPEG quality 75 changes at most 22 in 99.9 % of faces, cropping a picture anew up to
about 40. Other people begin at about 36 among 1,900 aligned synthetic faces (seen by eye), and at about 38 among 12,000
of CelebA."""

BLOCK = 1024
"""Faces compared at once with all earlier ones: bounds the memory."""


def fingerprint(crop: RgbImage) -> NDArray[np.float32]:
    """256-bit difference hash as (256,) of -1 and 1: is each of 16x16 cells brighter than its right neighbour?"""
    import cv2

    cells = np.asarray(cv2.resize(crop, (17, 16), interpolation=cv2.INTER_AREA), np.float32).mean(2)
    return np.where(cells[:, :-1] > cells[:, 1:], 1, -1).astype(np.float32).ravel()


def find_duplicates(fingerprints: NDArray[np.float32]) -> dict[int, int]:
    """Indices of faces that repeat an earlier one -> index of the first of them, from (N, 256) fingerprints."""
    found: dict[int, int] = {}
    for start in range(0, len(fingerprints), BLOCK):
        block = fingerprints[start : start + BLOCK]
        distances = (256 - block @ fingerprints[: start + len(block)].T) / 2
        rows, columns = np.nonzero(distances <= MAX_DISTANCE)
        for index, earlier in zip(rows + start, columns, strict=True):
            if earlier < index:
                found.setdefault(int(index), found.get(int(earlier), int(earlier)))
    return found
