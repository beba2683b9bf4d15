"""Scenes to measure with: faces of known size and place in pictures of 1280x720, the same on every machine.

The faces are the default bundle's parity faces, in the public domain, shrunk to what a distant camera sees; the
background is smooth noise with a fine grain, so that a scene takes about as long to decode as a photograph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ..detect import Detector, largest
from ..errors import NoFaceError
from ..geometry import Transform, transform_points
from ..media.scene_people import Person, known_faces, smooth_light
from ..pixels import RgbBatch, RgbImage

SIZE_WH = (1280, 720)
NATIVE_SIZES = (36.0, 60.0)
"""Sides of the crops as they lie in a scene, in pixels; the faces are about .7 of that wide."""
GRID = (5, 4)
"""Columns and rows of cells; no cell holds two faces."""
GRAIN = 2.0
"""Standard deviation of each pixel, in grey levels."""
SEEDS: Mapping[int, tuple[int, ...]] = MappingProxyType({1: (0, 1, 3, 4), 4: (0, 1, 3, 4), 16: (4, 6, 21, 26)})
"""By number of faces: the first scenes in which the detector is sure of every one, at the size of the picture."""


@dataclass(frozen=True, eq=False)
class PlacedFaces:
    """What was put into a scene."""

    crops: RgbBatch
    """(N, S, S, 3): the faces at their full size."""
    scene_from_crop: list[Transform]

    def boxes_xyxy(self, detector: Detector) -> NDArray[np.float64]:
        """(N, 4): where the faces are in the scene, by the boxes that `detector` sees at full size.

        Raises:
            NoFaceError: it does not see one of them.
        """
        boxes = [
            _upright_box(scene_from_crop, _box(detector, crop))
            for crop, scene_from_crop in zip(self.crops, self.scene_from_crop, strict=True)
        ]
        return np.array(boxes).reshape(-1, 4)


def make_scene(faces: int, seed: int) -> tuple[RgbImage, PlacedFaces]:
    """A scene of at most 20 faces; the same arguments give the same pixels.

    Raises:
        BundleError: the default bundle's parity faces are damaged.
    """
    rng = np.random.default_rng([faces, seed])
    pixels, known = _background(rng), known_faces()
    crops = known[rng.choice(len(known), faces, replace=False)]
    cells = rng.choice(GRID[0] * GRID[1], faces, replace=False)
    places = [_place(rng, int(cell), crops.shape[1]) for cell in cells]
    for crop, scene_from_crop in zip(crops, places, strict=True):
        Person.of(crop).paste(pixels, scene_from_crop)
    return pixels, PlacedFaces(crops, places)


def _background(rng: np.random.Generator) -> RgbImage:
    width, height = SIZE_WH
    light = smooth_light(rng, SIZE_WH)
    light += GRAIN * rng.standard_normal((height, width, 1), np.float32)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _place(rng: np.random.Generator, cell: int, side: int) -> Transform:
    """scene_from_crop: a random size and a small turn, somewhere in a cell of the grid."""
    cell_wh = np.array(SIZE_WH) / GRID
    scale, angle = rng.uniform(*NATIVE_SIZES) / side, rng.normal(0, np.radians(5))
    corner = np.array(divmod(cell, GRID[1])) * cell_wh
    middle = corner + cell_wh / 2 + rng.uniform(-0.25, 0.25, 2) * cell_wh
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, middle - linear @ np.full(2, (side - 1) / 2)])


def _box(detector: Detector, crop: RgbImage) -> NDArray[np.float32]:
    if (face := largest(detector(crop))) is None:
        raise NoFaceError("the detector does not see one of the default bundle's parity faces; reinstall fsr-edge")
    return face.box_xyxy


def _upright_box(target_from_source: Transform, box_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    """A box of the same size as the turned one, about its middle: what a detector of upright boxes sees."""
    middle = transform_points(target_from_source, (box_xyxy[:2] + box_xyxy[2:]) / 2)
    half = (box_xyxy[2:] - box_xyxy[:2]) / 2 * np.hypot(*target_from_source[:, 0])
    return np.concatenate([middle - half, middle + half])
