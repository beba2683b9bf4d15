"""A pasted face lies where the transform says, changes nothing else, and leaves no seam."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsr.runtime.geometry import Transform, compose, crop_from_landmarks, invert, scaling, transform_points, warp
from fsr.runtime.paste import FEATHER, feather, paste, prefiltered, rectangle
from fsr.runtime.pixels import RgbImage

SIDE = 128


def similarity(scale: float, degrees: float, x: float, y: float) -> Transform:
    """canvas_from_restored: turned and scaled about the restored face's middle, which comes to lie at (x, y)."""
    turn = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.full(2, (SIDE - 1) / 2)
    return np.hstack([linear, (np.array([x, y]) - linear @ middle)[:, None]])


def smooth_scene(width: int, height: int, seed: int = 0) -> RgbImage:
    """Waves slow enough to survive resampling, another in each colour."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(0.01, 0.06, (3, 3))]
    return (127 + 100 * np.stack(waves, -1)).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(scale=st.floats(0.1, 2.5), degrees=st.floats(-180, 180), x=st.floats(-20, 320), y=st.floats(-20, 220))
def test_pasting_what_is_there_already_changes_little(scale: float, degrees: float, x: float, y: float) -> None:
    scene = smooth_scene(300, 200)
    canvas_from_restored = similarity(scale, degrees, x, y)
    restored = warp(scene, invert(canvas_from_restored), (SIDE, SIDE))
    canvas = scene.copy()
    paste(canvas, restored, canvas_from_restored)
    inside = np.abs(canvas.astype(int) - scene)[2:-2, 2:-2]  # beyond the picture's edges the crop repeats them
    assert inside.max() <= 6


@pytest.mark.parametrize("scale", [0.13, 0.4, 1.0, 1.9])
def test_only_the_square_under_the_face_changes(scale: float) -> None:
    canvas = np.zeros((240, 320, 3), np.uint8)
    canvas_from_restored = similarity(scale, 20, 150, 110)
    paste(canvas, np.full((SIDE, SIDE, 3), 255, np.uint8), canvas_from_restored)
    y, x = np.mgrid[:240, :320]
    inside = transform_points(invert(canvas_from_restored), np.stack([x, y], -1))
    outside = (inside < -1.5 / min(scale, 1)).any(-1) | (inside > SIDE + 0.5 / min(scale, 1)).any(-1)
    assert not canvas[outside].any()
    middle = (np.abs(inside - (SIDE - 1) / 2) < SIDE * (0.5 - FEATHER) - 2 / scale).all(-1)
    assert (canvas[middle] >= 254).all() and middle.any()


@pytest.mark.parametrize("scale", [0.11, 0.3, 0.77, 1.0, 1.6])
def test_a_mark_comes_to_lie_where_the_transform_says(scale: float) -> None:
    """Half a pixel of the canvas would show."""
    restored = np.zeros((SIDE, SIDE, 3), np.uint8)
    restored[52:68, 60:76] = 255
    canvas = np.zeros((240, 320, 3), np.uint8)
    canvas_from_restored = similarity(scale, 33, 150.3, 110.7)
    paste(canvas, restored, canvas_from_restored)
    weight = canvas[..., 1].astype(float)
    y, x = np.mgrid[:240, :320]
    got = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(got, transform_points(canvas_from_restored, [67.5, 59.5]), atol=0.1)


def test_a_shrunk_face_is_averaged_not_sampled() -> None:
    """Stripes one pixel wide become grey; samples of them would be black and white."""
    restored = np.zeros((SIDE, SIDE, 3), np.uint8)
    restored[:, ::2] = 255
    canvas = np.full((40, 40, 3), 127, np.uint8)
    paste(canvas, restored, similarity(0.15, 0, 20, 20))
    assert np.abs(canvas.astype(int) - 127).max() <= 3


def test_colours_keep_their_order_and_range() -> None:
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    restored = np.empty((SIDE, SIDE, 3), np.uint8)
    restored[:] = (250, 130, 7)
    paste(canvas, restored, scaling(1.0))
    assert canvas[64, 64].tolist() == [250, 130, 7]


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_is_the_share_of_the_face(strength: float) -> None:
    canvas = np.full((SIDE, SIDE, 3), 40, np.uint8)
    paste(canvas, np.full((SIDE, SIDE, 3), 200, np.uint8), scaling(1.0), strength)
    assert abs(int(canvas[64, 64, 0]) - (40 + 160 * strength)) <= 1


def test_the_feather_fades_evenly_from_nothing() -> None:
    weights = feather(64)
    assert weights.max() == 1 and weights.min() < 0.02
    assert np.abs(np.diff(weights, axis=0)).max() < 0.2
    np.testing.assert_array_equal(weights, weights[::-1, ::-1])
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 1  # it is shared by every paste


@pytest.mark.parametrize("middle", [(-500.0, 50.0), (50.0, 900.0)])
def test_a_face_outside_the_picture_changes_nothing(middle: tuple[float, float]) -> None:
    canvas = smooth_scene(100, 100)
    before = canvas.copy()
    paste(canvas, np.zeros((SIDE, SIDE, 3), np.uint8), similarity(1, 10, *middle))
    np.testing.assert_array_equal(canvas, before)


def test_a_face_at_the_border_is_cut() -> None:
    canvas = np.zeros((100, 100, 3), np.uint8)
    paste(canvas, np.full((SIDE, SIDE, 3), 255, np.uint8), similarity(0.5, 0, 0, 99))
    assert canvas[95, 2].tolist() == [255, 255, 255] and not canvas[:60].any()


@given(factor=st.floats(0.02, 4))
def test_prefiltering_leaves_less_than_half_to_shrink_and_nothing_out_of_place(factor: float) -> None:
    restored = smooth_scene(SIDE, SIDE)
    source, canvas_from_source = prefiltered(restored, scaling(factor))
    assert len(source) <= 4 or abs(canvas_from_source[0, 0]) > 0.5 - 1e-9 or factor > 0.5
    scale = SIDE / len(source)
    np.testing.assert_allclose(canvas_from_source, compose(scaling(factor), scaling(scale)))


def test_the_rectangle_holds_the_whole_square() -> None:
    canvas = np.zeros((50, 60, 3), np.uint8)
    assert rectangle(scaling(1.0), 10, canvas) == (0, 0, 11, 11)
    assert rectangle(np.array([[1.0, 0, 55], [0, 1, 45]]), 10, canvas) == (54, 44, 60, 50)


def test_a_crop_goes_back_to_where_it_came_from() -> None:
    """With the aligned crop's own transform: the round trip of the runtime."""
    scene = smooth_scene(200, 160, seed=3)
    landmarks = np.array([[80, 60], [108, 64], [93, 78], [80, 92], [103, 95]], np.float64)
    crop_from_frame = crop_from_landmarks(landmarks, "runtime", 32)
    crop = warp(scene, crop_from_frame, (32, 32))
    canvas = scene.copy()
    paste(canvas, crop, invert(crop_from_frame))
    assert np.abs(canvas.astype(int) - scene).max() <= 4
