"""Colour order, layout and value range change nothing but themselves."""

from __future__ import annotations

import numpy as np
import pytest

from fsr.runtime.pixels import bgr_from_rgb, check_rgb, rgb_from_bgr, to_float_nchw, to_uint8_nhwc


def test_bgr_is_rgb_backwards_and_contiguous(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (4, 5, 3), np.uint8)
    bgr = bgr_from_rgb(image)
    assert (bgr[..., 0] == image[..., 2]).all()
    assert (bgr[..., 1] == image[..., 1]).all()
    assert bgr.flags.c_contiguous
    np.testing.assert_array_equal(rgb_from_bgr(bgr), image)


def test_all_256_levels_survive_the_way_to_a_network_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8)
    batch = np.stack([levels, levels[::-1], np.roll(levels, 7)], -1).reshape(2, 16, 8, 3)
    values = to_float_nchw(batch)
    assert values.dtype == np.float32 and values.shape == (2, 3, 16, 8) and values.flags.c_contiguous
    assert values.min() == 0 and values.max() == 1
    back = to_uint8_nhwc(values)
    assert back.dtype == np.uint8 and back.flags.c_contiguous
    np.testing.assert_array_equal(back, batch)


def test_channels_become_planes_and_planes_channels() -> None:
    batch = np.zeros((1, 2, 4, 3), np.uint8)
    batch[0, 1, 3] = [10, 20, 30]
    values = to_float_nchw(batch)
    np.testing.assert_array_equal(values[0, :, 1, 3], np.array([10, 20, 30], np.float32) / np.float32(255))
    assert np.count_nonzero(values) == 3


def test_every_level_is_the_nearest_float() -> None:
    batch = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    expected = (np.arange(256) / 255).astype(np.float32)
    np.testing.assert_array_equal(to_float_nchw(batch)[0, 0].ravel(), expected)


def test_halves_are_rounded_to_even() -> None:
    halves = np.arange(255, dtype=np.float32) + np.float32(0.5)
    values = np.divide(halves, 255, dtype=np.float32)
    exact = values * np.float32(255) == halves  # where the division left a half a half
    assert exact.sum() > 100
    planes = np.broadcast_to(values[exact], (1, 3, 1, exact.sum()))
    even = 2 * np.round(halves[exact] / 2)
    np.testing.assert_array_equal(to_uint8_nhwc(planes)[0, 0, :, 1], even)


def test_values_are_rounded_not_cut() -> None:
    values = np.divide([1.4, 1.6, 100.49, 100.51, 253.6, 254.6], 255, dtype=np.float32)
    got = to_uint8_nhwc(np.broadcast_to(values, (1, 3, 1, 6)))
    assert got[0, 0, :, 0].tolist() == [1, 2, 100, 101, 254, 255]


def test_values_out_of_range_are_clipped_not_wrapped() -> None:
    values = np.array([-10, -0.01, 0, 1, 1.01, 300, -np.inf, np.inf], np.float32)
    got = to_uint8_nhwc(np.broadcast_to(values, (1, 3, 1, 8)))
    assert got[0, 0, :, 0].tolist() == [0, 0, 0, 255, 255, 255, 0, 255]


def test_an_empty_batch_stays_empty() -> None:
    assert to_float_nchw(np.empty((0, 4, 5, 3), np.uint8)).shape == (0, 3, 4, 5)
    assert to_uint8_nhwc(np.empty((0, 3, 4, 5), np.float32)).shape == (0, 4, 5, 3)


def test_a_picture_is_passed_through_itself() -> None:
    image = np.zeros((1, 1, 3), np.uint8)
    assert check_rgb(image) is image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([[0]], r"crop: got list, expected uint8 \(H, W, 3\) in RGB order"),
        (None, r"crop: got NoneType"),
        (np.zeros((4, 5), np.uint8), r"crop: got uint8 \(4, 5\), expected uint8 \(H, W, 3\)"),
        (np.zeros((4, 5, 4), np.uint8), r"crop: got uint8 \(4, 5, 4\)"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"crop: got uint8 \(1, 4, 5, 3\)"),
        (np.zeros((4, 5, 3), np.float32), r"crop: got float32 \(4, 5, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), r"crop: got an empty picture \(0, 5, 3\), expected at least one pixel"),
    ],
    ids=["list", "none", "grey", "rgba", "batch", "float", "empty"],
)
def test_anything_else_is_refused_by_what_it_is(image: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        check_rgb(image, "crop")
