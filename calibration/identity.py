"""Whom a face network sees in a restored face, and how far that is from whom it saw before."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.alive import exit_with_parent
from ..runtime.detect import Face
from ..runtime.errors import EngineUnavailableError
from ..runtime.machine import cores
from ..runtime.pixels import RgbBatch, RgbImage

INSTALL_IDENTITY = 'pip install "fsr-edge[identity]"'
SAME_PERSON = 0.6
"""Distance of dlib's embeddings below which its authors take two pictures for one person."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom of a face in pixels."""


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
    """dlib's face recognition network (King 2017), where its two packages are installed.

    It takes about .1 s a face and holds the interpreter's lock, so a process on each core runs it; and no face twice.
    """

    def __init__(self) -> None:
        """Raises `EngineUnavailableError` where the packages are not."""
        _import_dlib()
        _models_folder()
        # Its processes start when they are first needed.
        self._pool = ProcessPoolExecutor(cores(), mp_context=get_context("spawn"), initializer=exit_with_parent)
        self._known: dict[tuple[bytes, Box], NDArray[np.float64]] = {}

    def embed(self, faces: Sequence[tuple[RgbImage, Face]]) -> NDArray[np.float64]:
        """(N, 128) of N pictures, uint8 (H, W, 3) RGB, and the face in each that is meant.

        Raises:
            EngineUnavailableError: a process was killed, as for want of memory.
        """
        boxes = [(np.ascontiguousarray(picture), _box(face)) for picture, face in faces]
        keys = [(hashlib.sha256(picture.data).digest(), box) for picture, box in boxes]
        new = {key: pair for key, pair in zip(keys, boxes, strict=True) if key not in self._known}
        try:
            found = self._pool.map(_embedding, *zip(*new.values(), strict=True)) if new else ()
            self._known |= zip(new, found, strict=True)
        except BrokenProcessPool as error:
            raise EngineUnavailableError("a process of it was killed; there may be too little memory") from error
        return np.array([self._known[key] for key in keys]).reshape(-1, 128)


def embeddings(network: IdentityNetwork, faces: Sequence[Face | None], pictures: RgbBatch) -> NDArray[np.float64]:
    """(M, 128): of the M pictures in which a face was found, uint8 (N, S, S, 3) RGB."""
    return network.embed([(picture, face) for picture, face in zip(pictures, faces, strict=True) if face is not None])


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


def _box(face: Face) -> Box:
    left, top, right, bottom = (round(value) for value in face.box_xyxy.tolist())
    return left, top, right, bottom


def _embedding(picture: RgbImage, box: Box) -> NDArray[np.float64]:
    """(128,); runs in a process of the pool."""
    dlib, points, network = _networks()
    return np.array(network.compute_face_descriptor(picture, points(picture, dlib.rectangle(*box))))


@cache
def _networks() -> tuple[Any, Any, Any]:
    dlib: Any = _import_dlib()
    points = dlib.shape_predictor(str(_models_folder() / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(str(_models_folder() / "dlib_face_recognition_resnet_model_v1.dat"))
    return dlib, points, network


def _import_dlib() -> ModuleType:
    try:
        import dlib  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise EngineUnavailableError(f"dlib cannot be imported ({error}); {INSTALL_IDENTITY}") from error
    return dlib


def _models_folder() -> Path:
    # Its own __init__ needs a pkg_resources that setuptools no longer has; only its files matter.
    models = importlib.util.find_spec("face_recognition_models")
    if models is None or models.origin is None:
        raise EngineUnavailableError(f"face_recognition_models is not installed; {INSTALL_IDENTITY}")
    return Path(models.origin).parent / "models"
