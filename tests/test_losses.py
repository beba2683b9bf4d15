"""Losses against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fsr.train.losses import LOSSES
from fsr.train.metrics import psnr_batch


def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    high = rng.integers(40, 216, (3, 32, 32, 3), np.uint8)
    noise = rng.normal(0, [[[[3]]], [[[10]]], [[[25]]]], high.shape)
    return np.clip(high + noise, 0, 255).astype(np.uint8), high


def as_tensor(faces: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255


def test_l1_is_the_mean_absolute_difference() -> None:
    restored, high = pictures()
    expected = np.abs(restored.astype(float) - high).mean() / 255
    assert LOSSES["l1"](as_tensor(restored), as_tensor(high)).item() == pytest.approx(expected, rel=1e-5)


def test_psnr_is_minus_the_mean_of_the_tables_decibels() -> None:
    restored, high = pictures()
    expected = -psnr_batch("rgb", restored, high).mean() / 100
    assert LOSSES["psnr"](as_tensor(restored), as_tensor(high)).item() == pytest.approx(expected, rel=1e-4)


def test_psnr_stays_finite_on_identical_faces() -> None:
    high = as_tensor(pictures()[1]).requires_grad_()
    loss = LOSSES["psnr"](high, high.detach())
    loss.backward()
    assert torch.isfinite(loss) and high.grad is not None and torch.isfinite(high.grad).all()
