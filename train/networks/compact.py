"""The compact teacher: an edge network whose head sees a facial prior beside the low-resolution face.

The idea of KDFSRNet (see `kdfsrnet.py`) at the size of the low-resolution face, where it trains on a CPU: the prior is
pixel-unshuffled to the grid of the body, so nothing of it is lost, and joins the face there. The body is that of the
edge network of the same tier, so that features of equal shape are distilled layer by layer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from ...runtime.errors import UsageError
from .edge import EdgeConfig, EdgeNet, unshuffle

PRIOR_SIZE = 128
"""Side in pixels of the prior that the networks see and predict, whatever the size of the output."""


@dataclass(frozen=True)
class CompactConfig:
    """The shape of a compact teacher."""

    tier: str
    """A tier of the edge network."""
    input_size: int
    scale: int
    prior: int
    """Channels of the facial prior."""
    positions: bool = False

    def __post_init__(self) -> None:
        if self.prior < 1:
            raise UsageError(f"got {self.prior} prior channels, expected some; without a prior it is fsr-train edge")
        self.edge  # noqa: B018 - its own checks

    @property
    def edge(self) -> EdgeConfig:
        """The same network without the prior: its student."""
        return EdgeConfig(self.tier, self.input_size, self.scale, self.positions)

    @property
    def output_size(self) -> int:
        """Side of the restored crop in pixels."""
        return self.edge.output_size

    @property
    def prior_size(self) -> int:
        """Side of the prior in pixels."""
        return PRIOR_SIZE

    @property
    def prior_unshuffle(self) -> int:
        """Side of the block of the prior that one place of the grid sees."""
        return self.prior_size // self.edge.grid

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class CompactNet(nn.Module):
    """RGB in [0, 1], float (N, 3, h, h), and its prior (N, prior, 128, 128) -> (N, 3, scale h, scale h)."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        self.edge = EdgeNet(config.edge)
        seen = config.prior * config.prior_unshuffle**2
        self.prior = nn.Conv2d(seen, config.edge.channels, 3, padding=1, bias=False)
        # Starts as the network without a prior: beside 768 channels the face's three would hardly be heard.
        nn.init.zeros_(self.prior.weight)

    def forward(self, low: Tensor, prior: Tensor) -> Tensor:
        return self.with_features(low, prior)[0]

    def with_features(self, low: Tensor, prior: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The restored face and the features after every layer of the body, (N, channels, grid, grid)."""
        # The convolution of a concatenation is the sum of two, and the optimizer may treat them differently.
        seen = self.edge.head(unshuffle(low, self.config.edge.unshuffle))
        return self.edge.run(seen + self.prior(unshuffle(prior, self.config.prior_unshuffle)), low)
