"""Follow faces from one frame to the next, and look at them again.

Each face is cut out as a small grey view, where it is expected. Optical flow (pyramidal Lucas-Kanade; Bouguet 2000)
between its views moves the face by a similarity; every few frames the detector looks at it anew, enlarged, and a part
of the difference is taken over. So the landmarks move with the face at once, for the flow has no memory, and what the
detector errs from look to look is smoothed away.

Measured on 13 faces of `test://`, 36 to 56 px, 58 frames, a look in every fifth: from frame to frame the alignment of
what is detected anew in every frame jumps by .052 of the eye distance (root mean square), that of what is followed
here by .006.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .detect import Detector, Face
from .geometry import similarity_transforms
from .look import look_at
from .one_euro import gain
from .pixels import RgbImage
from .search import LOOK_BATCH, moved, same_face

VIEW_SIDE, VIEW_FACE = 64, 40
"""Side of the grey view of a face, and width of the face in it."""
GRID = np.stack(np.meshgrid([-0.3, 0.0, 0.3], [-0.3, 0.0, 0.3]), -1).reshape(-1, 2)
"""(9, 2): where the flow is taken, from the middle of the box in multiples of its side."""
TRUSTED = 6
"""Of those nine, the ones that agree best move the face: the others may lie on what is behind it."""
WINDOW, LEVELS = (15, 15), 2
STEADY = 4.0
"""Pixels of the view by which the trusted points may disagree; more is no motion of one face."""
LARGEST_CHANGE = 1.25
"""Of a face's size from one frame to the next."""


@dataclass(frozen=True, eq=False)
class Sights:
    """N faces of one frame, as they are known after it; arrays of N rows."""

    boxes_xyxy: NDArray[np.float64]
    """(N, 4), of the shape that they had when they were found."""
    landmarks: NDArray[np.float64]
    """(N, 5, 2)."""
    velocities: NDArray[np.float64]
    """(N, 2), pixels a second."""
    view_from_frame: NDArray[np.float64]
    """(N, 2, 3)."""
    views: NDArray[np.uint8]
    """(N, VIEW_SIDE, VIEW_SIDE), grey."""
    missed: NDArray[np.intp]
    """(N,): looks in a row that did not see the face."""

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def take(self, which: Sequence[int] | NDArray[np.intp]) -> Sights:
        return Sights(*(getattr(self, name)[np.asarray(which, np.intp)] for name in _FIELDS))

    def with_more(self, other: Sights) -> Sights:
        return Sights(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in _FIELDS))

    @property
    def centres(self) -> NDArray[np.float64]:
        return (self.boxes_xyxy[:, :2] + self.boxes_xyxy[:, 2:]) / 2

    def face(self, number: int, score: float) -> Face:
        return Face(self.boxes_xyxy[number].astype(np.float32), self.landmarks[number].astype(np.float32), score)


_FIELDS = tuple(Sights.__dataclass_fields__)


def begin(frame: RgbImage, faces: Sequence[Face]) -> Sights:
    """Start to follow `faces` from this frame on."""
    boxes = np.array([face.box_xyxy for face in faces], np.float64).reshape(-1, 4)
    landmarks = np.array([face.landmarks for face in faces], np.float64).reshape(-1, 5, 2)
    looks = view_transforms(boxes)
    count = len(boxes)
    return Sights(boxes, landmarks, np.zeros((count, 2)), looks, grey_views(frame, looks), np.zeros(count, np.intp))


def follow(frame: RgbImage, before: Sights, closer: Detector, seconds: float, due: Sequence[int] = ()) -> Sights:
    """`before`, found in a frame so many seconds away, in this one; the detector looks at those numbered in `due`."""
    if not len(before):
        return before
    shifts = seconds * before.velocities
    looks = view_transforms(before.boxes_xyxy + np.tile(shifts, 2))
    views = grey_views(frame, looks)
    motions = _motions(before, shifts, looks, views)
    landmarks, boxes = _apply(motions, before.landmarks), _moved_boxes(before, motions)
    missed = before.missed.copy()
    for number, seen in zip(due, _looks(frame, boxes, landmarks, due, closer), strict=True):
        missed[number] = 0 if seen is not None else missed[number] + 1
        if seen is not None:
            share = gain(landmarks[number], seen.landmarks)
            landmarks[number] += share * (seen.landmarks - landmarks[number])
            boxes[number] += share * (seen.box_xyxy - boxes[number])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return Sights(boxes, landmarks, (centres - before.centres) / seconds, looks, views, missed)


