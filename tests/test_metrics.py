"""Each protocol against an independent implementation, by-hand values, properties, errors."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import skimage.metrics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fsr.runtime.errors import InputError, UsageError
from fsr.runtime.geometry import resize
from fsr.runtime.pixels import RgbBatch, RgbImage
from fsr.train.metrics import PROTOCOLS, psnr, psnr_batch, score, ssim, ssim_batch

FloatImage = NDArray[np.float64]


def noisy(image: RgbImage, sigma: float, seed: int = 0) -> RgbImage:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


@pytest.fixture
def faces(astronaut: RgbImage) -> RgbBatch:
    """Eyes to chin, the whole head, and a busy part of the suit; the crops touch 0 and 255."""
    crops = [astronaut[60:188, 160:288], astronaut[10:210, 120:320], astronaut[300:428, 200:328]]
    return np.stack([resize(crop, (128, 128)) for crop in crops])


@pytest.fixture
def damaged(faces: RgbBatch) -> RgbBatch:
    """Blur, noise, and x8 bicubic: one kind a face."""
    blurred = np.asarray(cv2.GaussianBlur(faces[0], (0, 0), 2), np.uint8)
    return np.stack([blurred, noisy(faces[1], 12), resize(resize(faces[2], (16, 16)), (128, 128))])


# The rules once more, written plainly from face to number, with scikit-image or a loop over windows.


def luma(image: RgbImage) -> FloatImage:
    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
    return (65.481 * red + 128.553 * green + 24.966 * blue) / 255 + 16


def loop_ssim(x: FloatImage, y: FloatImage) -> float:
    """Wang et al. 2004, one 11x11 window after the other, (co)variances taken about the mean."""
    one_axis = np.array([math.exp(-(k**2) / (2 * 1.5**2)) for k in range(-5, 6)])
    weights = np.outer(one_axis, one_axis) / one_axis.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = x[row : row + 11, column : column + 11], y[row : row + 11, column : column + 11]
            ua, ub = (weights * a).sum(), (weights * b).sum()
            va, vb = (weights * (a - ua) ** 2).sum(), (weights * (b - ub) ** 2).sum()
            vab = (weights * (a - ua) * (b - ub)).sum()
            values.append((2 * ua * ub + c1) * (2 * vab + c2) / ((ua**2 + ub**2 + c1) * (va + vb + c2)))
    return float(np.mean(values))


def skimage_gaussian_ssim(x: NDArray[np.generic], y: NDArray[np.generic]) -> float:
    found = skimage.metrics.structural_similarity(
        x, y, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(np.asarray(found))


def by_the_book(protocol: str, sr: RgbImage, hr: RgbImage) -> tuple[float, float]:
    if protocol == "rgb":
        channels = [skimage_gaussian_ssim(sr[..., c], hr[..., c]) for c in range(3)]
        return skimage_psnr(sr, hr), float(np.mean(channels))
    y_sr, y_hr = luma(sr), luma(hr)
    if protocol == "sparnet":
        y_sr, y_hr = y_sr.astype(np.uint8), y_hr.astype(np.uint8)
        return skimage_psnr(y_sr, y_hr), skimage_gaussian_ssim(y_sr, y_hr)
    y_sr, y_hr = y_sr[8:-8, 8:-8], y_hr[8:-8, 8:-8]
    if protocol == "dic":
        y_sr, y_hr = y_sr.round(), y_hr.round()
        return skimage_psnr(y_sr, y_hr), loop_ssim(y_sr, y_hr)
    found = skimage.metrics.structural_similarity(y_sr, y_hr, data_range=255)
    return skimage_psnr(y_sr, y_hr), float(np.asarray(found))


def skimage_psnr(x: NDArray[np.generic], y: NDArray[np.generic]) -> float:
    return float(skimage.metrics.peak_signal_noise_ratio(y, x, data_range=255))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_agrees_with_an_independent_implementation(protocol: str, faces: RgbBatch, damaged: RgbBatch) -> None:
    scores = score(protocol, damaged, faces)
    expected = np.array([by_the_book(protocol, sr, hr) for sr, hr in zip(damaged, faces, strict=True)])
    np.testing.assert_allclose(scores.psnr, expected[:, 0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(scores.ssim, expected[:, 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_picture_scores_the_same_alone_and_in_any_batch(protocol: str, faces: RgbBatch, damaged: RgbBatch) -> None:
    hr, sr = np.tile(faces, (3, 1, 1, 1)), np.tile(damaged, (3, 1, 1, 1))  # 9 faces: more than one chunk
    scores = score(protocol, sr, hr)
    alone_psnr = [psnr(protocol, x, y) for x, y in zip(sr, hr, strict=True)]
    alone_ssim = [ssim(protocol, x, y) for x, y in zip(sr, hr, strict=True)]
    np.testing.assert_allclose(scores.psnr, alone_psnr, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores.ssim, alone_ssim, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(scores.psnr, psnr_batch(protocol, sr, hr))
    np.testing.assert_array_equal(scores.ssim, ssim_batch(protocol, sr, hr))
    assert scores.mean_psnr == pytest.approx(np.mean(alone_psnr))
    assert scores.mean_ssim == pytest.approx(np.mean(alone_ssim))


def test_the_four_protocols_disagree(faces: RgbBatch, damaged: RgbBatch) -> None:
    scores = [score(protocol, damaged, faces) for protocol in PROTOCOLS]
    assert len({round(found.mean_psnr, 3) for found in scores}) == 4
    assert len({round(found.mean_ssim, 4) for found in scores}) == 4


def test_oblong_pictures_are_scored(astronaut: RgbImage) -> None:
    hr = astronaut[:60, :100]
    for protocol in PROTOCOLS:
        expected_psnr, expected_ssim = by_the_book(protocol, noisy(hr, 9), hr)
        assert psnr(protocol, noisy(hr, 9), hr) == pytest.approx(expected_psnr, abs=1e-4)
        assert ssim(protocol, noisy(hr, 9), hr) == pytest.approx(expected_ssim, abs=1e-6)


# Pictures that can be scored by hand.


def plain(red: int, green: int, blue: int, size: int = 40) -> RgbImage:
    return np.full((size, size, 3), (red, green, blue), np.uint8)


def test_one_level_everywhere_is_48_13_db() -> None:
    assert psnr("rgb", plain(101, 101, 101), plain(100, 100, 100)) == pytest.approx(20 * math.log10(255))


def test_black_against_white() -> None:
    black, white = plain(0, 0, 0), plain(255, 255, 255)
    c1 = (0.01 * 255) ** 2
    assert psnr("rgb", black, white) == pytest.approx(0)
    assert ssim("rgb", black, white) == pytest.approx(c1 / (255**2 + c1))
    for protocol in ("sparnet", "dic", "hit"):  # Y runs from 16 to 235
        assert psnr(protocol, black, white) == pytest.approx(20 * math.log10(255 / 219))
        expected = (2 * 16 * 235 + c1) / (16**2 + 235**2 + c1)
        assert ssim(protocol, black, white) == pytest.approx(expected)


@pytest.mark.parametrize(("protocol", "levels"), [("sparnet", 0), ("dic", 1), ("hit", 219 / 255)])
def test_each_protocol_quantises_luma_its_own_way(protocol: str, levels: float) -> None:
    # Grey v has Y = 16 + v 219 / 255: 1 -> 16.859 is floored to 16, rounded to 17.
    found = psnr(protocol, plain(1, 1, 1), plain(0, 0, 0))
    assert found == pytest.approx(20 * math.log10(255 / levels) if levels else math.inf)


def test_red_green_and_blue_weigh_as_in_bt601() -> None:
    black = plain(0, 0, 0)
    for colour, weight in [((255, 0, 0), 65.481), ((0, 255, 0), 128.553), ((0, 0, 255), 24.966)]:
        assert psnr("hit", plain(*colour), black) == pytest.approx(20 * math.log10(255 / weight))


def test_whole_luma_is_not_truncated_by_a_rounding_error() -> None:
    # Y of 0, 85, 170 and 255 is 16, 89, 162 and 235 exactly; a sum one ulp short would floor one lower.
    for grey, y in [(85, 89), (170, 162), (255, 235)]:
        expected = 20 * math.log10(255 / (y - 16))
        assert psnr("sparnet", plain(grey, grey, grey), plain(0, 0, 0)) == pytest.approx(expected)


@pytest.mark.parametrize(("protocol", "border"), [("sparnet", 0), ("dic", 8), ("hit", 8), ("rgb", 0)])
def test_exactly_the_border_is_ignored(protocol: str, border: int, astronaut: RgbImage) -> None:
    hr = astronaut[:64, :64]
    for row in {0, border - 1, border} - {-1}:
        sr = hr.copy()
        sr[row, 30] ^= 128
        ignored = row < border
        assert math.isinf(psnr(protocol, sr, hr)) is ignored
        assert (ssim(protocol, sr, hr) == 1) is ignored


# Properties.

protocols = st.sampled_from(list(PROTOCOLS))


@given(protocols, st.integers(0, 2**32 - 1))
def test_identical_pictures_score_inf_and_one(protocol: str, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (1, 28, 31, 3), dtype=np.uint8)
    scores = score(protocol, image, image.copy())
    assert math.isinf(scores.mean_psnr)
    assert scores.mean_ssim == 1


@given(protocols, st.integers(0, 2**32 - 1))
def test_the_order_of_the_pictures_does_not_matter(protocol: str, seed: int) -> None:
    x, y = np.random.default_rng(seed).integers(0, 256, (2, 1, 28, 31, 3), dtype=np.uint8)
    forth, back = score(protocol, x, y), score(protocol, y, x)
    np.testing.assert_allclose(forth.psnr, back.psnr, rtol=1e-12)
    np.testing.assert_allclose(forth.ssim, back.ssim, rtol=0, atol=1e-12)
    assert -1 <= forth.mean_ssim < 1


@given(protocols, st.integers(0, 2**32 - 1))
def test_more_noise_scores_lower(protocol: str, seed: int) -> None:
    smooth = np.broadcast_to(np.linspace(40, 215, 48)[:, None, None], (48, 48, 3)).astype(np.uint8)
    steps = np.stack([noisy(smooth, sigma, seed) for sigma in (3, 8, 20)])
    scores = score(protocol, steps, np.stack([smooth] * 3))
    assert (np.diff(scores.psnr) < 0).all()
    assert (np.diff(scores.ssim) < 0).all()


# Errors.


def test_an_unknown_protocol_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="got protocol 'y', expected one of sparnet, dic, hit, rgb"):
        psnr("y", plain(0, 0, 0), plain(0, 0, 0))


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="expected equal shapes"):
        psnr("rgb", plain(0, 0, 0, size=40), plain(0, 0, 0, size=41))


def test_a_batch_is_never_broadcast() -> None:
    with pytest.raises(InputError, match="expected equal shapes"):
        score("rgb", plain(0, 0, 0)[None], np.stack([plain(0, 0, 0)] * 2))


def test_floats_are_refused() -> None:
    black = plain(0, 0, 0)
    with pytest.raises(TypeError, match=r"sr: got float32 .* expected uint8 \(H, W, 3\)"):
        ssim("rgb", black.astype(np.float32), black)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"hr: got float64 .* expected uint8 \(N, H, W, 3\)"):
        score("rgb", black[None], black[None] / 255)  # pyright: ignore[reportArgumentType]


def test_one_picture_is_no_batch() -> None:
    with pytest.raises(TypeError, match="expected uint8"):
        score("rgb", plain(0, 0, 0), plain(0, 0, 0))


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InputError, match="expected at least one"):
        score("rgb", np.empty((0, 32, 32, 3), np.uint8), np.empty((0, 32, 32, 3), np.uint8))


@pytest.mark.parametrize(("protocol", "smallest"), [("sparnet", 11), ("dic", 27), ("hit", 23), ("rgb", 11)])
def test_faces_smaller_than_a_window_are_refused(protocol: str, smallest: int) -> None:
    assert ssim(protocol, plain(9, 9, 9, size=smallest), plain(9, 9, 9, size=smallest)) == 1
    too_small = plain(9, 9, 9, size=smallest - 1)
    with pytest.raises(InputError, match=f"{smallest} px"):
        ssim(protocol, too_small, too_small)
