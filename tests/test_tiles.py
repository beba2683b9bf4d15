"""Faces laid out as tiles come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from fsr.runtime.errors import BundleError
from fsr.runtime.tiles import tile, untile


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("columns", [1, 3, 8])
def test_untiling_undoes_tiling(rng: np.random.Generator, count: int, columns: int) -> None:
    faces = rng.integers(0, 256, (count, 5, 5, 3), np.uint8)
    picture = tile(faces, columns)
    rows = -(-count // columns)
    assert picture.shape == (5 * rows, 5 * columns, 3) and picture.flags.c_contiguous
    np.testing.assert_array_equal(untile(picture, count, columns), faces)


def test_tiles_run_row_by_row_and_the_rest_is_black() -> None:
    faces = np.arange(1, 4, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(2, 1).repeat(2, 2).repeat(3, 3)
    assert tile(faces, 2)[..., 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 0, 0], [3, 3, 0, 0]]


def test_some_of_the_tiles_may_be_taken(rng: np.random.Generator) -> None:
    faces = rng.integers(0, 256, (9, 4, 4, 3), np.uint8)
    np.testing.assert_array_equal(untile(tile(faces), 2), faces[:2])
    assert untile(tile(faces), 0).shape == (0, 4, 4, 3)


@pytest.mark.parametrize(
    ("shape", "count", "columns"),
    [
        ((8, 17, 3), 1, 8),
        ((9, 16, 3), 1, 8),
        ((2, 16, 3), 9, 8),
        ((2, 4, 3), 1, 8),
        ((0, 16, 3), 1, 8),
        ((8, 16, 3), 1, 0),
        ((8, 16, 3), 1, -8),
        ((8, 16, 3), -1, 8),
    ],
    ids=[
        "width",
        "height",
        "too few",
        "less than a pixel",
        "no row",
        "no column",
        "negative columns",
        "negative count",
    ],
)
def test_a_picture_of_other_tiles_is_refused(shape: tuple[int, ...], count: int, columns: int) -> None:
    with pytest.raises(BundleError, match=f"expected {count} square tiles in rows of {columns}"):
        untile(np.zeros(shape, np.uint8), count, columns)
