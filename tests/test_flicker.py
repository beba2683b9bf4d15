"""Flicker is the change of the error in the face's own frame of reference: none of a face that moves rightly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fsr.runtime.bench.flicker import FlickerMeter, luma, smaller
from fsr.runtime.geometry import Transform, compose, transform_points, warp
from fsr.runtime.pixels import RgbImage

SIDE = 128
FRAMES = 12


@pytest.fixture
def crop(astronaut: RgbImage) -> RgbImage:
    return np.asarray(cv2.resize(astronaut[20:276, 90:346], (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def place(time: float) -> Transform:
    return np.array([[0.9, 0, 20 + 3.3 * time], [0, 0.9, 10 + 4 * np.sin(time)]])


def measured(crop: RgbImage, shake: float = 0.0, lag: float = 0.0, gain: float = 1.0):
    meter, rng = FlickerMeter(), np.random.default_rng(0)
    for time in range(FRAMES):
        shaken = compose(np.array([[1, 0, shake * rng.normal()], [0, 1, shake * rng.normal()]]), place(time))
        image = warp(np.asarray(np.clip(crop * gain, 0, 255), np.uint8), shaken, (200, 150))
        found = {7: transform_points(place(time - lag), [[(SIDE - 1) / 2] * 2])[0]}
        meter.add(time, image, 1, {7: (crop, place(time))}, found)
    return meter.steadiness


def test_a_face_in_its_place_hardly_flickers_and_one_that_shakes_does(crop: RgbImage) -> None:
    still, little, much = (measured(crop, shake) for shake in (0, 0.3, 1.0))
    assert still.flicker < 2 and still.psnr > 32 and still.looks == FRAMES
    assert still.flicker < little.flicker < 0.6 * much.flicker


def test_a_constant_error_is_none_of_flicker_but_of_psnr(crop: RgbImage) -> None:
    right, dark = measured(crop), measured(crop, gain=0.8)
    assert dark.flicker < 1.1 * right.flicker and dark.psnr < right.psnr - 8


def test_flicker_is_in_grey_levels(crop: RgbImage) -> None:
    """A picture that brightens and darkens by 6 levels changes by 12 from frame to frame."""
    meter = FlickerMeter()
    for time in range(4):
        level = np.int16(6 if time % 2 else -6)
        image = np.clip(crop.astype(np.int16) // 2 + 50 + level, 0, 255).astype(np.uint8)
        meter.add(time, image, 1, {0: (crop, np.eye(2, 3))})
    assert meter.steadiness.flicker == pytest.approx(12, abs=0.3)


@pytest.mark.parametrize("lag", [0.0, 0.5, 2.0])
def test_lag_is_in_frames(crop: RgbImage, lag: float) -> None:
    assert measured(crop, lag=lag).lag == pytest.approx(lag, abs=0.25 * lag + 0.02)


def test_frames_apart_are_no_neighbours(crop: RgbImage) -> None:
    meter = FlickerMeter()
    for time in (0, 2, 4):
        meter.add(time, np.full((150, 200, 3), 40 * time, np.uint8), 1, {0: (crop, np.eye(2, 3))})
    assert meter.steadiness.flicker == 0
    assert luma(smaller(crop)).shape == (96, 96)
