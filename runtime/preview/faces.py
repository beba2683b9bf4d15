"""The faces of a frame for the page: a strip of tiles, before above after, and what is said of each."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ..align import RESTORED, RestoredFace
from ..pixels import RgbImage
from ..runs.frame_work import FrameResult

TILE = 112
"""Side of a tile in pixels."""
MOST = 12
"""Faces in the strip: those with the lowest ids, which are the oldest."""


def face_strip(result: FrameResult) -> tuple[list[dict[str, Any]], RgbImage | None]:
    """What is said of each face, and uint8 (2 TILE, N TILE, 3) RGB; None without a face.

    Above is what the camera saw, enlarged; below what came of it.
    """
    faces = sorted(result.restored.faces, key=_order)[:MOST]
    if not faces:
        return [], None
    columns = [np.vstack(_tiles(face, result)) for face in faces]
    return [_said(face) for face in faces], np.hstack(columns)


def _order(face: RestoredFace) -> tuple[bool, float]:
    """By id where it has one, which keeps its place in the strip; else from left to right."""
    return face.track is None, float(face.face.box_xyxy[0]) if face.track is None else face.track


def _said(face: RestoredFace) -> dict[str, Any]:
    return {
        "id": face.track,
        "size": round(float(face.native_size)),
        "restored": face.decision == RESTORED,
        "note": f"{face.decision} by {face.model}" if face.decision == RESTORED else face.decision,
        "box": [round(float(side), 1) for side in face.face.box_xyxy],
    }


def _tiles(face: RestoredFace, result: FrameResult) -> tuple[RgbImage, RgbImage]:
    if face.low is not None and face.restored is not None:
        return _tile(face.low), _tile(face.restored)
    seen = _tile(_square(result.frame.pixels, face))
    return seen, seen


def _square(frame: RgbImage, face: RestoredFace) -> RgbImage:
    """What the frame shows of a face that was left: a square about its box, at least a pixel."""
    left, top, right, bottom = face.face.box_xyxy.astype(float).tolist()
    x, y, half = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top, 2) * 0.6
    height, width = frame.shape[:2]
    first_x, first_y = int(np.clip(x - half, 0, width - 1)), int(np.clip(y - half, 0, height - 1))
    last_x, last_y = int(np.clip(x + half, first_x + 1, width)), int(np.clip(y + half, first_y + 1, height))
    return frame[first_y:last_y, first_x:last_x]


def _tile(picture: RgbImage) -> RgbImage:
    kernel = cv2.INTER_AREA if len(picture) > TILE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (TILE, TILE), interpolation=kernel), np.uint8)