def view_transforms(boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2, 3) view_from_frame: each box in the middle of its view."""
    sides = np.sqrt((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1))
    scales = VIEW_FACE / np.maximum(sides, 1)
    shifts = (VIEW_SIDE - 1) / 2 - scales[:, None] * (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    return np.concatenate([scales[:, None, None] * np.eye(2), shifts[..., None]], 2)


def grey_views(frame: RgbImage, view_from_frame: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(N, VIEW_SIDE, VIEW_SIDE): the green of each, which is nearest to grey and costs no arithmetic."""
    views = np.empty((len(view_from_frame), VIEW_SIDE, VIEW_SIDE), np.uint8)
    height, width = frame.shape[:2]
    scales = view_from_frame[:, 0, 0]
    first = np.floor(-view_from_frame[:, :, 2] / scales[:, None]).astype(int) - 1
    last = first + np.ceil(VIEW_SIDE / scales)[:, None].astype(int) + 3
    # At least one pixel, for a face that is expected outside the picture.
    first = np.clip(first, 0, [width - 1, height - 1])
    last = np.clip(last, first + 1, [width, height])
    shifted = view_from_frame.copy()
    shifted[:, :, 2] += scales[:, None] * first
    for view, transform, (left, top), (right, bottom) in zip(views, shifted, first, last, strict=True):
        green = np.ascontiguousarray(frame[top:bottom, left:right, 1])
        cv2.warpAffine(green, transform, (VIEW_SIDE, VIEW_SIDE), dst=view, borderMode=cv2.BORDER_REPLICATE)
    return views


def _motions(
    before: Sights, shifts: NDArray[np.float64], looks: NDArray[np.float64], views: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """(N, 2, 3): how each face moved from its frame to this one; by `shifts`, (N, 2), where the flow is of no use."""
    sides = np.sqrt((before.boxes_xyxy[:, 2:] - before.boxes_xyxy[:, :2]).prod(1))
    points = before.centres[:, None] + GRID * sides[:, None, None]  # (N, 9, 2)
    # All views are one tall picture, so that one call does for all faces.
    down = np.stack([np.zeros(len(before)), np.arange(len(before)) * VIEW_SIDE], 1)[:, None]
    start = (_apply(before.view_from_frame, points) + down).astype(np.float32)
    guess = (_apply(looks, points + shifts[:, None]) + down).astype(np.float32)
    end, _, _ = cv2.calcOpticalFlowPyrLK(
        before.views.reshape(-1, VIEW_SIDE),
        views.reshape(-1, VIEW_SIDE),
        start.reshape(-1, 1, 2),
        guess.reshape(-1, 1, 2),
        winSize=WINDOW,
        maxLevel=LEVELS,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    scales = looks[:, 0, 0]
    here = (end.reshape(start.shape) - down - looks[:, None, :, 2]) / scales[:, None, None]
    everywhere = similarity_transforms(points, here)
    errors = np.hypot(*np.moveaxis(_apply(everywhere, points) - here, -1, 0))  # (N, 9)
    best = np.argsort(errors, 1)[:, :TRUSTED, None]
    points, here = np.take_along_axis(points, best, 1), np.take_along_axis(here, best, 1)
    motions = similarity_transforms(points, here)
    errors = np.hypot(*np.moveaxis(_apply(motions, points) - here, -1, 0)).max(1)
    change = np.sqrt(np.abs(np.linalg.det(motions[:, :, :2])))
    lost = (errors * scales > STEADY) | (change > LARGEST_CHANGE) | (change < 1 / LARGEST_CHANGE)
    motions[lost, :, :2], motions[lost, :, 2] = np.eye(2), shifts[lost]
    return motions


def _looks(
    frame: RgbImage,
    boxes: NDArray[np.float64],
    landmarks: NDArray[np.float64],
    due: Sequence[int],
    closer: Detector,
) -> list[Face | None]:
    """What the detector sees in the place of each face that is due; turned by quarters as the face is."""
    found: list[Face | None] = []
    for first in range(0, len(due), LOOK_BATCH):
        part = due[first : first + LOOK_BATCH]
        looks = (look_at(frame, boxes[n], quarters=quarters_of(landmarks[n])) for n in part)
        views, frame_from_view = zip(*looks, strict=True)
        for number, back, faces in zip(part, frame_from_view, closer.in_batch(np.stack(views)), strict=True):
            expected = Face(boxes[number].astype(np.float32), landmarks[number].astype(np.float32), 0.0)
            found.append(same_face(expected, [moved(face, back) for face in faces]))
    return found


def quarters_of(landmarks: NDArray[np.float64]) -> int:
    """Turns of 90 degrees anticlockwise that bring the eyes nearest level."""
    eyes = landmarks[1] - landmarks[0]
    return round(float(np.arctan2(eyes[1], eyes[0])) / (np.pi / 2)) % 4


def _moved_boxes(before: Sights, motions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upright boxes about the moved middle, grown as the face."""
    grown = np.sqrt(np.abs(np.linalg.det(motions[:, :, :2])))[:, None]
    middle = _apply(motions, before.centres[:, None])[:, 0]
    half = grown * (before.boxes_xyxy[:, 2:] - before.boxes_xyxy[:, :2]) / 2
    return np.hstack([middle - half, middle + half])


def _apply(target_from_source: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2, 3) on (N, K, 2)."""
    return points @ target_from_source[:, :, :2].swapaxes(1, 2) + target_from_source[:, None, :, 2]
