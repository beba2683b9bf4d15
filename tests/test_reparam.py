"""Branches compute what they were made from, collapse exactly, and all of them are trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsr.runtime.errors import UsageError
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.reparam import BranchedConv, Branches, branch, collapse

CONFIG = EdgeConfig("S", 16, 8, positions=True)
ALL = Branches()


def moved(conv: BranchedConv) -> BranchedConv:
    """As training leaves it: every branch away from where it started."""
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return conv


def run_as_branches(conv: BranchedConv, x: Tensor) -> Tensor:
    """What the weights stand for: each branch over the picture."""
    assert conv.point is not None and conv.factor is not None and conv.widen is not None and conv.narrow is not None
    wide = F.conv2d(F.conv2d(x, conv.widen), conv.narrow, padding=1)
    return (
        F.conv2d(x, conv.main, conv.bias, padding=1) + F.conv2d(x, conv.point) + x * conv.factor[:, None, None] + wide
    )


@pytest.mark.parametrize("branches", [ALL, Branches(False, False, 3), Branches(True, True, 0)])
def test_it_starts_as_the_convolution_it_was_made_from(branches: Branches) -> None:
    torch.manual_seed(0)
    plain, x = nn.Conv2d(8, 8, 3, padding=1), torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(BranchedConv(plain, branches)(x), plain(x), atol=1e-6, rtol=1e-5)


def test_one_convolution_is_the_sum_of_the_branches() -> None:
    torch.manual_seed(0)
    conv = moved(BranchedConv(nn.Conv2d(8, 8, 3, padding=1), ALL))
    x = torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(conv(x), run_as_branches(conv, x), atol=1e-5, rtol=1e-5)


def test_every_branch_gets_a_gradient() -> None:
    torch.manual_seed(0)
    conv = moved(BranchedConv(nn.Conv2d(8, 8, 3, padding=1), ALL))
    conv(torch.rand(2, 8, 6, 6)).square().sum().backward()
    gradients = {name: p.grad for name, p in conv.named_parameters()}
    assert set(gradients) == {"main", "point", "factor", "widen", "narrow", "bias"}
    assert all(g is not None and float(g.abs().max()) > 0 for g in gradients.values())


def test_a_collapsed_network_is_plain_and_restores_the_same() -> None:
    torch.manual_seed(0)
    network = branch(EdgeNet(CONFIG), ALL)
    for layer in network.body:
        assert isinstance(layer, BranchedConv)
        moved(layer)
    low = torch.rand(2, 3, 16, 16)
    plain = collapse(network)
    assert plain.state_dict().keys() == EdgeNet(CONFIG).state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(plain(low), network(low), atol=1e-4, rtol=1e-4)
    assert collapse(plain) is plain


def test_less_than_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match="got -1 times the channels"):
        Branches(expand=-1)
