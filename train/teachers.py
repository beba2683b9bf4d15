"""Trained networks that teach: opened, checked against the student, and frozen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime.errors import CheckpointError
from .checkpoint import Checkpoint, load_checkpoint
from .prior_views import require_view, view


@dataclass(frozen=True)
class Teacher:
    """A frozen network and where it came from."""

    path: Path
    sha256: str
    """Of the checkpoint file."""
    checkpoint: Checkpoint
    network: nn.Module

    @property
    def prior(self) -> int:
        """Channels of the prior that it sees; 0 for none."""
        return getattr(self.network.config, "prior", 0)

    @property
    def prior_size(self) -> int:
        """Side of the prior that it sees, in pixels."""
        return self.network.config.prior_size  # pyright: ignore[reportReturnType, reportAttributeAccessIssue]

    @torch.no_grad()
    def __call__(self, low: Tensor, maps: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Restored faces and features, without gradients.

        maps: `priors.prior_channels` at `prior_size`, for a teacher that sees a prior.
        """
        network: Any = self.network
        return network.with_features(low) if maps is None else network.with_features(low, view(maps, self.prior))


def open_teacher(path: Path) -> Teacher:
    """Read a checkpoint as a teacher.

    Raises:
        CheckpointError: as `load_checkpoint` says, or it sees a prior of an unknown kind.
    """
    checkpoint = load_checkpoint(path)
    network = checkpoint.build().requires_grad_(False)
    teacher = Teacher(path, hashlib.sha256(path.read_bytes()).hexdigest(), checkpoint, network)
    if teacher.prior:
        require_view(teacher.prior, str(path))
    return teacher


def require_same_task(teacher: Teacher, input_size: int, scale: int, framing: str) -> None:
    """Refuse a teacher that restores other faces than its student.

    Raises:
        CheckpointError: another input size, scale or framing.
    """
    config: Any = teacher.network.config
    got, expected = (config.input_size, config.scale), (input_size, scale)
    if got != expected:
        raise CheckpointError(
            f"{teacher.path}: got a teacher of {got[0]} px x {got[1]}, expected {expected[0]} px x {expected[1]} "
            "as the student"
        )
    if teacher.checkpoint.framing != framing:
        raise CheckpointError(
            f"{teacher.path}: got a teacher of {teacher.checkpoint.framing} framing, expected {framing} as the packs"
        )
