"""Decide what becomes of each face of a frame, and cut out the aligned crops of those that are restored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bundle import ModelEntry
from .detect import Face
from .errors import GeometryError
from .geometry import Landmarks, Transform, crop_from_landmarks, framing, native_size, transform_points, warp
from .options import RestoreOptions
from .pixels import RgbImage
from .search import FoundFace

RESTORED = "restored"
TOO_LARGE = "left: large enough already"
TOO_SMALL = "left: too small for any model"
UNRELIABLE = "left: unreliable landmarks"
NOT_CHOSEN = "left: not chosen"
"""Beyond --max-faces, or not the one of --only-center."""

MAX_MISFIT = 0.3
"""Of landmarks from the mean face, in eye distances; beyond it the face is seen from the side, or is none."""


@dataclass(frozen=True, eq=False)
class RestoredFace:
    """One face of a frame and what became of it."""

    face: Face
    native_size: float
    """Side in frame pixels of the square that the aligned crop was taken from; 0 where none can be placed."""
    decision: str
    """`restored`, or why the face was left as it is."""
    model: str | None = None
    crop_from_frame: Transform | None = None
    """Aligned low-resolution crop from frame."""
    low: RgbImage | None = None
    """The model's input, uint8 (h, h, 3) RGB."""
    restored: RgbImage | None = None
    """The model's output, uint8 (H, H, 3) RGB."""


def align(
    frame: RgbImage, found: Sequence[FoundFace], models: Sequence[ModelEntry], options: RestoreOptions
) -> list[RestoredFace]:
    """Choose a model for each face by its native size and cut out its crop, or say why the face is left as it is."""
    chosen = choose_faces(frame, [f.face for f in found], options)
    return [_align(frame, f, models) if f.face in chosen else RestoredFace(f.face, 0.0, NOT_CHOSEN) for f in found]


def choose_faces(frame: RgbImage, faces: Sequence[Face], options: RestoreOptions) -> list[Face]:
    """All faces, or the ones that `--only-center` and `--max-faces` leave: nearest the middle, largest first."""
    if options.only_center and faces:
        middle = (np.array(frame.shape[1::-1]) - 1) / 2
        faces = [min(faces, key=lambda face: float(np.hypot(*(face.centre - middle))))]
    return sorted(faces, key=lambda face: -face.area)[: options.max_faces]


def _align(frame: RgbImage, found: FoundFace, models: Sequence[ModelEntry]) -> RestoredFace:
    face, native = found.face, 0.0
    for model in models:
        try:
            crop_from_frame = crop_from_landmarks(face.landmarks, model.framing, model.input_size)
        except GeometryError:  # points that coincide
            return RestoredFace(face, 0.0, UNRELIABLE)
        native = native_size(crop_from_frame, model.input_size)
        if model.native_from <= native < model.native_to:
            if not found.reliable or misfit(face.landmarks, crop_from_frame, model) > MAX_MISFIT:
                return RestoredFace(face, native, UNRELIABLE)
            low = warp(frame, crop_from_frame, (model.input_size, model.input_size))
            return RestoredFace(face, native, RESTORED, model.name, crop_from_frame, low)
    smallest = min((m.native_from for m in models if m.native_to > m.native_from), default=0.0)
    return RestoredFace(face, native, TOO_SMALL if native < smallest else TOO_LARGE)


def misfit(landmarks: Landmarks, crop_from_frame: Transform, model: ModelEntry) -> float:
    """Root mean square distance of aligned landmarks from the mean face's, in eye distances."""
    mean_face = framing(model.framing)
    shares = (transform_points(crop_from_frame, landmarks) + 0.5) / model.input_size
    squares = ((shares - mean_face.template) ** 2).sum(1)
    return float(np.sqrt(squares.mean())) / mean_face.eye_distance
