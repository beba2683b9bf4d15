"""Training batches from memory, a pure function of the seed and the step, so that a resumed run sees the same ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..runtime.errors import PackError, UsageError
from ..runtime.pixels import RgbBatch
from .device import CPU, has_room
from .processes import Crew

Faces = RgbBatch | Tensor
"""uint8 (N, S, S, 3) RGB, a tensor where they are in a GPU's memory."""


@dataclass(frozen=True)
class Draw:
    """Which faces a step sees and how: what else belongs to them (priors, teachers' outputs) follows it."""

    indices: NDArray[np.int64]
    """(B,) into the training faces."""
    mirrored: NDArray[np.bool_]
    """(B,) whether left and right are swapped."""


@dataclass
class FaceBatches:
    """Pairs of low- and high-resolution faces, shuffled anew every epoch and mirrored at random.

    Several processes draw the same batch and take a part of it each, so that no face comes twice in an epoch and the
    batches do not depend on how many they are.
    """

    low: RgbBatch
    """(N, h, h, 3) uint8, the pair of `high` by index."""
    high: RgbBatch
    """(N, H, H, 3) uint8."""
    batch: int
    """Faces a step, of all processes together; fewer if there are no more."""
    seed: int
    crew: Crew = field(default_factory=Crew)

    def __post_init__(self) -> None:
        count = self.crew.count
        if len(self.low) != len(self.high):
            raise PackError(f"got {len(self.low)} low- and {len(self.high)} high-resolution faces, expected pairs")
        if len(self.high) < count:
            few = f"{len(self.high)} faces for {count} processes" if len(self.high) else "no face to train on"
            raise PackError(f"got {few}; look at the report of fsr-train prepare")
        if self.batch % count:
            raise UsageError(f"--batch: got {self.batch} faces for {count} processes, expected a multiple of {count}")
        self.remarks: list[str] = []
        """What became of the settings."""
        asked, self.batch = self.batch, min(self.batch, len(self.high) // count * count)
        if self.batch < asked:
            self.remarks.append(f"a batch is {self.batch} faces, not {asked}: there are no more")
        self._epoch, self._order = -1, np.empty(0, np.int64)
        self._low, self._high = self._on_device()

    def _on_device(self) -> tuple[Faces, Faces]:
        """Both kinds of faces where batches are made of them: in a GPU's memory if they fit."""
        device, size = self.crew.device, self.low.nbytes + self.high.nbytes
        if device.type == "cpu":
            return self.low, self.high
        faces = f"{len(self.high)} training faces, {size / 1e9:.1f} GB,"
        if device.type == "cuda" and not has_room(device, size):
            self.remarks.append(f"the {faces} stay in the computer's memory: they do not fit on {device}")
            return self.low, self.high
        self.remarks.append(f"the {faces} are on {device}")
        return torch.from_numpy(self.low).to(device), torch.from_numpy(self.high).to(device)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Low and high faces of a step: float (B, 3, h, h) and (B, 3, H, H) in [0, 1], channels last in memory."""
        return self.take(self.draw(step))

    def take(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """The faces of a draw, as `__call__` gives them."""
        return faces_of(self._low, draw, self.crew.device), faces_of(self._high, draw, self.crew.device)

    def draw(self, step: int) -> Draw:
        """Which faces this process sees in a step."""
        indices, own = self._indices(step), self.crew.part(self.batch)
        mirrored = np.random.default_rng((self.seed, 1, step)).random(len(indices)) < 0.5
        return Draw(indices[own], mirrored[own])

    def _indices(self, step: int) -> NDArray[np.int64]:
        epoch, position = divmod(step, len(self.high) // self.batch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.high))
        return self._order[position * self.batch : (position + 1) * self.batch]


def faces_of(faces: Faces, draw: Draw, device: torch.device = CPU) -> Tensor:
    """Faces -> float (B, 3, S, S) in [0, 1] on `device`, channels last in memory, as a draw has them."""
    if isinstance(faces, Tensor):
        chosen = faces[torch.from_numpy(draw.indices).to(device)]
        mirrored = torch.from_numpy(draw.mirrored).to(device)[:, None, None, None]
        return to_floats(torch.where(mirrored, chosen.flip(2), chosen))
    chosen = faces[draw.indices]
    chosen[draw.mirrored] = chosen[draw.mirrored, :, ::-1]
    return to_floats(torch.from_numpy(chosen).to(device))


def to_floats(pixels: Tensor) -> Tensor:
    """uint8 (B, S, S, 3) -> float (B, 3, S, S) in [0, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)
