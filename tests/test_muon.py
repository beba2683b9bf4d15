"""Muon's step is an orthogonal matrix that leads downhill."""

from __future__ import annotations

import pytest
import torch

from fsr.train import muon
from fsr.train.muon import Muon, orthogonalise


@pytest.fixture(autouse=True, params=[True, False], ids=["bf16", "fp32"])
def hardware(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that multiplies bfloat16, and one that does not."""
    monkeypatch.setattr(muon, "use_bf16", lambda precision, device: request.param)


def matrix(rows: int, columns: int, condition: float) -> torch.Tensor:
    """Random singular vectors, singular values falling evenly in the logarithm from 1 to 1 / condition."""
    generator = torch.Generator().manual_seed(rows * 1000 + columns)
    u, _, vh = torch.linalg.svd(torch.randn(rows, columns, generator=generator), full_matrices=False)
    return (u * torch.logspace(0, -float(torch.tensor(condition).log10()), len(vh))) @ vh


@pytest.mark.parametrize("condition", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("shape", [(32, 32), (32, 288), (192, 64), (64, 576)])
def test_singular_values_end_near_one(shape: tuple[int, int], condition: float) -> None:
    values = torch.linalg.svdvals(orthogonalise(matrix(*shape, condition)))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


@pytest.mark.parametrize("shape", [(32, 288), (288, 32)])
def test_gaussian_matrices_become_about_orthogonal(shape: tuple[int, int]) -> None:
    gaussian = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalise(gaussian)
    u, _, vh = torch.linalg.svd(gaussian, full_matrices=False)
    assert result.shape == gaussian.shape
    assert result.dtype == gaussian.dtype
    assert float((result * (u @ vh)).sum() / (result.norm() * (u @ vh).norm())) > 0.97


def test_the_size_of_the_gradient_does_not_matter() -> None:
    gradient = matrix(16, 16, 10)
    # A power of two is exact in bfloat16.
    torch.testing.assert_close(orthogonalise(gradient), orthogonalise(gradient * 2**10), rtol=0, atol=1e-3)


def test_no_gradient_at_all_is_no_step() -> None:
    assert not orthogonalise(torch.zeros(8, 8)).any()


def test_a_step_is_downhill_and_as_long_as_the_rate_says() -> None:
    weight = torch.nn.Parameter(torch.zeros(32, 8, 3, 3))
    gradient = matrix(32, 72, 10).reshape(weight.shape)
    weight.grad = gradient.clone()
    Muon([weight], lr=0.01).step()
    moved = weight.detach()
    assert float((moved * gradient).sum()) < 0
    # 32 singular values near 1, times .2 sqrt(72).
    assert float(moved.norm()) == pytest.approx(0.01 * 0.2 * 72**0.5 * 32**0.5, rel=0.2)


def test_weights_without_gradient_stay() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 4))
    Muon([weight]).step()
    assert bool((weight == 1).all())


def test_momentum_remembers_earlier_gradients() -> None:
    first, second = matrix(8, 8, 2), matrix(8, 16, 2)[:, :8]
    ends = []
    for gradients in ([first, second], [second, second]):
        weight = torch.nn.Parameter(torch.zeros(8, 8))
        optimizer, before = Muon([weight], lr=0.1), torch.zeros(8, 8)
        for gradient in gradients:
            before, weight.grad = weight.detach().clone(), gradient.clone()
            optimizer.step()
        ends.append(weight.detach() - before)
    assert float((ends[0] - ends[1]).norm()) > 0.05


def test_least_squares_are_solved() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, solution = torch.randn(64, 16, generator=generator), torch.randn(16, 8, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(16, 8))
    optimizer = Muon([weight])
    losses = []
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 200)
        loss = (inputs @ weight - inputs @ solution).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-3 * losses[0]
