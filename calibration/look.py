"""Look at one moment: those of its faces that a set may have, measured and fingerprinted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..runtime.align import MAX_MISFIT, misfit
from ..runtime.bundle import ModelEntry
from ..runtime.errors import GeometryError
from ..runtime.geometry import Landmarks, crop_from_landmarks
from ..runtime.pixels import RgbImage
from ..runtime.runs.failure import reason
from ..runtime.search import FoundFace, width_of
from .crops import outside_share
from .duplicates import fingerprint
from .measure import FaceMeasures, measure
from .moments import Moment

SURE = 0.8
"""Least score. Of what the detector finds in portraits, all below .73 was seen to be ties, hands and folds, and
nearly all true faces above .9; a choice of the unusual would take each of those ties."""
MAX_OUTSIDE = 0.15
"""Share of a crop that may lie outside the picture, where it holds streaks."""

Search: TypeAlias = Callable[[RgbImage], Sequence[FoundFace]]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A face that may be chosen."""

    moment: Moment
    """Without its pixels."""
    index: int
    """Among the faces of its moment."""
    landmarks: Landmarks
    width: float
    """Of the detector's box, in pixels of the moment."""
    measures: FaceMeasures
    fingerprint: NDArray[np.float32]

    def random(self, seed: int) -> np.random.Generator:
        """Depends on the seed and the face alone, not on what else was found."""
        sha256, second = self.moment.key
        return np.random.default_rng([seed, int(sha256[:15], 16), second + 1, self.index])


@dataclass(frozen=True, eq=False)
class Seen:
    """What a moment holds."""

    moment: Moment
    """Without its pixels."""
    faces: list[Candidate]
    unfit: int = 0
    """Faces too small for any model, unreliable, unsure, or cut off by the picture's edge."""
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Look:
    """`look(moment)`; threads may share it."""

    search: Search
    models: Sequence[ModelEntry]
    """Of one framing."""
    smallest: float
    """Native size from which a model is used."""

    def __call__(self, moment: Moment) -> Seen:
        """A file that cannot be read, even for a bug, costs itself alone."""
        empty = replace(moment, pixels=None)
        try:
            image = moment.read()
            found = self.search(image)
            faces = [self._candidate(image, face, empty, index) for index, face in enumerate(found)]
        except Exception as error:
            return Seen(empty, [], error=reason(str(moment.source.path), error))
        usable = [face for face in faces if face is not None]
        return Seen(empty, usable, len(found) - len(usable))

    def _candidate(self, image: RgbImage, found: FoundFace, moment: Moment, index: int) -> Candidate | None:
        model, landmarks = self.models[0], found.face.landmarks
        if not found.reliable or found.face.score < SURE:
            return None
        try:
            crop_from_image = crop_from_landmarks(landmarks, model.framing, model.input_size)
        except GeometryError:  # points that coincide
            return None
        if misfit(landmarks, crop_from_image, model) > MAX_MISFIT:
            return None
        if outside_share(crop_from_image, model.input_size, image) > MAX_OUTSIDE:
            return None
        measures, crop = measure(image, landmarks, model.framing)
        if measures.native_size < self.smallest:
            return None
        return Candidate(moment, index, landmarks, width_of(found.face), measures, fingerprint(crop))
