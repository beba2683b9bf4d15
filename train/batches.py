"""Training batches from memory, a pure function of the seed and the step, so that a resumed run sees the same ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..runtime.errors import PackError
from ..runtime.pixels import RgbBatch


@dataclass(frozen=True)
class Draw:
    """Which faces a step sees and how: what else belongs to them (priors, teachers' outputs) follows it."""

    indices: NDArray[np.int64]
    """(B,) into the training faces."""
    mirrored: NDArray[np.bool_]
    """(B,) whether left and right are swapped."""


@dataclass
class FaceBatches:
    """Pairs of low- and high-resolution faces, shuffled anew every epoch and mirrored at random."""

    low: RgbBatch
    """(N, h, h, 3) uint8, the pair of `high` by index."""
    high: RgbBatch
    """(N, H, H, 3) uint8."""
    batch: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high):
            raise PackError(f"got {len(self.low)} low- and {len(self.high)} high-resolution faces, expected pairs")
        if not len(self.high):
            raise PackError("got no face to train on; look at the report of fsr-train prepare")
        self.batch = min(self.batch, len(self.high))
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Low and high faces of a step: float (B, 3, h, h) and (B, 3, H, H) in [0, 1], channels last in memory."""
        return self.take(self.draw(step))

    def take(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """The faces of a draw, as `__call__` gives them."""
        return faces_of(self.low, draw), faces_of(self.high, draw)

    def draw(self, step: int) -> Draw:
        """Which faces a step sees."""
        indices = self._indices(step)
        return Draw(indices, np.random.default_rng((self.seed, 1, step)).random(len(indices)) < 0.5)

    def _indices(self, step: int) -> NDArray[np.int64]:
        epoch, position = divmod(step, len(self.high) // self.batch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.high))
        return self._order[position * self.batch : (position + 1) * self.batch]


def faces_of(faces: RgbBatch, draw: Draw) -> Tensor:
    """uint8 (N, S, S, 3) RGB -> float (B, 3, S, S) in [0, 1], channels last in memory, as a draw has them."""
    chosen = faces[draw.indices]
    chosen[draw.mirrored] = chosen[draw.mirrored, :, ::-1]
    return to_floats(torch.from_numpy(chosen))


def to_floats(pixels: Tensor) -> Tensor:
    """uint8 (B, S, S, 3) -> float (B, 3, S, S) in [0, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)
