"""The prior of one face: its mesh, whether that can be relied on, and how it lies in each crop of the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.geometry import Landmarks, Transform, transform_points
from ..runtime.pixels import RgbImage
from .landmarker import ACTION_UNITS, Landmarker
from .mesh import FIVE_POINTS, MESH_POINTS
from .part_map import part_map

MAX_DISAGREEMENT = 0.35
"""Mean distance of the mesh from the detector's five points above which a face is not relied on.

A share of those points' mean radius, about .64 of the distance between the eyes of a face seen from the front. 1.8% of
CelebA's faces lie above. On the 500 of its val split, looked at from .3 on: 1 of 10 meshes below has slipped off its
face, and 2 of 7 above; the rest above lie well, and there the detector is off.
"""


@dataclass(frozen=True, eq=False)
class FacePrior:
    """What is known of one face, in pixels of its picture."""

    landmarks: NDArray[np.floating]
    """(483, 2): the mesh, then the detector's five points."""
    action_units: NDArray[np.float32]
    """(16,)."""
    reliable: bool

    def in_crop(self, crop_from_image: Transform, size: int) -> dict[str, NDArray]:
        """One face's share of `pack.PRIORS` for a crop of side `size`."""
        landmarks = transform_points(crop_from_image, self.landmarks)
        return {
            "landmarks": landmarks.astype(np.float16),
            "part_map": part_map(landmarks, size),
            "blendshapes": self.action_units.astype(np.float16),
            "reliable": np.array(self.reliable),
        }


def face_prior(image: RgbImage, landmarks: Landmarks, landmarker: Landmarker) -> FacePrior:
    """The prior of the face with these five points, (5, 2) in pixels of `image`."""
    mesh = landmarker(image, landmarks)
    return FacePrior(
        np.concatenate([mesh.points, landmarks]),
        mesh.action_units,
        mesh.present and disagreement(mesh.points, landmarks) <= MAX_DISAGREEMENT,
    )


def no_prior(size: int) -> dict[str, NDArray]:
    """The share of `pack.PRIORS` of a face that the detector did not find: nothing, and not reliable."""
    return {
        "landmarks": np.zeros((MESH_POINTS + 5, 2), np.float16),
        "part_map": np.zeros((size, size), np.uint8),
        "blendshapes": np.zeros(len(ACTION_UNITS), np.float16),
        "reliable": np.array(False),
    }


def disagreement(mesh: NDArray[np.floating], landmarks: Landmarks) -> float:
    """Mean distance of the mesh, (478, 2), from five points, (5, 2), as a share of their mean radius."""
    radius = np.sqrt(((landmarks - landmarks.mean(0)) ** 2).sum(1).mean())
    five = np.stack([mesh[list(points)].mean(0) for points in FIVE_POINTS])
    return float(np.linalg.norm(five - landmarks, axis=1).mean() / radius)
