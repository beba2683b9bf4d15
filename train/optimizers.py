"""Optimizers by name, each from a network and the loop's settings; and what each kind of network is used to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from .loop import LoopConfig, make_optimizers

Optimizers = Callable[[nn.Module, LoopConfig], list[torch.optim.Optimizer]]


def adam(network: nn.Module, config: LoopConfig) -> list[torch.optim.Optimizer]:
    """Adam alone, as KDFSRNet is published."""
    return [torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))]


OPTIMIZERS: Mapping[str, Optimizers] = MappingProxyType({"muon": make_optimizers, "adam": adam})


@dataclass(frozen=True)
class Settings:
    """How the weights are moved."""

    optimizer: str
    learning_rate: float
    batch: int


PUBLISHED = Settings("adam", 1e-4, 8)
"""As KDFSRNet is published; that the rate falls by half a cosine is the loop's."""

USUAL = Settings("muon", 2e-3, 32)
"""As edge networks are trained here."""

NARROW_RATE = 6e-3
"""Of tier S. 600 steps from nothing gave it 1.82 dB at 2e-3, 2.08 at 6e-3 and 1.99 at 12e-3; tier M lost .03 dB with
updates of about three times the size."""


def edge_rate(tier: str) -> float:
    """Highest learning rate of an edge student."""
    return NARROW_RATE if tier == "S" else USUAL.learning_rate


def usual(network: str, optimizer: str | None, learning_rate: float | None, batch: int | None) -> Settings:
    """What is given, the rest as usual for the network of that name."""
    default = PUBLISHED if network == "kdfsrnet" else USUAL
    return Settings(
        default.optimizer if optimizer is None else optimizer,
        default.learning_rate if learning_rate is None else learning_rate,
        default.batch if batch is None else batch,
    )
