"""The square cut out around a face: what it shows is where its transform says, at any place and any turn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsr.runtime.geometry import transform_points
from fsr.runtime.look import LOOK_FACE, LOOK_SIDE, look_at

HEIGHT, WIDTH = 180, 240
rows, columns = np.mgrid[:HEIGHT, :WIDTH]
PLACES = np.stack([columns, rows, np.full_like(rows, 7)], 2).astype(np.uint8)
"""A picture whose red says the column and whose green says the row."""


@given(st.tuples(st.floats(40, 200), st.floats(40, 140)), st.floats(8, 60), st.floats(0.8, 1.25), st.integers(0, 3))
def test_each_pixel_is_where_the_transform_says(
    middle: tuple[float, float], width: float, shape: float, quarters: int
) -> None:
    half = np.array([width, width * shape]) / 2
    view, frame_from_view = look_at(PLACES, np.concatenate([middle - half, middle + half]), quarters=quarters)
    assert view.shape == (LOOK_SIDE, LOOK_SIDE, 3)
    ys, xs = np.mgrid[8:88:8, 8:88:8]
    expected = transform_points(frame_from_view, np.stack([xs, ys], 2))
    seen = view[ys, xs, :2].astype(float)
    inside = ((expected > 0) & (expected < [WIDTH - 1, HEIGHT - 1])).all(2)
    assert np.abs(seen - expected)[inside].max(initial=0) <= 0.75  # rounding to whole grey levels, and of the weights


@given(st.floats(10, 100), st.floats(10, 100))
def test_the_face_is_in_the_middle_as_wide_as_agreed(width: float, left: float) -> None:
    box = np.array([left, 40.0, left + width, 40 + width])
    _, frame_from_view = look_at(PLACES, box)
    assert transform_points(frame_from_view, [(LOOK_SIDE - 1) / 2] * 2) == pytest.approx((box[:2] + box[2:]) / 2, abs=1)
    assert width / frame_from_view[0, 0] == pytest.approx(LOOK_FACE, rel=0.7 / width + 0.001)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_turns_show_the_same_pixels(quarters: int) -> None:
    box = np.array([100.0, 60, 130, 90])
    upright, _ = look_at(PLACES, box)
    turned, _ = look_at(PLACES, box, quarters=quarters)
    assert np.array_equal(turned, np.rot90(upright, quarters))


@pytest.mark.parametrize(
    ("box", "colour"),
    [
        ((-90, -90, -60, -60), (0, 0, 7)),
        ((300, 300, 330, 330), (WIDTH - 1, HEIGHT - 1, 7)),
        ((50, 50, 50, 50), (50, 50, 7)),
    ],
)
def test_beyond_the_frame_its_last_pixels_go_on(box: tuple[int, ...], colour: tuple[int, ...]) -> None:
    view, _ = look_at(PLACES, np.array(box, float))
    assert np.abs(view.astype(int) - colour).max() <= 1
