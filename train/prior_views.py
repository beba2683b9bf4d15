"""What a network sees of a facial prior: every channel of it, or a picture of three colours as KDFSRNet does."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ..runtime.errors import CheckpointError
from .part_map import PARTS
from .priors import CHANNELS, Priors, prior_channels

PALETTE = MappingProxyType(
    {
        "background": (0.0, 0.0, 0.0),
        "skin": (1.0, 0.5, 0.0),
        "brows": (0.0, 1.0, 0.0),
        "eyes": (0.0, 0.0, 1.0),
        "nose": (1.0, 1.0, 0.0),
        "lips": (1.0, 0.0, 0.5),
        "mouth": (0.5, 0.0, 1.0),
    }
)
"""Colour of every part, far from each other."""

VIEWS = MappingProxyType({"rendered": 3, "channels": len(CHANNELS)})
"""Channels of each view. rendered: the part map in the colours of `PALETTE`; channels: parts and heat maps."""


def view(maps: Tensor, channels: int) -> Tensor:
    """`priors.prior_channels`, (B, 12, S, S), as the view of so many channels: float (B, channels, S, S) in [0, 1]."""
    if channels == len(CHANNELS):
        return maps
    colours = torch.tensor([PALETTE[part] for part in PARTS], device=maps.device)
    return torch.einsum("bpyx,pc->bcyx", maps[:, : len(PARTS)], colours)


def plain_views(priors: Priors, channels: int, size: int) -> Callable[[range], Tensor]:
    """The view of faces by their indices, none mirrored: what a validation shows."""

    def of(faces: range) -> Tensor:
        return view(prior_channels(priors, np.array(faces), np.zeros(len(faces), bool), size), channels)

    return of


def require_view(channels: int, name: str) -> None:
    """Refuse a network made for priors of another kind.

    Raises:
        CheckpointError: no view has so many channels.
    """
    if channels not in VIEWS.values():
        known = ", ".join(map(str, VIEWS.values()))
        raise CheckpointError(f"{name}: got a prior of {channels} channels, expected one of {known}")
