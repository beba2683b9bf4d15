"""Optimisation profiles: the shapes that a plan takes, and those that it is made fast for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...runtime.detect import STRIDES
from ...runtime.errors import UsageError
from ...runtime.look import LOOK_SIDE
from ...runtime.search import AROUND_SIDE, LOOK_BATCH, TILE_LONG

Shapes = list[list[int]]
"""Smallest, usual and largest, (N, H, W, 3)."""

USUAL_FRAME = (1280, 720)


@dataclass(frozen=True)
class Limits:
    """What plans must take."""

    batch: tuple[int, int, int] = (1, 4, 16)
    """Fewest, usual and most faces."""
    frame_wh: tuple[int, int] = (TILE_LONG, TILE_LONG)
    """Largest picture that the detector is shown at once; `search` cuts a frame into tiles, upright or lying."""

    def __post_init__(self) -> None:
        least, usual, most = self.batch
        if not 1 <= least <= usual <= most:
            raise UsageError(f"--batch: got {least},{usual},{most}, expected three numbers from 1 on that do not fall")
        if min(self.frame_wh) < 1:
            raise UsageError(f"--frame: got {self.frame_wh[0]}x{self.frame_wh[1]}, expected at least 1x1")

    @classmethod
    def parse(cls, batch: str, frame: str) -> Limits:
        """`1,4,16` and `1920x1080`; `UsageError` for anything else."""
        least, usual, most = _numbers("--batch", batch, ",", 3)
        width, height = _numbers("--frame", frame, "x", 2)
        return cls((least, usual, most), (width, height))


def model_profiles(side: int, limits: Limits) -> list[Shapes]:
    """Of a model that takes faces of `side` pixels: one profile, so that batches share kernels and memory."""
    return [[[faces, side, side, 3] for faces in limits.batch]]


def detector_profiles(limits: Limits) -> list[Shapes]:
    """Of the detector: one frame of any size, and closer looks in batches; in one profile it would need memory for
    batches of whole frames."""
    cell = STRIDES[-1]
    width, height = (-(-length // cell) * cell for length in limits.frame_wh)
    usual_width, usual_height = (-(-length // cell) * cell for length in USUAL_FRAME)
    frames = [[1, cell, cell, 3], [1, min(usual_height, height), min(usual_width, width), 3], [1, height, width, 3]]
    looks = [[1, AROUND_SIDE, AROUND_SIDE, 3], *[[LOOK_BATCH, LOOK_SIDE, LOOK_SIDE, 3]] * 2]
    return [frames, looks]


def _numbers(flag: str, text: str, separator: str, count: int) -> Sequence[int]:
    parts = text.split(separator)
    if len(parts) != count or not all(part.strip().isascii() and part.strip().isdecimal() for part in parts):
        example = separator.join(["1", "4", "16"] if count == 3 else ["1920", "1080"])
        raise UsageError(f"{flag}: got {text!r}, expected {count} numbers such as {example}")
    return [int(part) for part in parts]
