"""KDFSRNet: a U-net of residual channel-attention blocks at the size of the output, as teacher and as student.

Wang, Jiang, Zhong, Liu, "Propagating Facial Prior Knowledge for Multitask Learning in Face Super-Resolution", IEEE
TCSVT 32(11), 2022, doi 10.1109/TCSVT.2022.3181828. Written anew from the paper's description: head, four stages
downwards, a bottleneck, four stages upwards, tail, 64 channels throughout, neither skips nor a global residual.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...runtime.errors import UsageError

CHANNELS = 64
REDUCTION = 16
LEVELS = 4
BLOCKS = MappingProxyType({"teacher": 2, "student": 6})
"""Residual blocks a stage. The student is the larger: what the teacher has more of is knowledge, not weights."""


@dataclass(frozen=True)
class KdfsrConfig:
    """The shape of a KDFSRNet."""

    input_size: int
    """Side of the low-resolution crop in pixels."""
    scale: int
    """Magnification."""
    blocks: int = BLOCKS["student"]
    """Residual blocks in each of the nine stages."""
    prior: int = 0
    """Channels of the facial prior that the network sees beside the face; 0 for a student."""

    def __post_init__(self) -> None:
        if self.input_size < 1 or self.scale < 1 or self.output_size % 2**LEVELS:
            raise UsageError(
                f"--scale: got {self.input_size} px x {self.scale} = {self.output_size} px, "
                f"expected an output of a multiple of {2**LEVELS} px"
            )
        if self.blocks < 1:
            raise UsageError(f"--blocks: got {self.blocks}, expected at least 1")
        if self.prior < 0:
            raise UsageError(f"got {self.prior} channels of a prior, expected 0 or more")

    @property
    def output_size(self) -> int:
        """Side of the restored crop in pixels."""
        return self.input_size * self.scale

    @property
    def prior_size(self) -> int:
        """Side of the prior in pixels."""
        return self.output_size

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class ChannelAttention(nn.Module):
    """Every channel times a number in (0, 1) that is made from the means of all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(CHANNELS, CHANNELS // REDUCTION, 1)
        self.widen = nn.Conv2d(CHANNELS // REDUCTION, CHANNELS, 1)

    def forward(self, features: Tensor) -> Tensor:
        means = features.mean((2, 3), keepdim=True)
        return features * torch.sigmoid(self.widen(F.relu(self.narrow(means))))


class Block(nn.Module):
    """Convolution, ReLU, convolution, channel attention, added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.attention = conv(CHANNELS), conv(CHANNELS), ChannelAttention()

    def forward(self, features: Tensor) -> Tensor:
        return features + self.attention(self.second(F.relu(self.first(features))))


def conv(inputs: int, outputs: int = CHANNELS) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def stage(blocks: int) -> nn.Sequential:
    return nn.Sequential(*(Block() for _ in range(blocks)))


def down() -> nn.Sequential:
    return nn.Sequential(nn.PixelUnshuffle(2), conv(4 * CHANNELS))


def up() -> nn.Sequential:
    return nn.Sequential(conv(CHANNELS, 4 * CHANNELS), nn.PixelShuffle(2))


class KdfsrNet(nn.Module):
    """RGB in [0, 1], float (N, 3, h, h) -> (N, 3, scale h, scale h), not clipped.

    The face is enlarged bicubically first. A network with `config.prior` also takes the prior, float
    (N, prior, scale h, scale h), and sees it once, beside the enlarged face.
    """

    def __init__(self, config: KdfsrConfig) -> None:
        super().__init__()
        self.config = config
        self.head = conv(3 + config.prior)
        self.down = nn.ModuleList(nn.Sequential(down(), stage(config.blocks)) for _ in range(LEVELS))
        self.bottleneck = stage(config.blocks)
        self.up = nn.ModuleList(nn.Sequential(up(), stage(config.blocks)) for _ in range(LEVELS))
        self.tail = conv(CHANNELS, 3)

    def forward(self, low: Tensor, prior: Tensor | None = None) -> Tensor:
        return self.with_features(low, prior)[0]

    def with_features(self, low: Tensor, prior: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """The restored face and the nine features, 64 channels after each stage; at 128 px their sides are
        64, 32, 16, 8, 8, 16, 32, 64 and 128."""
        # With antialias the kernel is Pillow's, a = -.5; without, it would be OpenCV's.
        size = self.config.output_size
        seen = F.interpolate(low, size=(size, size), mode="bicubic", antialias=True)
        last = self.head(seen if prior is None else torch.cat([seen, prior], 1))
        features: list[Tensor] = []
        for level in (*self.down, self.bottleneck, *self.up):
            last = level(last)
            features.append(last)
        return self.tail(last), features
