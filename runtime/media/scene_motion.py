"""How a face of the test scene moves: to and fro in a part of the picture of its own, some of them out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..geometry import Transform
from .scene_people import SIDE

NATIVE_SIZES = (36.0, 56.0)
"""Sides of the crops as they lie in a frame, in pixels; the faces are about .7 of that wide."""
SHARES_OF_SPEED = (1.0, 0.5, 0.0, 0.75, 0.25)
"""Of the scene's speed, face by face: one stands still."""
LEAVERS = (0, 3)
"""Which of five."""
TURN = math.radians(6)
BREATH = 0.08
"""Share by which a face grows and shrinks."""


@dataclass(frozen=True)
class Path:
    """Of one face through one shot; all in pixels and radians a frame."""

    middle: tuple[float, float]
    reach: tuple[float, float]
    """Farthest from the middle, across and down."""
    pace: tuple[float, float]
    phase: tuple[float, float]
    side: float
    leaves_at: float | None
    """Phase at which it is out of the picture; None: it never leaves."""

    def frame_from_crop(self, time: float) -> Transform:
        """Where the crop lies after `time` frames."""
        across, down = self._phases(time)
        centre = (
            self.middle[0] + self.reach[0] * math.cos(across),
            self.middle[1] + self.reach[1] * math.sin(down),
        )
        scale = self.side / SIDE * (1 + BREATH * math.sin(across / 2))
        angle = TURN * math.sin(down / 2)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        return np.column_stack([linear, np.array(centre) - linear @ np.full(2, (SIDE - 1) / 2)])

    def appearance(self, time: float) -> int:
        """How many times it has been out of the picture."""
        if self.leaves_at is None:
            return 0
        return math.floor((self._phases(time)[0] - self.leaves_at) / math.tau) + 1

    def _phases(self, time: float) -> tuple[float, float]:
        return self.pace[0] * time + self.phase[0], self.pace[1] * time + self.phase[1]


def plan(rng: np.random.Generator, faces: int, size_wh: tuple[int, int], speed: float) -> list[Path]:
    """A path for each face, no two of which meet; speed: of the fastest, in pixels a frame."""
    columns = math.ceil(math.sqrt(faces * size_wh[0] / size_wh[1]) - 0.5) or 1
    rows = math.ceil(faces / columns)
    return [
        _path(rng, number, (number % columns, number // columns), (columns, rows), size_wh, speed)
        for number in range(faces)
    ]


def _path(
    rng: np.random.Generator,
    number: int,
    cell: tuple[int, int],
    grid: tuple[int, int],
    size_wh: tuple[int, int],
    speed: float,
) -> Path:
    """In a cell of the grid; the fast faces of the outer columns go beyond the edge."""
    width, height = size_wh[0] / grid[0], size_wh[1] / grid[1]
    side = min(float(rng.uniform(*NATIVE_SIZES)), 0.6 * min(width, height))
    left, right = cell[0] * width + side, (cell[0] + 1) * width - side
    share, leaves_at = SHARES_OF_SPEED[number % len(SHARES_OF_SPEED)], None
    if number % 5 in LEAVERS and cell[0] == 0:
        left, leaves_at = -1.2 * side, math.pi
    elif number % 5 in LEAVERS and cell[0] == grid[0] - 1:
        right, leaves_at = size_wh[0] + 1.2 * side, 0.0
    reach = (max(right - left, 1.0) / 2, max((height - 2 * side) / 2, 1.0))
    middle = ((left + right) / 2, (cell[1] + 0.5) * height)
    pace = (0.9 * speed * share / reach[0], 0.4 * speed * share / reach[1])
    across, down = rng.uniform(0, math.tau, 2).tolist()
    # In the middle of the picture at first, so that a scene begins with all of its faces.
    start = across if leaves_at is None else math.pi / 2 + (math.pi if rng.random() < 0.5 else 0)
    return Path(middle, reach, pace, (start, down), side, leaves_at)
