"""Weights for which a face and its mirror image are the same task.

The channels of every layer stand in pairs, each the mirror image of the other, so that a mirrored face is restored to
the mirrored picture, exactly: a group convolution (Cohen and Welling 2016, "Group Equivariant Convolutional
Networks") over the two elements of mirroring, written out as the plain 3x3 convolutions that are deployed. It has
half the free weights, and every step learns from each face and from its mirror image at the cost of one.
"""

from __future__ import annotations

from operator import attrgetter

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .networks.edge import EdgeNet


class Mirrored(nn.Module):
    """A weight (outputs, inputs, ..., width), bias (outputs) or map (channels, height, width), made symmetric.

    outputs, inputs: where each channel's mirror image stands; None where there is no such axis.
    """

    outputs: Tensor
    inputs: Tensor | None

    def __init__(self, outputs: Tensor, inputs: Tensor | None = None, *, flip: bool = True) -> None:
        super().__init__()
        self.register_buffer("outputs", outputs, persistent=False)
        self.register_buffer("inputs", inputs, persistent=False)
        self._flip = flip

    def forward(self, weight: Tensor) -> Tensor:
        image = weight[self.outputs]
        if self.inputs is not None:
            image = image[:, self.inputs]
        return (weight + (image.flip(-1) if self._flip else image)) / 2

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def mirror(network: EdgeNet) -> EdgeNet:
    """Hold the weights symmetric from now on, in place; a network that was not becomes another."""
    pixels, hidden = in_place(3, network.config.unshuffle), in_pairs(network.config.channels)
    layers = [(network.head, hidden, pixels), *((layer, hidden, hidden) for layer in network.body)]
    for layer, outputs, inputs in [*layers, (network.tail, in_place(3, network.config.shuffle), hidden)]:
        parametrize.register_parametrization(layer, "weight", Mirrored(outputs, inputs))
        parametrize.register_parametrization(layer, "bias", Mirrored(outputs, flip=False))
    if network.positions is not None:
        parametrize.register_parametrization(network, "positions", Mirrored(hidden))
    return network


def in_place(groups: int, side: int) -> Tensor:
    """Channels of `groups` pictures unshuffled by `side`: a pixel's mirror image stands in its own row of the block."""
    return torch.arange(groups * side**2).reshape(groups, side, side).flip(-1).flatten()


def in_pairs(channels: int) -> Tensor:
    """Channels in pairs half of them apart."""
    return torch.arange(channels).roll(channels // 2)


def unmirrored(network: EdgeNet) -> EdgeNet:
    """A copy with its symmetric weights as plain ones; the network itself if it was not mirrored."""
    if not parametrize.is_parametrized(network.head):
        return network
    plain = EdgeNet(network.config)
    plain.load_state_dict({name: attrgetter(name)(network) for name in plain.state_dict()})
    return plain


def is_mirrored(network: EdgeNet, tolerance: float = 1e-4) -> bool:
    """Whether mirrored faces come out mirrored."""
    size = network.config.input_size
    low = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return bool((network(low.flip(-1)).flip(-1) - network(low)).abs().max() < tolerance)
