"""Low-resolution faces are what Pillow makes, at one native size or at many."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tiny_data import crops

from fsr.train.degrade import shrink, shrink_from_native


def by_pillow(face: np.ndarray, *sizes: int) -> np.ndarray:
    for size in sizes:
        face = np.asarray(Image.fromarray(face).resize((size, size), Image.Resampling.BICUBIC))
    return face


def test_shrink_is_pillows_antialiased_bicubic() -> None:
    faces = crops()[:3]
    np.testing.assert_array_equal(shrink(faces, 16), [by_pillow(face, 16) for face in faces])


def test_a_span_of_one_is_the_clean_degradation() -> None:
    faces = crops()[:3]
    np.testing.assert_array_equal(shrink_from_native(faces, 32, 1.0, seed=0), shrink(faces, 32))


def test_native_sizes_fill_the_span_on_both_sides_and_depend_on_the_seed() -> None:
    face = crops()[0]
    made = shrink_from_native(np.stack([face] * 60), 32, 1.5, seed=0)
    native_of = {by_pillow(face, native, 32).tobytes(): native for native in range(20, 50)}
    natives = [native_of[low.tobytes()] for low in made]
    assert min(natives) < 24 and max(natives) > 42
    assert min(natives) >= 21 and max(natives) <= 48
    assert np.mean(np.array(natives) < 32) == pytest.approx(0.5, abs=0.2)
    np.testing.assert_array_equal(made, shrink_from_native(np.stack([face] * 60), 32, 1.5, seed=0))
    assert not np.array_equal(made, shrink_from_native(np.stack([face] * 60), 32, 1.5, seed=1))


def test_a_native_size_never_exceeds_the_picture() -> None:
    faces = crops()[:8]
    np.testing.assert_array_equal(shrink_from_native(faces, 128, 4.0, seed=3).shape, (8, 128, 128, 3))
