"""Losses by name, each of restored and original faces, float (N, 3, H, H) in [0, 1], to a scalar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor


def l1(restored: Tensor, high: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (restored - high).abs().mean()


def negative_psnr(restored: Tensor, high: Tensor) -> Tensor:
    """Minus the mean over the faces of their PSNR in dB over RGB, divided by 100: what tables average.

    Used by Chen et al. 2021, "HINet: Half Instance Normalization Network for Image Restoration".
    """
    squared = (restored - high).square().mean((1, 2, 3))
    return torch.log10(squared + 1e-8).mean() / 10


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType({"l1": l1, "psnr": negative_psnr})
