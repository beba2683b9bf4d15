"""RGB becomes the YUV that ITU-T H.273 defines, to a rounding, and comes back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fsr.runtime.media.colours import BT601, BT709, UNSPECIFIED, Colours, _array

pytest.importorskip("av", reason="needs fsr-edge[video]")

KNOWN = (BT709, 4, 5, BT601, 7, 9, 10)


def exact(pixels: np.ndarray, red: float, blue: float) -> list[np.ndarray]:
    """Y, Cb and Cr in float64, the last two at half the size; the definition, step by step."""
    r, g, b = np.moveaxis(pixels / 255, -1, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    whole = 16 + 219 * luma, 128 + 112 * (b - luma) / (1 - blue), 128 + 112 * (r - luma) / (1 - red)
    height, width = luma.shape
    return [whole[0], *(one.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for one in whole[1:])]


@pytest.mark.parametrize("size_wh", [(96, 64), (98, 66), (2, 2), (34, 1280)])
@pytest.mark.parametrize(("matrix", "red", "blue"), [(BT709, 0.2126, 0.0722), (BT601, 0.299, 0.114)])
def test_a_picture_becomes_what_the_standard_says(
    matrix: int, red: float, blue: float, size_wh: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    frame = Colours(matrix, False).from_rgb(pixels)
    for plane, expected in zip(frame.planes, exact(pixels, red, blue), strict=True):
        error = _array(plane) - expected
        assert np.abs(error).max() < 1.5
        if error.size > 1000:
            assert abs(error.mean()) < 0.1 and error.std() < 0.4


@pytest.mark.parametrize("matrix", KNOWN)
def test_smooth_colours_come_back(matrix: int) -> None:
    from av.video.reformatter import VideoReformatter

    few = np.random.default_rng(1).integers(0, 256, (3, 4, 3), np.uint8)
    pixels = np.asarray(cv2.resize(few, (160, 120), interpolation=cv2.INTER_LINEAR), np.uint8)
    colours = Colours(matrix, False, UNSPECIFIED, UNSPECIFIED)
    error = colours.to_rgb(colours.from_rgb(pixels), VideoReformatter(), (160, 120)).astype(float) - pixels
    assert np.abs(error.mean((0, 1))).max() < 0.4 and error.std() < 1.5
