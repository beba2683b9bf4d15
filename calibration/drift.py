"""Where the five points of restored faces lie, and how far that is from where they lay before."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..runtime.detect import Detector, Face, largest
from ..runtime.machine import cores
from ..runtime.pixels import RgbBatch


@dataclass(frozen=True)
class LandmarkDrift:
    """How far the detector's five points move between the float32 network's pictures and another's."""

    faces: int
    """Looked at."""
    found: int
    """In the float32 network's pictures."""
    lost: int
    """Of those, not found in the other's."""
    mean_pixels: float
    """Over the points of faces found in both; 0 of none."""
    worst_pixels: float
    """Of the face that moved most, mean of its points."""
    mean_eye_distances: float
    worst_eye_distances: float


def find_faces(detector: Detector, pictures: RgbBatch) -> list[Face | None]:
    """The largest face in each restored crop, where there is one."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(lambda picture: largest(detector(picture)), pictures))


def landmark_drift(before: Sequence[Face | None], after: Sequence[Face | None]) -> LandmarkDrift:
    """`find_faces` of the float32 network's pictures against the other's."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    pixels = np.array([np.hypot(*(a.landmarks - b.landmarks).T).mean() for a, b in pairs] or [0.0])
    eyes = np.array([np.hypot(*(a.landmarks[1] - a.landmarks[0])) for a, _ in pairs] or [1.0])
    found = sum(face is not None for face in before)
    return LandmarkDrift(
        len(before),
        found,
        found - len(pairs),
        *(round(float(value), 4) for value in (pixels.mean(), pixels.max())),
        *(round(float(value), 5) for value in ((pixels / eyes).mean(), (pixels / eyes).max())),
    )
