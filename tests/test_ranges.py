"""Thresholds of int8: what a histogram keeps, and what each method makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fsr.calibration.ranges import BINS, LEVELS, METHODS, Histogram, mse, threshold
from fsr.runtime.errors import CalibrationError, UsageError

each_method = pytest.mark.parametrize("method", METHODS)


def of(*batches: np.ndarray) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch)
    return histogram


def int8_error(values: np.ndarray, limit: float) -> float:
    """Mean squared error of the values themselves, by the definition."""
    scale = limit / LEVELS
    return float(np.mean((values - np.clip(np.rint(values / scale), -LEVELS, LEVELS) * scale) ** 2))


@given(st.lists(arrays(np.float32, st.integers(0, 40), elements=st.floats(-1e4, 1e4, width=32)), max_size=4))
@example([np.array([1.1754944e-38], np.float32)])
def test_a_histogram_counts_every_value_but_zeros(batches: list[np.ndarray]) -> None:
    histogram = of(*batches)
    values = np.concatenate([np.zeros(0, np.float32), *batches])
    assert histogram.counts.sum() == np.count_nonzero(values)
    assert histogram.largest == np.abs(values).max(initial=0)
    assert histogram.signed == bool((values < 0).any())


def test_a_histogram_grows_without_losing_what_was_counted(rng: np.random.Generator) -> None:
    small = np.abs(rng.normal(0, 1, 5000)).astype(np.float32)
    grown, at_once = of(small, np.array([100.0], np.float32)), of(np.append(small, np.float32(100.0)))
    assert grown.counts.sum() == at_once.counts.sum() == 5001
    assert grown.top >= 100
    share = [np.interp(1.0, h.centres, np.cumsum(h.counts)) / 5001 for h in (grown, at_once)]
    assert share[0] == pytest.approx((small <= 1).mean(), abs=0.02)
    assert share[1] == pytest.approx(share[0], abs=0.02)


@each_method
def test_a_threshold_lies_within_the_values(method: str, rng: np.random.Generator) -> None:
    values = rng.normal(0, 3, 20_000).astype(np.float32)
    limit = threshold(of(values), method)
    assert 0.1 * np.abs(values).max() <= limit <= np.abs(values).max()


@each_method
def test_a_threshold_scales_with_the_values(method: str, rng: np.random.Generator) -> None:
    values = rng.laplace(0, 1, 20_000).astype(np.float32)
    assert threshold(of(values * 1024), method) == pytest.approx(1024 * threshold(of(values), method), rel=1e-6)


@pytest.mark.parametrize("method", ["entropy", "percentile"])  # by mse, clipping a value that wild costs more
def test_one_wild_value_moves_minmax_alone(method: str, rng: np.random.Generator) -> None:
    values = rng.normal(0, 1, 100_000).astype(np.float32)
    wild = of(values, np.array([40.0], np.float32))
    assert threshold(wild, "minmax") == 40
    assert threshold(wild, method) < 10


def test_mse_is_the_best_threshold_there_is(rng: np.random.Generator) -> None:
    values = np.concatenate([rng.laplace(0, 1, 50_000), rng.normal(0, 0.1, 50_000)]).astype(np.float32)
    found = int8_error(values, mse(of(values)))
    grid = np.linspace(0.02, 1, 300) * np.abs(values).max()
    assert found <= 1.03 * min(int8_error(values, limit) for limit in grid)
    assert found < 0.8 * int8_error(values, float(np.abs(values).max()))  # and not by chance: minmax is far from it


def test_entropy_keeps_all_of_what_int8_holds_exactly() -> None:
    steps = np.repeat(np.arange(1, LEVELS + 1), 100).astype(np.float32)
    assert threshold(of(steps), "entropy") > 0.9 * LEVELS


def test_percentile_reaches_that_share(rng: np.random.Generator) -> None:
    values = rng.uniform(0, 1, 1_000_000).astype(np.float32)
    assert threshold(of(values), "percentile") == pytest.approx(0.9999, abs=1 / BINS)


@each_method
def test_a_tensor_of_zeros_has_a_threshold(method: str) -> None:
    assert threshold(of(np.zeros((2, 3), np.float32)), method) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value: float) -> None:
    with pytest.raises(CalibrationError, match="not finite"):
        of(np.array([1, value], np.float32))


def test_an_unknown_method() -> None:
    with pytest.raises(UsageError, match="got 'median', expected one of minmax, entropy, percentile, mse"):
        threshold(of(np.ones(3, np.float32)), "median")
