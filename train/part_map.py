"""The part map: which part of the face every pixel of a crop shows, drawn from the mesh."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from . import mesh

PARTS = ("background", "skin", "brows", "eyes", "nose", "lips", "mouth")
"""What the numbers of a part map mean; background is all outside the face's outline, mouth what the lips enclose."""

DRAWN = (
    (mesh.RIGHT_EYE, "eyes"),
    (mesh.LEFT_EYE, "eyes"),
    (mesh.RIGHT_BROW, "brows"),
    (mesh.LEFT_BROW, "brows"),
    (mesh.OUTER_LIPS, "lips"),
    (mesh.INNER_LIPS, "mouth"),
    (mesh.NOSE, "nose"),
)
"""Polygons in the order they are drawn over the skin: the nose last, since it hides the far eye of a profile."""

FINENESS = 4
"""Polygons are drawn this many times as fine and sampled at pixel centres: `fillPoly` paints its border too."""


def part_map(landmarks: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """Numbers of `PARTS`, uint8 (size, size), of the face with this mesh.

    landmarks: (P, 2) in pixels of a crop of side `size`; the mesh comes first.
    """
    fine = np.zeros((size * FINENESS, size * FINENESS), np.uint8)
    corners = np.rint(landmarks * FINENESS + FINENESS // 2).astype(np.int32)  # centres at 2, 6, 10, ...
    # The outline of a profile crosses itself, and where it does fillPoly leaves holes: its hull has none.
    cv2.fillPoly(fine, [cv2.convexHull(corners[list(mesh.FACE_OVAL)])], PARTS.index("skin"))
    for ring, part in DRAWN:
        cv2.fillPoly(fine, [corners[list(ring)]], PARTS.index(part))
    return np.ascontiguousarray(fine[FINENESS // 2 :: FINENESS, FINENESS // 2 :: FINENESS])
