"""The edge network has the shapes, the arithmetic and the start that its configuration promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_data import crops
from torch import nn
from torch.nn import functional as F

from fsr.runtime.errors import CheckpointError, UsageError
from fsr.train.degrade import shrink
from fsr.train.networks import build_network
from fsr.train.networks.edge import TIERS, EdgeConfig, EdgeNet, multiply_accumulates, usual_tail

SHAPES = [(16, 8), (32, 4), (32, 8), (64, 4)]
MMACS = {
    (16, 8): {"S": 33, "M": 180, "L": 435},
    (32, 4): {"S": 33, "M": 166, "L": 408},
    (32, 8): {"S": 64, "M": 208, "L": 492},
    (64, 4): {"S": 66, "M": 211, "L": 498},
}


def counted_multiply_accumulates(network: nn.Module, low: torch.Tensor) -> int:
    """Every convolution's output elements times the inputs that each is a sum of."""
    counted = []

    def count(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        counted.append(output[0].numel() * layer.weight[0].numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(low)
    return sum(counted)


@pytest.mark.parametrize(("input_size", "scale"), SHAPES)
@pytest.mark.parametrize("tier", TIERS)
def test_shapes_and_arithmetic(tier: str, input_size: int, scale: int) -> None:
    config = EdgeConfig(tier, input_size, scale)
    network, low = EdgeNet(config), torch.zeros(1, 3, input_size, input_size)
    with torch.no_grad():
        assert network(low).shape == (1, 3, input_size * scale, input_size * scale)
    assert config.output_size == input_size * scale
    counted = counted_multiply_accumulates(network, low)
    assert multiply_accumulates(config) == counted
    assert counted / 1e6 == pytest.approx(MMACS[input_size, scale][tier], rel=0.03)


def test_a_tail_of_one_pixel_leaves_the_arithmetic_to_a_wider_body() -> None:
    config = EdgeConfig("S", 64, 4, tail=1)
    network = EdgeNet(config)
    assert (config.channels, config.layers, network.tail.kernel_size) == (32, 4, (1, 1))
    assert counted_multiply_accumulates(network, torch.zeros(1, 3, 64, 64)) == multiply_accumulates(config)
    assert multiply_accumulates(config) < 0.75 * multiply_accumulates(EdgeConfig("S", 64, 4))
    assert [usual_tail("S", *shape) for shape in ((64, 0), (64, 32), (64, 16), (32, 0), (16, 0))] == [1] * 5
    assert [usual_tail(tier, 64) for tier in ("M", "L", "XL")] == [3, 3, 3]


@pytest.mark.parametrize(
    ("tier", "input_size", "scale", "parameters"),
    [
        # 9 in out + out of every convolution: head, body, tail.
        ("S", 16, 8, (27 * 32 + 32) + 8 * (9 * 32 * 32 + 32) + (9 * 32 * 192 + 192)),
        ("M", 32, 4, (27 * 32 + 32) + 16 * (9 * 32 * 32 + 32) + (9 * 32 * 48 + 48)),
        ("L", 64, 4, (4 * 27 * 64 + 64) + 10 * (9 * 64 * 64 + 64) + (9 * 64 * 192 + 192)),
    ],
)
def test_parameters(tier: str, input_size: int, scale: int, parameters: int) -> None:
    network = EdgeNet(EdgeConfig(tier, input_size, scale))
    assert sum(weight.numel() for weight in network.parameters()) == parameters


# Measured: .006, .045, .027 of a range of 1.
def test_positions_start_as_nothing_and_tell_places_apart() -> None:
    torch.manual_seed(0)
    plain, places = (EdgeNet(EdgeConfig("S", 16, 8, positions)) for positions in (False, True))
    assert places.load_state_dict(plain.state_dict(), strict=False).missing_keys == ["positions"]
    flat = torch.full((1, 3, 16, 16), 0.5)
    nn.init.normal_(plain.tail.weight, std=0.1)
    places.tail.weight = plain.tail.weight
    with torch.no_grad():
        torch.testing.assert_close(plain(flat), places(flat))
        assert places.positions is not None
        places.positions[:, 5, 9] = 1.0
        changed = (places(flat) - plain(flat)).abs().amax((0, 1))
    y, x = divmod(int(changed.argmax()), 128)
    assert (abs(y // 8 - 5), abs(x // 8 - 9)) <= (2, 2)
    assert multiply_accumulates(plain.config) == multiply_accumulates(places.config)


@pytest.mark.parametrize(("tier", "most"), [("S", 0.01), ("M", 0.07), ("L", 0.04)])
def test_a_new_network_starts_near_bilinear(tier: str, most: float) -> None:
    torch.manual_seed(0)
    low = torch.from_numpy(shrink(crops(), 16)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        residual = EdgeNet(EdgeConfig(tier, 16, 8))(low) - F.interpolate(low, scale_factor=8.0, mode="bilinear")
    assert 0 < float(residual.abs().mean()) < most


def test_every_output_pixel_comes_from_its_own_place() -> None:
    """A change in one corner of the input leaves the opposite corner's skip alone and keeps the order of rows."""
    network = EdgeNet(EdgeConfig("S", 64, 4))
    for weight in network.tail.parameters():
        nn.init.zeros_(weight)
    low = torch.zeros(1, 3, 64, 64)
    low[0, 0, :8, :8] = 1
    with torch.no_grad():
        out = network(low)
    assert float(out[0, 0, :28, :28].min()) == 1
    assert float(out[0, 0, 40:, 40:].abs().max()) == float(out[0, 1:].abs().max()) == 0


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("XXL", 16, 8), "--tier: got 'XXL', expected one of S, M, L, or XL for a teacher"),
        (("S", 0, 8), "--input-size: got 0 px x 8 = 0 px"),
        (("S", 8, 16), "--scale: got 16, expected 4 or 8"),
        (("S", 24, 8), "--input-size: got 24 px x 8 = 192 px"),
        (("S", 16, 4), "--input-size: got 16 px x 4 = 64 px"),
        (("S", 16, 0), "--scale: got 0, expected 4 or 8"),
        (("S", 16, -8), "--scale: got -8"),
        (("S", 16, 8, False, 32), "--grid: got 32 for edge-S-16x8, expected one of 16, 32 that divides the input"),
        (("S", 64, 4, False, 64), "--grid: got 64 for edge-S-64x4"),
        (("S", 48, 8), "--input-size: got 48 px x 8 = 384 px, expected an output of 128 or 256 px"),
        (("M", 64, 4, False, 0, 1), "--tail: got 1 for edge-M-64x4, expected 3"),
        (("S", 64, 4, False, 0, 2), "--tail: got 2 for edge-S-64x4, expected 1 or 3"),
    ],
)
def test_a_wrong_shape_names_its_flag(arguments: tuple[Any, ...], flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        EdgeConfig(*arguments)


def test_a_network_is_built_by_name_from_its_own_description() -> None:
    config = EdgeConfig("S", 32, 4)
    built = build_network("edge", config.to_json())
    assert isinstance(built, EdgeNet)
    assert built.config == config
    assert (config.grid, EdgeConfig("S", 64, 4).grid, EdgeConfig("S", 16, 8).grid) == (32, 32, 16)
    coarse = build_network("edge", {**config.to_json(), "grid": 16})
    assert isinstance(coarse, EdgeNet) and coarse.config.channels == 32
    assert config.name == "edge-S-32x4"


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("cloud", {}, "got network 'cloud', expected one of edge"),
        ("edge", {"tier": "S", "input_size": 16}, "network 'edge': got configuration .*scale"),
        ("edge", {"tier": "S", "input_size": 16, "scale": 8, "depth": 3}, "depth"),
    ],
)
def test_an_unknown_network_or_field_is_an_error(name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        build_network(name, config)
