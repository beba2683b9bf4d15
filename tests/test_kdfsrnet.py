"""KDFSRNet has the published size, arithmetic and features, and its first picture is the bicubic one's size."""

from __future__ import annotations

import pytest
import torch
from test_networks import counted_multiply_accumulates
from torch import nn

from fsr.runtime.errors import UsageError
from fsr.train.networks import build_network, name_of
from fsr.train.networks.kdfsrnet import BLOCKS, KdfsrConfig, KdfsrNet

STUDENT = KdfsrConfig(16, 8)
TEACHER = KdfsrConfig(16, 8, BLOCKS["teacher"], prior=3)
TINY = KdfsrConfig(4, 8, 1, prior=3)


@pytest.mark.parametrize(("config", "millions"), [(STUDENT, 5.20), (TEACHER, 2.53)])
def test_the_published_parameters(config: KdfsrConfig, millions: float) -> None:
    assert sum(p.numel() for p in KdfsrNet(config).parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


class WithPrior(nn.Module):
    """Black priors beside every face."""

    def __init__(self, network: KdfsrNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        return self.network(low, torch.zeros(len(low), 3, 128, 128))


@pytest.mark.parametrize(("config", "giga"), [(STUDENT, 13.72), (TEACHER, 5.71)])
def test_the_published_arithmetic(config: KdfsrConfig, giga: float) -> None:
    network = KdfsrNet(config)
    low = torch.zeros(1, 3, 16, 16)
    counted = counted_multiply_accumulates(WithPrior(network) if config.prior else network, low)
    assert counted / 1e9 == pytest.approx(giga, abs=0.01)


def test_nine_features_one_after_each_stage() -> None:
    network = KdfsrNet(KdfsrConfig(16, 8, 1))
    with torch.no_grad():
        restored, features = network.with_features(torch.rand(1, 3, 16, 16))
        assert torch.equal(network.tail(features[-1]), restored)
    assert [tuple(f.shape) for f in features] == [(1, 64, s, s) for s in (64, 32, 16, 8, 8, 16, 32, 64, 128)]
    assert restored.shape == (1, 3, 128, 128)


def test_the_face_is_enlarged_as_the_tables_enlarge_it() -> None:
    """What the head sees is Pillow's bicubic: an edge tells it from OpenCV's kernel and from bilinear."""
    import numpy as np
    from PIL import Image

    network = KdfsrNet(KdfsrConfig(4, 8, 1))
    seen: list[torch.Tensor] = []
    network.head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    low = torch.zeros(1, 3, 4, 4)
    low[..., 2:] = 1
    with torch.no_grad():
        network(low)
    row = Image.fromarray(low[0, 0].numpy()).resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(seen[0][0, 0].numpy(), np.asarray(row), atol=1e-5)


def test_the_prior_is_seen_beside_the_face() -> None:
    torch.manual_seed(0)
    network = KdfsrNet(TINY)
    low, prior = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(network(low, prior), network(low, 1 - prior))


def test_it_is_built_from_its_own_description() -> None:
    name, config = name_of(KdfsrNet(TINY))
    built = build_network(name, config)
    assert isinstance(built, KdfsrNet)
    assert built.config == TINY


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((15, 8), "15 px x 8 = 120 px, expected an output of a multiple of 16"), ((16, 8, 0), "--blocks: got 0")],
)
def test_a_wrong_shape_is_an_error(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        KdfsrConfig(*arguments)
