"""Distillation: what of a teacher a student imitates, how much, and for how long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.errors import CheckpointError, UsageError

PUBLISHED_SHARE = 11 / 400
"""Epochs in which KDFSRNet's student listens to its teacher."""


@dataclass(frozen=True)
class Decay:
    """Weights of the features' and the output's loss over the run, as KDFSRNet is published (see `networks.kdfsrnet`).

    There, of 400 epochs, epochs i = 0..10 add 10 (10 - i) / 10 times the features' loss and .1 times the output's; the
    rest is the loss against the original alone.
    """

    features: float = 10.0
    output: float = 0.1
    share: float = PUBLISHED_SHARE
    """Share of the run in which the teacher is listened to."""
    stairs: int = 11
    """Steps in which the features' weight falls to zero."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"--distill-share: got {self.share}, expected a share of the run from 0 to 1")
        for flag, weight in (("--feature-weight", self.features), ("--output-weight", self.output)):
            if not 0 <= weight < math.inf:
                raise UsageError(f"{flag}: got {weight}, expected a number of 0 or more")
        if self.stairs < 2:
            raise ValueError(f"stairs: got {self.stairs}, expected at least 2")

    def listens(self, share_done: float) -> bool:
        """Whether the teacher still counts after this share of the run."""
        return share_done < self.share

    def feature_weight(self, share_done: float) -> float:
        stair = int(share_done / self.share * self.stairs)
        return self.features * max(0, self.stairs - 1 - stair) / (self.stairs - 1)

    def output_weight(self, share_done: float) -> float:
        return self.output if self.listens(share_done) else 0.0


def feature_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], *, relative: bool = False) -> Tensor:
    """The mean over the layers of the mean absolute difference, (B, C, S, S) each.

    relative: to the teacher's mean absolute value, so that a weight means the same for every teacher.
    """
    pairs = zip(student, teacher, strict=True)
    losses = [F.l1_loss(s.float(), t.float()) / (t.float().abs().mean() if relative else 1) for s, t in pairs]
    return torch.stack(losses).mean()


def evenly(count: int, chosen: int) -> list[int]:
    """Indices of `chosen` of `count` layers at equal distances, the last among them."""
    return [(place + 1) * count // chosen - 1 for place in range(chosen)]


class Trainee(nn.Module):
    """A student with the parts that exist only in training."""

    def __init__(self, student: Any, adapters: nn.Module | None = None, prior_head: nn.Module | None = None) -> None:
        super().__init__()
        self.student = student
        """A network that has `with_features`."""
        self.adapters = adapters
        """From the student's features to what is compared with the teacher's."""
        self.prior_head = prior_head
        """From the student's last feature to the prior."""

    def forward(self, low: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The student's restored faces and features, of low ones, float (B, 3, h, h)."""
        return self.student.with_features(low)


class Adapters(nn.Module):
    """1x1 convolutions from some of a student's features, (B, c, S, S), to its teacher's channels, (B, C, S, S)."""

    def __init__(self, layers: Sequence[int], student: Sequence[int], teacher: Sequence[int]) -> None:
        """layers: whose features are taken; student, teacher: channels of each of them, there and here."""
        super().__init__()
        self.layers = tuple(layers)
        self.convolutions = nn.ModuleList(nn.Conv2d(s, t, 1) for s, t in zip(student, teacher, strict=True))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        return [convolution(features[layer]) for layer, convolution in zip(self.layers, self.convolutions, strict=True)]


def prior_head(channels: int, prior: int, upsample: int) -> nn.Sequential:
    """From features (B, channels, S, S) to the prior, (B, prior, upsample S, upsample S)."""
    convolution = nn.Conv2d(channels, prior * upsample**2, 3, padding=1)
    nn.init.normal_(convolution.weight, std=0.001)
    return nn.Sequential(convolution, nn.PixelShuffle(upsample))


def prior_loss(predicted: Tensor, prior: Tensor, reliable: Tensor) -> Tensor:
    """Mean squared error over the faces whose prior is reliable, bool (B,)."""
    squared = (predicted.float() - prior).square().mean((1, 2, 3))
    return (squared * reliable).sum() / reliable.sum().clamp(min=1)


def require_fit(name: str, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    """Refuse features that adapters cannot bring together: they change channels, never sizes.

    Raises:
        CheckpointError: heights or widths differ.
    """
    got, expected = ([tuple(feature.shape[2:]) for feature in features] for features in (teacher, student))
    if got != expected:
        raise CheckpointError(
            f"{name}: got features of {_listed(got)} px, expected {_listed(expected)} px as the student's; "
            "distil the output alone with --distill output"
        )


def _listed(sizes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(dict.fromkeys("x".join(map(str, size)) for size in sizes))
