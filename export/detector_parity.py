"""Whether a detector in another precision or engine still finds the faces, boxes and points of float32."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..runtime.detect import Detector, Face
from ..runtime.errors import InputError
from ..runtime.geometry import iou, resize
from ..runtime.machine import cores
from ..runtime.options import RestoreOptions
from ..runtime.pixels import RgbImage
from ..runtime.search import DETECTABLE, FaceSearch

SAME_FACE = 0.5
"""Least overlap of one face's boxes."""
MAX_MISSED, MAX_ADDED = 0.02, 0.02
"""Shares of float32's faces, or one of few: those whose score lies at the threshold come and go with any rounding."""
MAX_MEAN_DRIFT, MAX_P95_DRIFT = 0.03, 0.1
"""Of the points, in eye distances. Those of a 32 px face are .07 off to begin with, to which .03 adds .006 in squares;
the points of smaller faces come from closer looks, in float32."""
CHANCE = 2.0
"""Standard errors by which the mean of some faces may lie beyond that of all."""
SURE = 24.0
"""Width in pixels at which float32 is sure of a face: at that size the smallest ones are compared, for what is merely
suspected comes and goes with any rounding."""
MIN_MEAN_IOU = 0.95


@dataclass(frozen=True)
class DetectorFigures:
    """Faces of some frames, found by float32 and by the other."""

    frames: int
    faces: int
    """That float32 finds."""
    missed: int
    """Of those, by the other."""
    added: int
    """That only the other finds."""
    mean_iou: float
    """Of the boxes of faces that both find."""
    mean_drift: float
    """Of their points, in eye distances; over all faces."""
    p95_drift: float
    drift_error: float = 0.0
    """Standard error of `mean_drift`."""

    def to_json(self) -> dict[str, Any]:
        """JSON has no infinity: None for the drift of no face."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def measure_detector(reference: Detector, other: Detector, frames: Sequence[RgbImage]) -> DetectorFigures:
    """Search frames, uint8 (H, W, 3) RGB of any sizes, with both as `fsr-run` does: closer looks are always float32's.

    Raises:
        InputError: float32 finds no face.
    """
    min_face = RestoreOptions().min_face * DETECTABLE / SURE
    searches = [FaceSearch(detector, min_face, closer=reference) for detector in (reference, other)]
    found, missed, added, ious, drifts = 0, 0, 0, [], []

    def faces(frame: RgbImage) -> list[list[Face]]:
        return [[f.face for f in search(frame)] for search in searches]

    with ThreadPoolExecutor(cores()) as pool:
        every = list(pool.map(faces, frames))
    for ours, theirs in every:
        pairs = list(matches(ours, theirs))
        found, missed, added = found + len(ours), missed + len(ours) - len(pairs), added + len(theirs) - len(pairs)
        ious += [overlap for _, _, overlap in pairs]
        drifts += [_drift(a, b) for a, b, _ in pairs]
    if not found:
        raise InputError(f"the detector finds no face in {len(frames)} frames to compare on")
    mean, p95 = (float(np.mean(drifts)), float(np.percentile(drifts, 95))) if drifts else (math.inf, math.inf)
    error = float(np.std(drifts, ddof=1) / math.sqrt(len(drifts))) if len(drifts) > 1 else 0.0
    return DetectorFigures(
        len(frames),
        found,
        missed,
        added,
        round(float(np.mean(ious or [0.0])), 4),
        round(mean, 5),
        round(p95, 5),
        round(error, 5),
    )


def detector_words(figures: DetectorFigures) -> str:
    """How far from float32, for a card."""
    return (
        f"of {figures.faces} faces {figures.missed} missed and {figures.added} added, boxes overlap by "
        f"{figures.mean_iou:.3f}, points move by {figures.mean_drift:.4f} eye distances"
    )


def gate_detector(figures: DetectorFigures) -> list[str]:
    """Why such a detector must not be deployed; nothing if it may."""
    return list(_reasons(figures))


def _reasons(figures: DetectorFigures) -> Iterator[str]:
    for what, number, most in (
        ("misses", figures.missed, MAX_MISSED),
        ("adds", figures.added, MAX_ADDED),
    ):
        if number > max(1, most * figures.faces):
            yield f"{what} {number} faces to fp32's {figures.faces}, expected at most {100 * most:g} %, or one"
    if not figures.mean_iou >= MIN_MEAN_IOU:
        yield f"boxes overlap fp32's by {figures.mean_iou:.3f} on average, expected at least {MIN_MEAN_IOU}"
    for what, drift, most in (
        ("on average", figures.mean_drift, MAX_MEAN_DRIFT + CHANCE * figures.drift_error),
        ("at the 95th percentile", figures.p95_drift, MAX_P95_DRIFT),
    ):
        if not drift <= most:
            yield f"points move by {drift:.4f} eye distances {what}, expected at most {most:.4f}"


def matches(ours: Sequence[Face], theirs: Sequence[Face]) -> Iterator[tuple[Face, Face, float]]:
    """Pairs of one face each, with the overlap of their boxes; each face is in one pair at most."""
    left = list(theirs)
    for face in ours:
        if not left:
            return
        overlaps = iou(face.box_xyxy, np.array([other.box_xyxy for other in left]))
        best = int(overlaps.argmax())
        if overlaps[best] >= SAME_FACE:
            yield face, left.pop(best), float(overlaps[best])


def _drift(a: Face, b: Face) -> float:
    eyes = np.hypot(*(a.landmarks[1] - a.landmarks[0]))
    return float(np.hypot(*(a.landmarks - b.landmarks).T).mean() / max(eyes, 1e-6))


def at_sizes(sheet: RgbImage, factors: Sequence[int] = (1, 2, 4)) -> list[RgbImage]:
    """A picture of many faces, whole and shrunk: faces of several sizes to find."""
    height, width = sheet.shape[:2]
    return [resize(sheet, (width // factor, height // factor)) for factor in factors]
