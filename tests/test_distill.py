"""Distillation: the published decay, losses that mean what they say, and layers that are matched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fsr.runtime.errors import CheckpointError, UsageError
from fsr.train.distill import Adapters, Decay, evenly, feature_loss, prior_head, prior_loss, require_fit


def test_the_decay_is_the_published_one_epoch_by_epoch() -> None:
    decay, epochs = Decay(), 400
    middles = [(epoch + 0.5) / epochs for epoch in range(epochs)]
    expected = [10 * (10 - epoch) / 10 if epoch <= 10 else 0 for epoch in range(epochs)]
    assert [decay.feature_weight(share) for share in middles] == pytest.approx(expected)
    assert [decay.output_weight(share) for share in middles] == [0.1] * 11 + [0.0] * 389
    assert [decay.listens(share) for share in middles] == [True] * 11 + [False] * 389


def test_the_decay_as_a_share_of_another_schedule() -> None:
    decay = Decay(features=4.0, output=0.2, share=0.5, stairs=5)
    shares = [0.0, 0.09, 0.11, 0.21, 0.31, 0.41, 0.49, 0.5, 1.0]
    assert [decay.feature_weight(share) for share in shares] == [4, 4, 3, 2, 1, 0, 0, 0, 0]
    assert [decay.output_weight(share) for share in shares] == [0.2] * 7 + [0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.0}, "--distill-share: got 0.0"),
        ({"share": 1.5}, "--distill-share"),
        ({"output": -1.0}, "--output-weight: got -1.0"),
    ],
)
def test_a_decay_that_is_none_is_an_error(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Decay(**options)  # pyright: ignore[reportArgumentType]


def test_layers_count_alike_whatever_their_size() -> None:
    student = [torch.zeros(1, 2, 4, 4), torch.zeros(1, 8, 16, 16)]
    teacher = [torch.full((1, 2, 4, 4), 3.0), torch.full((1, 8, 16, 16), -1.0)]
    assert float(feature_loss(student, teacher)) == 2
    assert float(feature_loss(student, teacher, relative=True)) == 1


@pytest.mark.parametrize(
    ("count", "chosen", "layers"), [(10, 3, [2, 5, 9]), (8, 8, list(range(8))), (16, 1, [15]), (9, 2, [3, 8])]
)
def test_layers_at_equal_distances_the_last_among_them(count: int, chosen: int, layers: list[int]) -> None:
    assert evenly(count, chosen) == layers


def test_adapters_take_their_layers_to_the_teachers_channels() -> None:
    adapters = Adapters([1, 3], [4, 8], [5, 6])
    features = [torch.rand(2, channels, 3, 3) for channels in (2, 4, 2, 8)]
    adapted = adapters(features)
    assert [tuple(f.shape) for f in adapted] == [(2, 5, 3, 3), (2, 6, 3, 3)]
    torch.testing.assert_close(adapted[1], adapters.convolutions[1](features[3]))


def test_features_of_other_sizes_are_refused_and_of_other_channels_are_not() -> None:
    student = [torch.zeros(1, 8, 16, 16)] * 2
    require_fit("--teacher a", student, [torch.zeros(1, 64, 16, 16)] * 2)
    with pytest.raises(CheckpointError, match=r"--teacher a: got features of 64x64, 8x8 px, expected 16x16 px"):
        require_fit("--teacher a", student, [torch.zeros(1, 8, 64, 64), torch.zeros(1, 8, 8, 8)])


def test_faces_without_a_reliable_prior_do_not_count() -> None:
    predicted, prior = torch.zeros(3, 2, 4, 4), torch.ones(3, 2, 4, 4)
    prior[1] = 100
    assert float(prior_loss(predicted, prior, torch.tensor([True, False, True]))) == 1
    assert float(prior_loss(predicted, prior, torch.tensor([False, False, False]))) == 0


def test_a_prior_head_reaches_the_size_of_the_prior() -> None:
    head = prior_head(8, 12, 8)
    assert head(torch.rand(2, 8, 16, 16)).shape == (2, 12, 128, 128)
    assert isinstance(head[0], nn.Conv2d)
