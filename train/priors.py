"""Facial priors of a pack: what a teacher sees beside the low face, and what a multitask student predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..runtime.errors import PackError
from .device import CPU
from .heat_maps import GROUPS, heat_maps
from .pack import PRIORS, PackInfo, read_prior
from .part_map import PARTS

CHANNELS = (*PARTS, *GROUPS)
"""Names of the channels of `prior_channels`: seven parts, five heat maps."""


@dataclass(frozen=True, eq=False)
class Priors:
    """Priors of N faces whose crops have side S, in the order of the pixels."""

    landmarks: NDArray[np.float16]
    """(N, 483, 2): x and y in pixels of the crop; the 478 points of `mesh`, then the detector's five."""
    part_map: NDArray[np.uint8]
    """(N, S, S): numbers of `part_map.PARTS`."""
    blendshapes: NDArray[np.float16]
    """(N, 16) in [0, 1]: activation of each of `landmarker.ACTION_UNITS`, as far as blendshapes tell."""
    reliable: NDArray[np.bool_]
    """(N,): the mesh agrees with the detector. The others belong in no prior loss."""

    def __len__(self) -> int:
        return len(self.reliable)

    def take(self, indices: NDArray[np.integer]) -> Priors:
        """The priors of these faces."""
        return Priors(*(getattr(self, name)[indices] for name in PRIORS))


def require_priors(packs: Sequence[PackInfo]) -> None:
    """Refuse packs that were prepared without priors.

    Raises:
        PackError: one has none.
    """
    for pack in packs:
        if pack.priors is None:
            raise PackError(
                f"{pack.path}: got a pack without facial priors; "
                "make it again with fsr-train prepare --priors --landmarker FILE"
            )


def read_priors(packs: PackInfo | Sequence[PackInfo], split: str) -> Priors:
    """The priors of one split, of several packs one after the other, checked against the packs' hashes.

    Raises:
        PackError: a pack has none, or they are damaged.
    """
    packs = [packs] if isinstance(packs, PackInfo) else packs
    require_priors(packs)

    return Priors(*(np.concatenate([read_prior(pack, split, name) for pack in packs]) for name in PRIORS))


def prior_channels(
    priors: Priors,
    indices: NDArray[np.integer],
    mirrored: NDArray[np.bool_],
    size: int,
    device: torch.device = CPU,
) -> Tensor:
    """The priors of a batch as a picture: float32 (B, 12, size, size) in [0, 1] on `device`, channels as in `CHANNELS`.

    Parts are the share of each pixel's area that they cover, so that they sum to 1. A mirrored face has its right eye's
    heat map in the left one's place, as its person would have. A face that is not reliable is 0 in every channel.

    indices: (B,); mirrored: (B,), faces to flip from left to right.
    """
    labels = torch.from_numpy(priors.part_map[indices]).to(device)
    parts = (labels[:, None] == torch.arange(len(PARTS), dtype=torch.uint8, device=device)[:, None, None]).float()
    landmarks = torch.from_numpy(priors.landmarks[indices]).to(device).float()
    maps = torch.cat([_resized(parts, size), heat_maps(landmarks, priors.part_map.shape[1], size)], 1)
    # By number: a GPU would stand still until it knew how many there are of a mask.
    flip = torch.from_numpy(np.flatnonzero(mirrored)).to(device)
    maps[flip] = maps[flip].flip(3)[:, [CHANNELS.index(MIRRORED.get(name, name)) for name in CHANNELS]]
    maps[torch.from_numpy(np.flatnonzero(~priors.reliable[indices])).to(device)] = 0
    return maps


MIRRORED = {"right eye": "left eye", "left eye": "right eye"}
"""What a channel shows of a mirrored face."""


def _resized(maps: Tensor, size: int) -> Tensor:
    """(B, C, S, S) to (B, C, size, size): areas where it shrinks, bilinear where it grows."""
    if size == maps.shape[-1]:
        return maps
    if size > maps.shape[-1]:
        return functional.interpolate(maps, (size, size), mode="bilinear")
    return functional.interpolate(maps, (size, size), mode="area")
