"""Decide what becomes of each face of a frame, and cut out the aligned crops of those that are restored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .bundle import ModelEntry
from .detect import Face
from .errors import GeometryError
from .geometry import (
    Landmarks,
    Transform,
    compose,
    framing,
    scaling,
    similarity_transforms,
    template_landmarks,
    transform_points,
    warp,
)
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

LAST_SHARE = 0.08
"""Of the largest native size that is restored; over it a face of a moving picture fades out."""


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
    track: int | None = None
    """Its number in a moving picture, the same from frame to frame."""
    opacity: float = 1.0
    """Share of it in what is pasted, beside --strength: less than 1 while it comes or goes."""


def align(
    frame: RgbImage, found: Sequence[FoundFace], models: Sequence[ModelEntry], options: RestoreOptions
) -> list[RestoredFace]:
    """Choose a model for each face by its native size and cut out its crop, or say why the face is left as it is."""
    chosen = choose_faces(frame, [f.face for f in found], options)
    fits = {model.framing: fitted([f.face.landmarks for f in found], model.framing) for model in models}
    return [
        _align(frame, f, models, {name: each[n] for name, each in fits.items()})
        if f.face in chosen
        else RestoredFace(f.face, 0.0, NOT_CHOSEN, track=f.track)
        for n, f in enumerate(found)
    ]


def choose_faces(frame: RgbImage, faces: Sequence[Face], options: RestoreOptions) -> list[Face]:
    """All faces, or the ones that `--only-center` and `--max-faces` leave: nearest the middle, largest first."""
    if options.only_center and faces:
        middle = (np.array(frame.shape[1::-1]) - 1) / 2
        faces = [min(faces, key=lambda face: float(np.hypot(*(face.centre - middle))))]
    return sorted(faces, key=lambda face: -face.area)[: options.max_faces]


@dataclass(frozen=True, eq=False)
class Fit:
    """How a face lies in a framing."""

    unit_from_frame: Transform
    """To a crop of one pixel, from which one of S pixels is enlarged."""
    native_size: float
    misfit: float
    """Root mean square distance of the aligned landmarks from the mean face's, in eye distances."""


def fitted(landmarks: Sequence[Landmarks], framing_name: str) -> list[Fit | None]:
    """A fit for each (5, 2); None where the points coincide."""
    if not landmarks:
        return []
    try:
        units = similarity_transforms(np.stack(landmarks), template_landmarks(framing_name, 1))
    except GeometryError:  # of one of them, perhaps
        if len(landmarks) == 1:
            return [None]
        return [fit for each in landmarks for fit in fitted([each], framing_name)]
    mean_face = framing(framing_name)
    shares = np.stack(landmarks) @ units[:, :, :2].swapaxes(1, 2) + units[:, None, :, 2] + 0.5
    misfits = np.sqrt(((shares - mean_face.template) ** 2).sum(2).mean(1)) / mean_face.eye_distance
    natives = 1 / np.hypot(units[:, 0, 0], units[:, 1, 0])
    return [Fit(*values) for values in zip(units, natives.tolist(), misfits.tolist(), strict=True)]


def _align(
    frame: RgbImage, found: FoundFace, models: Sequence[ModelEntry], fits: Mapping[str, Fit | None]
) -> RestoredFace:
    face, native = found.face, 0.0
    for model in models:
        if (fit := fits[model.framing]) is None:
            return RestoredFace(face, 0.0, UNRELIABLE, track=found.track)
        native = fit.native_size
        if model.native_from <= native * found.held < model.native_to:
            if not found.reliable or fit.misfit > MAX_MISFIT:
                return RestoredFace(face, native, UNRELIABLE, track=found.track)
            crop_from_frame = compose(scaling(model.input_size), fit.unit_from_frame)
            low = warp(frame, crop_from_frame, (model.input_size, model.input_size))
            return RestoredFace(
                face,
                native,
                RESTORED,
                model.name,
                crop_from_frame,
                low,
                track=found.track,
                opacity=found.opacity * (1.0 if found.track is None else near_limit(native, models)),
            )
    smallest = min((m.native_from for m in models if m.native_to > m.native_from), default=0.0)
    return RestoredFace(face, native, TOO_SMALL if native < smallest else TOO_LARGE, track=found.track)


def misfit(landmarks: Landmarks, crop_from_frame: Transform, model: ModelEntry) -> float:
    """Root mean square distance of aligned landmarks from the mean face's, in eye distances."""
    mean_face = framing(model.framing)
    shares = (transform_points(crop_from_frame, landmarks) + 0.5) / model.input_size
    return float(np.sqrt(((shares - mean_face.template) ** 2).sum(1).mean())) / mean_face.eye_distance


def near_limit(native: float, models: Sequence[ModelEntry]) -> float:
    """Opacity of a face that grows towards the size from which it is left: it goes little by little."""
    limit = max(model.native_to for model in models)
    return min(1.0, max(0.0, (limit - native) / (LAST_SHARE * limit)))
