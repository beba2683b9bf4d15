"""Looks at a face are averaged where nothing changes, and not where something does."""

from __future__ import annotations

import numpy as np
import pytest

from fsr.runtime.align import RESTORED, RestoredFace
from fsr.runtime.detect import Face
from fsr.runtime.fuse import Fusion
from fsr.runtime.pixels import RgbImage

SIDE = 32


def face(low: RgbImage, track: int | None = 1, model: str = "m") -> RestoredFace:
    found = Face(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 0.9)
    return RestoredFace(found, 30.0, RESTORED, model, np.eye(2, 3), low, track=track)


def low_of(fused: list[RestoredFace]) -> RgbImage:
    (one,) = fused
    assert one.low is not None
    return one.low


@pytest.fixture
def still(rng: np.random.Generator) -> RgbImage:
    return rng.integers(60, 200, (SIDE, SIDE, 3)).astype(np.uint8)


def noisy(picture: RgbImage, rng: np.random.Generator) -> RgbImage:
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).round().astype(np.uint8)


def error(got: RgbImage, wanted: RgbImage) -> float:
    return float(np.sqrt(((got.astype(float) - wanted) ** 2).mean()))


def test_noise_averages_out(still: RgbImage, rng: np.random.Generator) -> None:
    fusion = Fusion()
    fused = [low_of(fusion([face(noisy(still, rng))])) for _ in range(20)]
    assert error(fused[0], still) > 3.5 and error(fused[-1], still) < 2


def test_what_changes_is_there_at_once_and_the_rest_stays_smooth(still: RgbImage, rng: np.random.Generator) -> None:
    fusion = Fusion()
    for _ in range(20):
        fusion([face(noisy(still, rng))])
    blinked = still.copy()
    blinked[8:16, 8:16] = 255 - blinked[8:16, 8:16] // 2
    low = low_of(fusion([face(noisy(blinked, rng))]))
    assert error(low[9:15, 9:15], blinked[9:15, 9:15]) < 8
    assert error(low[20:], still[20:]) < 2


@pytest.mark.parametrize(("track", "model"), [(2, "m"), (None, "m"), (1, "other")])
def test_another_face_or_model_begins_anew(still: RgbImage, track: int | None, model: str) -> None:
    fusion = Fusion()
    fusion([face(np.zeros_like(still))])
    assert (low_of(fusion([face(still, track, model)])) == still).all()


def test_a_face_that_was_away_begins_anew(still: RgbImage) -> None:
    fusion = Fusion()
    fusion([face(np.where(still > 2, still - 2, 0).astype(np.uint8))])
    fusion([])
    assert (low_of(fusion([face(still)])) == still).all()
