"""What the detector is given, as tiles of one size: parts of real pictures, and small faces side by side.

Both are what `FaceSearch` hands to the detector, taken down on the way. The first half are parts of the pictures'
largest views, about a face. The other half are views of group pictures laid out of shrunk portraits, for the portraits
that sets are made of have no small faces, which the search is for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..runtime.detect import Detector, Face
from ..runtime.engines import Network
from ..runtime.geometry import Landmarks, resize
from ..runtime.options import RestoreOptions
from ..runtime.pixels import RgbImage
from ..runtime.search import DETECTABLE, FaceSearch
from ..runtime.tiles import tile

SIDE = 384
"""Of a tile in pixels: a multiple of the detector's largest stride."""
COUNT = 64
MIN_FACE = RestoreOptions().min_face
GROUP = round(SIDE * MIN_FACE / DETECTABLE)
"""Side of a group picture: the search brings it to just one tile."""
THUMBNAIL = 64
"""Side of a shrunk portrait; half of the group pictures have them at this size, half at half of it."""
ROOM = 3.0
"""Side of the square about a face that a portrait is cut to, in widths of the face."""


class WatchedDetector(Detector):
    """Takes down every view that it is given with the faces found there; of one frame, by one thread."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.views: list[tuple[RgbImage, list[Face]]] = []

    def __call__(self, frame: RgbImage, score_threshold: float | None = None) -> list[Face]:
        faces = super().__call__(frame, score_threshold)
        self.views.append((frame, faces))
        return faces


def detector_view(network: Network, frame: RgbImage) -> RgbImage:
    """(SIDE, SIDE, 3) of the view of a frame in which the surest face is found, about that face.

    A frame too small to fill a tile is continued by its mirror image.
    """
    watched = WatchedDetector(network)
    FaceSearch(watched, MIN_FACE)(_at_least(frame, GROUP))
    view, faces = max(watched.views, key=lambda seen: max((face.score for face in seen[1]), default=0.0))
    middle = faces[0].centre if faces else np.array(view.shape[1::-1]) / 2
    return _window(view, middle)


def portrait(image: RgbImage, landmarks: Landmarks, face_width: float) -> RgbImage:
    """(THUMBNAIL, THUMBNAIL, 3): the square about a face, with some room, as large as the picture allows."""
    side = int(min(*image.shape[:2], max(ROOM * face_width, 1)))
    left, top = (
        int(np.clip(round(centre - side / 2), 0, length - side))
        for centre, length in zip(np.mean(landmarks, 0), image.shape[1::-1], strict=True)
    )
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    return resize(square, (THUMBNAIL, THUMBNAIL))


def group_views(network: Network, portraits: Sequence[RgbImage], count: int, seed: int) -> list[RgbImage]:
    """(SIDE, SIDE, 3) each: the detector's views of `count` group pictures of portraits drawn by `seed`."""
    rng, views = np.random.default_rng(seed), []
    for number in range(count):
        size = THUMBNAIL >> (number % 2)
        columns = GROUP // size
        drawn = rng.integers(len(portraits), size=columns**2)
        group = tile(np.stack([resize(portraits[index], (size, size)) for index in drawn]), columns)
        views.append(detector_view(network, group))
    return views


def _at_least(frame: RgbImage, side: int) -> RgbImage:
    bottom, right = (max(0, side - length) for length in frame.shape[:2])
    return np.pad(frame, ((0, bottom), (0, right), (0, 0)), mode="symmetric") if bottom or right else frame


def _window(view: RgbImage, middle_xy: np.ndarray) -> RgbImage:
    """The part of a view about a point; zeros right and below where the view is smaller, as the detector pads."""
    left, top = (
        int(np.clip(round(float(at) - SIDE / 2), 0, max(0, length - SIDE)))
        for at, length in zip(middle_xy, view.shape[1::-1], strict=True)
    )
    part = view[top : top + SIDE, left : left + SIDE]
    window = np.zeros((SIDE, SIDE, 3), np.uint8)
    window[: part.shape[0], : part.shape[1]] = part
    return window
