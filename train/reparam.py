"""Training a 3x3 convolution as a sum of branches that is one 3x3 convolution all along.

Ding et al. 2021, "RepVGG: Making VGG-style ConvNets Great Again", and Zhang et al. 2021, "Edge-oriented Convolution
Block for Real-time Super Resolution on Mobile Devices": more parameters to move along, none to deploy. The branches
are linear, so their weights are summed before the picture is seen, at every step, and one convolution runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.errors import UsageError
from .networks.edge import EdgeNet


@dataclass(frozen=True)
class Branches:
    """What stands beside the 3x3 convolution."""

    point: bool = True
    """A 1x1 convolution."""
    identity: bool = True
    """Every channel times a learned factor."""
    expand: int = 2
    """A 1x1 convolution to this many times the channels, then a 3x3 one back; 0 for none."""

    def __post_init__(self) -> None:
        if self.expand < 0:
            raise UsageError(f"got {self.expand} times the channels in the expanded branch, expected 0 or more")


class BranchedConv(nn.Module):
    """A square 3x3 convolution in branches; starts as the convolution it was made from."""

    def __init__(self, plain: nn.Conv2d, branches: Branches) -> None:
        super().__init__()
        outputs, inputs = plain.weight.shape[:2]
        wide = branches.expand * inputs
        assert plain.bias is not None
        self.bias = nn.Parameter(plain.bias.detach().clone())
        self.point = nn.Parameter(torch.zeros(outputs, inputs, 1, 1)) if branches.point else None
        self.factor = nn.Parameter(torch.ones(outputs)) if branches.identity else None
        # One of the two starts at zero, so the product does; the other must not, or neither would ever move.
        self.widen = nn.Parameter(torch.randn(wide, inputs, 1, 1) / inputs**0.5) if wide else None
        self.narrow = nn.Parameter(torch.zeros(outputs, wide, 3, 3)) if wide else None
        self.main = nn.Parameter(torch.zeros_like(plain.weight))
        with torch.no_grad():
            self.main += plain.weight - self.weight()

    def weight(self) -> Tensor:
        """The sum of the branches: (outputs, inputs, 3, 3)."""
        weight = self.main
        if self.point is not None:
            weight = weight + F.pad(self.point, (1, 1, 1, 1))
        if self.factor is not None:
            weight = weight + F.pad(torch.diag(self.factor)[:, :, None, None], (1, 1, 1, 1))
        if self.widen is not None and self.narrow is not None:
            weight = weight + torch.einsum("owyx,wi->oiyx", self.narrow, self.widen.flatten(1))
        return weight

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):  # what is trained is what is deployed
            weight = self.weight()
        return F.conv2d(features, weight, self.bias, padding=1)


def branch(network: EdgeNet, branches: Branches) -> EdgeNet:
    """Put branches into every layer of the body, in place; the network computes what it did."""
    plain = [layer for layer in network.body if isinstance(layer, nn.Conv2d)]
    network.body = nn.ModuleList(BranchedConv(layer, branches) for layer in plain)
    return network


@torch.no_grad()
def collapse(network: EdgeNet) -> EdgeNet:
    """The same network of plain 3x3 convolutions; itself if it has no branches."""
    if not any(isinstance(layer, BranchedConv) for layer in network.body):
        return network
    weights = {name: value for name, value in network.state_dict().items() if not name.startswith("body.")}
    for index, layer in enumerate(network.body):
        assert isinstance(layer, BranchedConv)
        weights |= {f"body.{index}.weight": layer.weight().contiguous(), f"body.{index}.bias": layer.bias}
    plain = EdgeNet(network.config)
    plain.load_state_dict(weights)
    return plain
