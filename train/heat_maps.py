"""Heat maps of five groups of landmarks, made from the mesh when they are wanted: two eyes, nose, mouth, contour."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .mesh import HEAT_GROUPS

GROUPS = tuple(HEAT_GROUPS)

USED = [point for group in HEAT_GROUPS.values() for point in group]

SIGMA = 1 / 32
"""Standard deviation as a share of the crop: one pixel of the 32x32 maps of DIC, four of a 128 px crop."""

SHARPNESS = 8
"""Order of the p-norm that stands in for the maximum over points."""

LEAST = -40.0
"""Log of what counts as nothing before the eighth root, .007 after it; smaller products are denormal, and slow."""


def heat_maps(landmarks: Tensor, crop_size: int, size: int) -> Tensor:
    """How near each pixel lies to the points of each group: float32 (B, 5, size, size) in [0, 1], 1 at a point.

    landmarks: float (B, P, 2) in pixels of crops of side `crop_size`; the mesh comes first.

    The groups are those of DIC (Ma et al., "Deep Face Super-Resolution with Iterative Collaboration between Attentive
    Recovery and Landmark Estimation", CVPR 2020), which sums the Gaussians of a group. Here the nearest counts, so that
    the values stay below 1: the p-norm of the Gaussians, p = 8, which is one matrix product as the sum is.
    """
    points = (landmarks[:, USED] + 0.5) * (size / crop_size) - 0.5  # pixel centres lie at integers
    sigma = SIGMA * size
    ticks = torch.arange(size, dtype=torch.float32, device=landmarks.device)
    exponents = (-SHARPNESS / (2 * sigma**2) * (ticks - points[..., None]) ** 2).clamp(min=2 * LEAST)  # (B, P, 2, size)
    sharp = functional.threshold(torch.exp(exponents), math.exp(LEAST), 0)
    x, y = sharp[:, :, 0], sharp[:, :, 1]
    counts = [len(group) for group in HEAT_GROUPS.values()]
    maps = [b.mT @ a for a, b in zip(x.split(counts, 1), y.split(counts, 1), strict=True)]
    return torch.stack(maps, 1).sqrt().sqrt().sqrt().clamp(max=1)  # the eighth root, faster than pow
