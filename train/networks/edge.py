"""The edge student: plain 3x3 convolutions at low resolution, one PixelShuffle at the end.

Every picture size is brought to a 16x16 grid first (larger inputs are pixel-unshuffled), so that a tier
costs the same arithmetic per face at every scale, and every kernel is one that INT8 engines run at peak.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...runtime.errors import UsageError

GRID = 16
"""Side of the feature maps of the body."""

SHUFFLE = 8
"""Upsampling of the last PixelShuffle: the tail works on a grid of output_size / 8."""

TIERS = MappingProxyType({"S": (32, 8), "M": (64, 16), "L": (128, 10)})
"""Channels and body layers; about 33, 180 and 435 MMACs a face."""

TEACHER_TIERS = MappingProxyType({"XL": (256, 14)})
"""Trained to teach and never exported; about 2.2 GMACs a face."""

SHAPES = MappingProxyType({**TIERS, **TEACHER_TIERS})


@dataclass(frozen=True)
class EdgeConfig:
    """The shape of an edge student."""

    tier: str
    """S, M or L: a key of `TIERS`; or of `TEACHER_TIERS`."""
    input_size: int
    """Side of the low-resolution crop in pixels: 16, 32 or 64."""
    scale: int
    """Magnification: 4 or 8."""
    positions: bool = False
    """Whether the head adds a learned value to every channel at every place of the grid: aligned faces have their
    eyes, nose and mouth where they always are, and plain convolutions cannot know where they are."""

    def __post_init__(self) -> None:
        if self.tier not in SHAPES:
            raise UsageError(
                f"--tier: got {self.tier!r}, expected one of {', '.join(TIERS)}, "
                f"or {', '.join(TEACHER_TIERS)} for a teacher"
            )
        if self.input_size < GRID or self.input_size % GRID:
            raise UsageError(f"--input-size: got {self.input_size}, expected a multiple of {GRID}")
        if self.output_size not in (GRID * SHUFFLE, 2 * GRID * SHUFFLE):
            raise UsageError(
                f"--scale: got {self.input_size} px x {self.scale} = {self.output_size} px, "
                f"expected an output of {GRID * SHUFFLE} or {2 * GRID * SHUFFLE} px"
            )

    @property
    def output_size(self) -> int:
        """Side of the restored crop in pixels."""
        return self.input_size * self.scale

    @property
    def deployable(self) -> bool:
        """Whether the tier is one that is exported."""
        return self.tier in TIERS

    @property
    def name(self) -> str:
        """Such as `edge-L-32x4`: the tier, the input size and the scale."""
        return f"edge-{self.tier}-{self.input_size}x{self.scale}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class EdgeNet(nn.Module):
    """RGB in [0, 1], float (N, 3, h, h) -> (N, 3, scale h, scale h), not clipped.

    unshuffle to 16x16 -> head -> body (convolution, ReLU) x layers -> tail -> PixelShuffle, added to the
    bilinear upsampling of the input. For 256 px outputs the features are shuffled to 32x32 before the
    tail, which then costs what it costs at 128 px.
    """

    def __init__(self, config: EdgeConfig) -> None:
        super().__init__()
        self.config = config
        channels, layers = SHAPES[config.tier]
        self.unshuffle = config.input_size // GRID
        self.fold = config.output_size // (GRID * SHUFFLE)
        self.head = nn.Conv2d(3 * self.unshuffle**2, channels, 3, padding=1)
        self.positions = nn.Parameter(torch.zeros(channels, GRID, GRID)) if config.positions else None
        self.body = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(layers))
        self.tail = nn.Conv2d(channels // self.fold**2, 3 * SHUFFLE**2, 3, padding=1)
        self.skip: nn.Module = nn.Upsample(scale_factor=float(config.scale), mode="bilinear")
        self.initialise()

    def initialise(self) -> None:
        """Start as an identity through the body, so that depth costs no trainability without shortcuts."""
        for layer in self.body:
            assert isinstance(layer, nn.Conv2d)
            fan_in = layer.in_channels * 9
            noise = torch.randn_like(layer.weight) * 0.5 * (2 / fan_in) ** 0.5
            nn.init.dirac_(layer.weight)
            with torch.no_grad():
                layer.weight += noise
        nn.init.normal_(self.tail.weight, std=0.001)  # starts as about the bilinear skip
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, low: Tensor) -> Tensor:
        return self.with_features(low)[0]

    def with_features(self, low: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The restored face and the features after every layer of the body, (N, channels, 16, 16)."""
        return self.run(self.head(unshuffle(low, self.unshuffle)), low)

    def run(self, last: Tensor, low: Tensor) -> tuple[Tensor, list[Tensor]]:
        """From what the head says, (N, channels, 16, 16), to the restored face and the features."""
        features = self.through_body(last)
        residual = F.pixel_shuffle(self.tail(shuffle(features[-1], self.fold)), SHUFFLE)
        return residual + self.skip(low), features

    def through_body(self, last: Tensor) -> list[Tensor]:
        """From what the head says to the features after every layer."""
        last = F.relu(last if self.positions is None else last + self.positions)
        features: list[Tensor] = []
        for layer in self.body:
            last = F.relu(layer(last))
            features.append(last)
        return features


def shuffle(features: Tensor, by: int) -> Tensor:
    """PixelShuffle, which by 1 leaves an operator in an export that engines do not see through."""
    return F.pixel_shuffle(features, by) if by > 1 else features


def unshuffle(features: Tensor, by: int) -> Tensor:
    """The inverse of `shuffle`."""
    return F.pixel_unshuffle(features, by) if by > 1 else features


def multiply_accumulates(config: EdgeConfig) -> int:
    """Multiply-accumulates of the convolutions for one face."""
    channels, layers = SHAPES[config.tier]
    head = 3 * (config.input_size // GRID) ** 2 * channels
    return 9 * GRID**2 * (head + layers * channels**2 + channels * 3 * SHUFFLE**2)
