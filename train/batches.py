"""Training batches from memory, a pure function of the seed and the step, so that a resumed run sees the same ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..runtime.errors import PackError
from ..runtime.pixels import RgbBatch


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
        indices = self._indices(step)
        mirrored = np.random.default_rng((self.seed, 1, step)).random(len(indices)) < 0.5
        return self._take(self.low, indices, mirrored), self._take(self.high, indices, mirrored)

    def _indices(self, step: int) -> np.ndarray:
        epoch, position = divmod(step, len(self.high) // self.batch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.high))
        return self._order[position * self.batch : (position + 1) * self.batch]

    @staticmethod
    def _take(faces: RgbBatch, indices: np.ndarray, mirrored: np.ndarray) -> Tensor:
        chosen = faces[indices]
        chosen[mirrored] = chosen[mirrored, :, ::-1]
        return torch.from_numpy(chosen).permute(0, 3, 1, 2).float().div_(255)
