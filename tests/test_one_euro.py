"""Small deviations are smoothed, large ones followed, and the scale of the face does not matter."""

from __future__ import annotations

import numpy as np
import pytest

from fsr.runtime.one_euro import CUTOFF, NOISE, gain

FACE = np.array([[0, 0], [10, 0], [5, 6], [1, 10], [9, 10]], float)


def shifted(eye_distances: float) -> np.ndarray:
    return FACE + np.array([10 * eye_distances, 0])


def test_what_the_detector_errs_by_itself_is_mostly_ignored() -> None:
    resting = gain(FACE, FACE)
    assert resting == gain(FACE, shifted(0.9 * NOISE)) == pytest.approx(1 / (1 + 1 / (2 * np.pi * CUTOFF)))
    assert resting < 0.25


def test_the_farther_it_is_the_more_of_it_is_believed() -> None:
    gains = [gain(FACE, shifted(far)) for far in (0.1, 0.3, 0.6, 1.2)]
    assert gains == sorted(gains) and gains[-1] > 0.7


def test_the_size_of_the_face_does_not_matter() -> None:
    assert gain(FACE, shifted(0.5)) == pytest.approx(gain(5 * FACE, 5 * shifted(0.5)))
