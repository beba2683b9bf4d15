"""The edge student: plain 3x3 convolutions at low resolution, one PixelShuffle at the end.

The maps are as large as the face, at most 32x32 (what is larger is pixel-unshuffled), the more places the fewer
channels: so a tier costs about the same at every scale, and every kernel is one that INT8 engines run at peak. All on
16x16, where detail goes through the channels of few places, was worse by far. Tier S, 600 steps of 32 faces, over
bicubic: 32 px x 4 with 32 channels and 8 layers on 16x16 2.05 dB, with 16 and 8 on 32x32 2.47; 64 px x 4 on 16x16 .57,
on 32x32 with 16 and 8 1.83, with 24 and 4 2.12. In tier S the tail is of 1x1, which leaves its arithmetic to a wider
body: 64 px x 4 gains 2.29 with 32 and 4, in .63 of the time in INT8; 32 px x 4 .08 dB and 16 px x 8 .10 dB more than
with one of 3x3 that takes as long.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...runtime.errors import UsageError

TIERS = MappingProxyType(
    {
        "S": {16: (32, 8), 32: (24, 4)},
        "M": {16: (64, 16), 32: (32, 16)},
        "L": {16: (128, 10), 32: (64, 10)},
    }
)
"""Channels and body layers by the side of the maps; for faces of 16 px x 8, 32 px x 4 and 64 px x 4 about 33, 33 and 66
MMACs in S with a tail of 3x3, 180, 166 and 211 in M, 435, 408 and 498 in L."""

POINTWISE = MappingProxyType({"S": {16: (48, 6), 32: (32, 4)}})
"""The same with a tail of 1x1; 35, 40 and 48 MMACs."""

TEACHER_TIERS = MappingProxyType({"XL": {16: (256, 14), 32: (128, 14)}})
"""Trained to teach and never exported; about 2.2 to 2.4 GMACs a face."""

SHAPES = MappingProxyType({**TIERS, **TEACHER_TIERS})

LARGEST_GRID = 32
OUTPUT_SIZES = (128, 256)
"""In pixels."""


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
    grid: int = 0
    """Side of the feature maps in pixels; 0 becomes the input's, at most `LARGEST_GRID`."""
    tail: int = 3
    """Side of the kernel of the tail in pixels, 3 or 1."""

    def __post_init__(self) -> None:
        if self.tier not in SHAPES:
            raise UsageError(
                f"--tier: got {self.tier!r}, expected one of {', '.join(TIERS)}, "
                f"or {', '.join(TEACHER_TIERS)} for a teacher"
            )
        if self.scale not in (4, 8):
            raise UsageError(f"--scale: got {self.scale}, expected 4 or 8")
        if self.output_size not in OUTPUT_SIZES:
            raise UsageError(
                f"--input-size: got {self.input_size} px x {self.scale} = {self.output_size} px, "
                f"expected an output of {' or '.join(map(str, OUTPUT_SIZES))} px"
            )
        if not self.grid:
            object.__setattr__(self, "grid", min(self.input_size, LARGEST_GRID))
        if self.grid not in SHAPES[self.tier] or self.input_size % self.grid:
            known = ", ".join(map(str, SHAPES[self.tier]))
            raise UsageError(f"--grid: got {self.grid} for {self.name}, expected one of {known} that divides the input")
        if self.tail not in tails(self.tier, self.grid):
            known = " or ".join(map(str, tails(self.tier, self.grid)))
            raise UsageError(f"--tail: got {self.tail} for {self.name}, expected {known}")

    @property
    def output_size(self) -> int:
        """Side of the restored crop in pixels."""
        return self.input_size * self.scale

    @property
    def channels(self) -> int:
        """Of the feature maps."""
        return self._shape[0]

    @property
    def layers(self) -> int:
        """Convolutions of the body."""
        return self._shape[1]

    @property
    def _shape(self) -> tuple[int, int]:
        return (POINTWISE if self.tail == 1 else SHAPES)[self.tier][self.grid]

    @property
    def unshuffle(self) -> int:
        """Side of the block of input pixels that one place of the grid sees."""
        return self.input_size // self.grid

    @property
    def shuffle(self) -> int:
        """Side of the block of output pixels that one place of the grid makes."""
        return self.output_size // self.grid

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


def tails(tier: str, grid: int) -> tuple[int, ...]:
    """Sides that the kernel of a tail may have."""
    return (1, 3) if grid in POINTWISE.get(tier, ()) else (3,)


def usual_tail(tier: str, input_size: int, grid: int = 0) -> int:
    """The better one: 1 where a tier has a body for it."""
    return min(tails(tier, grid or min(input_size, LARGEST_GRID)))


class EdgeNet(nn.Module):
    """RGB in [0, 1], float (N, 3, h, h) -> (N, 3, scale h, scale h), not clipped.

    unshuffle to the grid -> head -> body (convolution, ReLU) x layers -> tail -> PixelShuffle, added to the bilinear
    upsampling of the input.
    """

    def __init__(self, config: EdgeConfig) -> None:
        super().__init__()
        self.config = config
        channels, grid = config.channels, config.grid
        self.head = nn.Conv2d(3 * config.unshuffle**2, channels, 3, padding=1)
        self.positions = nn.Parameter(torch.zeros(channels, grid, grid)) if config.positions else None
        self.body = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(config.layers))
        self.tail = nn.Conv2d(channels, 3 * config.shuffle**2, config.tail, padding=config.tail // 2)
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
        """The restored face and the features after every layer of the body, (N, channels, grid, grid)."""
        return self.run(self.head(unshuffle(low, self.config.unshuffle)), low)

    def run(self, last: Tensor, low: Tensor) -> tuple[Tensor, list[Tensor]]:
        """From what the head says, (N, channels, grid, grid), to the restored face and the features."""
        features = self.through_body(last)
        residual = F.pixel_shuffle(self.tail(features[-1]), self.config.shuffle)
        return residual + self.skip(low), features

    def through_body(self, last: Tensor) -> list[Tensor]:
        """From what the head says to the features after every layer."""
        last = F.relu(last if self.positions is None else last + self.positions)
        features: list[Tensor] = []
        for layer in self.body:
            last = F.relu(layer(last))
            features.append(last)
        return features


def unshuffle(pixels: Tensor, by: int) -> Tensor:
    """Pixel-unshuffle, which by 1 leaves an operator in an export that engines do not see through."""
    return F.pixel_unshuffle(pixels, by) if by > 1 else pixels


def multiply_accumulates(config: EdgeConfig) -> int:
    """Multiply-accumulates of the convolutions for one face."""
    head, body, tail = 3 * config.unshuffle**2, config.layers * config.channels, 3 * config.shuffle**2
    return config.grid**2 * config.channels * (9 * (head + body) + config.tail**2 * tail)
