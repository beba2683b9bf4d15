"""The compact teacher is its student with a prior at the head."""

from __future__ import annotations

import pytest
import torch

from fsr.runtime.errors import UsageError
from fsr.train.networks import build_network, name_of
from fsr.train.networks.compact import CompactConfig, CompactNet
from fsr.train.networks.edge import EdgeNet

CONFIG = CompactConfig("S", 16, 8, prior=12)


@pytest.mark.parametrize(("input_size", "scale"), [(16, 8), (32, 4), (64, 4)])
def test_its_features_have_the_shapes_of_its_students(input_size: int, scale: int) -> None:
    config = CompactConfig("S", input_size, scale, prior=12)
    low = torch.rand(2, 3, input_size, input_size)
    with torch.no_grad():
        restored, taught = CompactNet(config).with_features(low, torch.rand(2, 12, 128, 128))
        same, learned = EdgeNet(config.edge).with_features(low)
    assert restored.shape == same.shape == (2, 3, config.output_size, config.output_size)
    assert (
        [f.shape for f in taught]
        == [f.shape for f in learned]
        == [(2, config.edge.channels, config.edge.grid, config.edge.grid)] * config.edge.layers
    )


def test_it_is_its_student_until_it_has_learned_what_the_prior_says() -> None:
    torch.manual_seed(0)
    teacher = CompactNet(CONFIG)
    assert sum(p.numel() for p in teacher.prior.parameters()) == 9 * 32 * 12 * 64
    low, prior = torch.rand(1, 3, 16, 16), torch.rand(1, 12, 128, 128)
    with torch.no_grad():
        assert torch.equal(teacher(low, prior), teacher.edge(low))
        torch.nn.init.normal_(teacher.prior.weight)
        assert not torch.allclose(teacher(low, prior), teacher.edge(low))


def test_every_pixel_of_the_prior_reaches_its_own_place() -> None:
    """A change in one pixel of the prior changes the head's features there and nowhere else."""
    torch.manual_seed(0)
    network = CompactNet(CONFIG)
    low, prior = torch.rand(1, 3, 16, 16), torch.zeros(1, 12, 128, 128)
    changed = prior.clone()
    changed[0, 7, 9 * 8 + 3, 4 * 8 + 6] = 1
    seen: list[torch.Tensor] = []
    torch.nn.init.normal_(network.prior.weight)
    network.prior.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        network(low, prior)
        network(low, changed)
    y, x = torch.nonzero((seen[1] - seen[0]).abs().sum((0, 1)), as_tuple=True)
    assert (int(y.min()), int(y.max()), int(x.min()), int(x.max())) == (8, 10, 3, 5)


def test_it_is_built_from_its_own_description() -> None:
    name, config = name_of(CompactNet(CONFIG))
    built = build_network(name, config)
    assert isinstance(built, CompactNet)
    assert built.config == CONFIG


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("S", 16, 8, 0), "got 0 prior channels"), (("T", 16, 8, 12), "--tier: got 'T'"), (("S", 16, 3, 12), "--scale")],
)
def test_a_wrong_shape_is_an_error(arguments: tuple[str, int, int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CompactConfig(*arguments)
