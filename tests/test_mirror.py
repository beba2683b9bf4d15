"""Mirrored weights: a mirrored face comes out mirrored, whatever was learned."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from fsr.train.loop import LoopConfig, make_optimizers
from fsr.train.mirror import is_mirrored, mirror, unmirrored
from fsr.train.networks.edge import EdgeConfig, EdgeNet

SHAPES = [("S", 16, 8, True), ("S", 32, 4, False), ("S", 64, 4, True), ("M", 16, 8, True), ("S", 64, 4, True, 32, 1)]
each_shape = pytest.mark.parametrize("shape", SHAPES)


def shaken(shape: tuple[Any, ...]) -> EdgeNet:
    """A mirrored network after every free weight was changed at random."""
    torch.manual_seed(0)
    network = mirror(EdgeNet(EdgeConfig(*shape)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return network


@each_shape
def test_a_mirrored_face_comes_out_mirrored(shape: tuple[Any, ...]) -> None:
    torch.manual_seed(0)
    assert not is_mirrored(EdgeNet(EdgeConfig(*shape)))
    assert is_mirrored(shaken(shape))


@each_shape
def test_what_is_deployed_is_plain_and_computes_the_same(shape: tuple[Any, ...]) -> None:
    network = shaken(shape)
    plain = unmirrored(network)
    low = torch.rand(2, 3, shape[1], shape[1])
    assert plain.state_dict().keys() == EdgeNet(EdgeConfig(*shape)).state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(plain(low), network(low), rtol=0, atol=0)


def test_an_optimiser_cannot_break_the_symmetry() -> None:
    network = shaken(SHAPES[0])
    optimizers = make_optimizers(network, LoopConfig(steps=3, learning_rate=0.05))
    for _ in range(3):
        loss = (network(torch.rand(2, 3, 16, 16)) - torch.rand(2, 3, 128, 128)).abs().mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    assert is_mirrored(network)


def test_going_on_from_a_mirrored_network_changes_nothing() -> None:
    plain = unmirrored(shaken(SHAPES[0]))
    again = mirror(copy.deepcopy(plain))
    low = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(again(low), plain(low), rtol=0, atol=1e-6)
    assert unmirrored(plain) is plain


def test_a_step_learns_from_the_mirror_image_too() -> None:
    """The gradient of a face is that of its mirror image."""
    network = shaken(SHAPES[0])
    low, high = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 128, 128)
    gradients = []
    for flip in (False, True):
        network.zero_grad()
        seen, wanted = (low.flip(-1), high.flip(-1)) if flip else (low, high)
        (network(seen) - wanted).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for straight, flipped in zip(*gradients, strict=True):
        torch.testing.assert_close(straight, flipped, rtol=1e-3, atol=1e-6)
