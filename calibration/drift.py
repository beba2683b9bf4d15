"""Whether the restored face is still the same face: where its five points lie, and whom a face network sees in it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.detect import Detector, Face, largest
from ..runtime.errors import EngineUnavailableError
from ..runtime.machine import cores
from ..runtime.pixels import RgbBatch, RgbImage

INSTALL_IDENTITY = 'pip install "fsr-edge[identity]"'
SAME_PERSON = 0.6
"""Distance of dlib's embeddings below which its authors take two pictures for one person."""


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


@dataclass(frozen=True)
class IdentityDrift:
    """Distances of dlib's face embeddings; below `SAME_PERSON` they are one person's."""

    faces: int
    mean: float
    """Between the float32 network's picture and the other's."""
    worst: float
    fp32_to_original: float | None
    """Mean between the float32 network's picture and the original: what restoring itself costs."""
    to_original: float | None


class IdentityNetwork:
    """dlib's face recognition network (King 2017), where its two packages are installed."""

    def __init__(self) -> None:
        """Raises `EngineUnavailableError` where they are not."""
        try:
            import dlib  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise EngineUnavailableError(f"dlib cannot be imported ({error}); {INSTALL_IDENTITY}") from error
        # Its own __init__ needs a pkg_resources that setuptools no longer has; only its files matter.
        models = importlib.util.find_spec("face_recognition_models")
        if models is None or models.origin is None:
            raise EngineUnavailableError(f"face_recognition_models is not installed; {INSTALL_IDENTITY}")
        folder = Path(models.origin).parent / "models"
        self._dlib: Any = dlib
        self._points: Any = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self._network: Any = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))

    def embed(self, picture: RgbImage, face: Face) -> NDArray[np.float64]:
        """(128,): the face of `picture`, in the box of `face`."""
        left, top, right, bottom = (round(value) for value in face.box_xyxy.tolist())
        points = self._points(picture, self._dlib.rectangle(left, top, right, bottom))
        return np.array(self._network.compute_face_descriptor(picture, points))


def embeddings(network: IdentityNetwork, faces: Sequence[Face | None], pictures: RgbBatch) -> NDArray[np.float64]:
    """(M, 128): of the M pictures in which a face was found, uint8 (N, S, S, 3) RGB; about .08 s each."""
    found = [(picture, face) for picture, face in zip(pictures, faces, strict=True) if face is not None]
    return np.array([network.embed(np.ascontiguousarray(picture), face) for picture, face in found]).reshape(-1, 128)


def identity_drift(
    before: NDArray[np.float64], after: NDArray[np.float64], original: NDArray[np.float64] | None
) -> IdentityDrift | None:
    """`embeddings` of the float32 network's pictures, of the other's and of the originals; None where none is."""
    if not len(before):
        return None
    apart = np.linalg.norm(before - after, axis=1)
    to_original: list[float | None] = [None, None]
    if original is not None:
        to_original = [round(float(np.linalg.norm(e - original, axis=1).mean()), 4) for e in (before, after)]
    return IdentityDrift(len(before), round(float(apart.mean()), 4), round(float(apart.max()), 4), *to_original)
