"""What can be said of a face in numbers: how large, how turned, how lit, how sharp, of which skin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..runtime.geometry import Landmarks, crop_from_landmarks, native_size, warp
from ..runtime.pixels import RgbImage

FRAMING, SIZE = "runtime", 64
"""Of the crop that is measured, the same for every bundle, so that sets can be compared."""
FACE = (slice(14, 58), slice(12, 52))
"""Rows and columns of that crop which the face fills."""
CHEEKS = ((slice(34, 43), slice(14, 23)), (slice(34, 43), slice(41, 50)))
COLOURLESS = 2.0
"""Chroma in CIELAB below which the cheeks have no colour, and the skin no tone that could be told."""


@dataclass(frozen=True)
class FaceMeasures:
    """One face; `PROPERTIES` of `coverage` says how each is counted."""

    native_size: float
    """Side in pixels of the square that the bundle's aligned crop is taken from."""
    yaw: float
    """How far the nose lies beside the middle of the eyes, in eye distances, upright: 0 from the front."""
    pitch: float
    """Where the nose lies between eyes (0) and mouth (1): less looks up, more looks down."""
    roll: float
    """Degrees by which the line of the eyes is turned in the picture, clockwise."""
    luminance: float
    """Mean of the face, 0 to 255."""
    contrast: float
    """Standard deviation of the luminance, in grey levels."""
    sharpness: float
    """Variance of the Laplacian of the luminance at `SIZE` pixels."""
    skin: float
    """Individual typology angle of the cheeks in degrees, lighter skin higher (Chardon, 1991); NaN without colour."""


def measure(image: RgbImage, landmarks: Landmarks, bundle_framing: str) -> tuple[FaceMeasures, RgbImage]:
    """The measures of one face, and the uint8 (SIZE, SIZE, 3) crop that they were taken on.

    Raises:
        GeometryError: the landmarks coincide.
    """
    crop_from_image = crop_from_landmarks(landmarks, FRAMING, SIZE)
    crop = warp(image, crop_from_image, (SIZE, SIZE))
    face = crop[FACE]
    grey = np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), np.float32)
    yaw, pitch, roll = pose(landmarks)
    measures = FaceMeasures(
        native_size(crop_from_landmarks(landmarks, bundle_framing, SIZE), SIZE),
        yaw,
        pitch,
        roll,
        luminance=float(grey.mean()),
        contrast=float(grey.std()),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).var()),
        skin=typology_angle(np.concatenate([crop[area].reshape(-1, 3) for area in CHEEKS])),
    )
    return measures, crop


def pose(landmarks: Landmarks) -> tuple[float, float, float]:
    """Yaw, pitch and roll as `FaceMeasures` has them, from (5, 2) landmarks."""
    points = np.asarray(landmarks, np.float64)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across = points[1] - points[0]
    distance = max(float(np.hypot(*across)), 1e-6)
    right = across / distance
    down = np.array([-right[1], right[0]])
    nose = points[2] - eyes
    height = float((mouth - eyes) @ down)
    pitch = float(nose @ down) / height if abs(height) > 1e-6 else 0.5
    return float(nose @ right) / distance, pitch, float(np.degrees(np.arctan2(across[1], across[0])))


def typology_angle(pixels: RgbImage) -> float:
    """ITA = atan((L - 50) / b) of the median colour of uint8 (N, 3) RGB, in degrees; NaN where it has no colour."""
    median = np.median(pixels, 0).astype(np.float32).reshape(1, 1, 3) / 255
    lightness, a, b = np.asarray(cv2.cvtColor(median, cv2.COLOR_RGB2LAB)).ravel().tolist()
    if np.hypot(a, b) < COLOURLESS:
        return float("nan")
    return float(np.degrees(np.arctan2(lightness - 50, max(b, 1e-3))))
