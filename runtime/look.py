"""Cut out a square around a face and bring it to the size of a closer look.

To a fraction of a pixel: whole ones would take a quarter of the time, but landmarks would jump where a box moves a
little, as from frame to frame or in INT8.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Transform, compose, invert, scaling
from .pixels import RgbImage

LOOK_SIDE, LOOK_FACE = 96, 64
"""Side of the square, and width of the face in it."""


def look_at(
    frame: RgbImage, box_xyxy: NDArray[np.floating], side: int = LOOK_SIDE, quarters: int = 0
) -> tuple[RgbImage, Transform]:
    """The (side, side, 3) view of a face in the middle of its square, and frame_from_view.

    box_xyxy: in frame pixels; beyond the frame its last pixels go on. quarters: turns of 90 degrees anticlockwise.
    """
    x0, y0, x1, y1 = box_xyxy.tolist()
    size = LOOK_SIDE / LOOK_FACE * max((x1 - x0) * (y1 - y0), 1) ** 0.5
    frame_from_view = scaling(size / side)
    frame_from_view[:, 2] += (x0 + x1 - size + 1) / 2, (y0 + y1 - size + 1) / 2
    return turned(sample(frame, invert(frame_from_view), (side, side)), frame_from_view, quarters)


def sample(frame: RgbImage, target_from_frame: Transform, size_wh: tuple[int, int]) -> RgbImage:
    """Enlarge a part of the frame for the detector: linear samples serve it as well as finer ones, and cost less."""
    view = cv2.warpAffine(frame, target_from_frame, size_wh, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(view, np.uint8)


def turned(view: RgbImage, frame_from_view: Transform, quarters: int) -> tuple[RgbImage, Transform]:
    """A square view and its transform, turned anticlockwise."""
    if not quarters % 4:
        return view, frame_from_view
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters % 4]
    turn, middle = np.array([[cosine, -sine], [sine, cosine]], float), (len(view) - 1) / 2
    back = np.hstack([turn, (middle - turn.sum(1) * middle)[:, None]])
    return np.rot90(view, quarters), compose(frame_from_view, back)
