"""Low-resolution faces are what Pillow makes, at one native size or at many."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tiny_data import crops

from fsr.runtime.errors import UsageError
from fsr.train.camera import noisy, relit, through_jpeg
from fsr.train.degrade import ROBUST, degrade, shrink


def by_pillow(face: np.ndarray, *sizes: int) -> np.ndarray:
    for size in sizes:
        face = np.asarray(Image.fromarray(face).resize((size, size), Image.Resampling.BICUBIC))
    return face


def test_shrink_is_pillows_antialiased_bicubic() -> None:
    faces = crops()[:3]
    np.testing.assert_array_equal(shrink(faces, 16), [by_pillow(face, 16) for face in faces])


def test_a_span_of_one_is_the_clean_degradation() -> None:
    faces = crops()[:3]
    np.testing.assert_array_equal(degrade(faces, 32, 1.0, seed=0), shrink(faces, 32))


def test_native_sizes_fill_the_span_on_both_sides_and_depend_on_the_seed() -> None:
    face = crops()[0]
    made = degrade(np.stack([face] * 60), 32, 1.5, seed=0)
    native_of = {by_pillow(face, native, 32).tobytes(): native for native in range(20, 50)}
    natives = [native_of[low.tobytes()] for low in made]
    assert min(natives) < 24 and max(natives) > 42
    assert min(natives) >= 21 and max(natives) <= 48
    assert np.mean(np.array(natives) < 32) == pytest.approx(0.5, abs=0.2)
    np.testing.assert_array_equal(made, degrade(np.stack([face] * 60), 32, 1.5, seed=0))
    assert not np.array_equal(made, degrade(np.stack([face] * 60), 32, 1.5, seed=1))


def test_a_native_size_never_exceeds_the_picture() -> None:
    faces = crops()[:8]
    np.testing.assert_array_equal(degrade(faces, 128, 4.0, seed=3).shape, (8, 128, 128, 3))


def spread(faces: np.ndarray) -> float:
    """Mean difference of neighbouring pixels."""
    return float(np.abs(np.diff(faces.astype(int), axis=1)).mean())


def test_robust_faces_are_seen_by_cameras_of_their_own_and_depend_on_the_seed() -> None:
    same = np.stack([crops()[0]] * 60)
    made = degrade(same, 32, 1.0, seed=0, kind=ROBUST)
    np.testing.assert_array_equal(made, degrade(same, 32, 1.0, seed=0, kind=ROBUST))
    assert not np.array_equal(made, degrade(same, 32, 1.0, seed=1, kind=ROBUST))
    clean = shrink(same[:1], 32)[0]
    untouched = np.mean([np.array_equal(face, clean) for face in made])
    assert 0.1 < untouched < 0.5
    assert np.abs(made.astype(int) - clean).mean() < 12  # grey levels: damaged, not ruined


def test_a_face_depends_on_its_own_place_alone() -> None:
    faces = crops()[:6]
    np.testing.assert_array_equal(degrade(faces, 32, 2.0, 5, ROBUST)[:3], degrade(faces[:3], 32, 2.0, 5, ROBUST))


def test_noise_has_the_strength_asked_for_and_grows_with_the_light() -> None:
    rng = np.random.default_rng(0)
    dark, middle = (noisy(np.full((200, 200, 3), level, np.uint8), 5.0, rng) for level in (40, 128))
    assert middle.astype(float).std() == pytest.approx(5, rel=0.05)
    assert dark.astype(float).std() < 4


def test_jpeg_keeps_place_and_colours_wherever_its_blocks_begin() -> None:
    face = shrink(crops()[:1], 32)[0]
    for offset in ((0, 0), (3, 11), (15, 15)):
        coded = through_jpeg(face, 95, offset)
        assert coded.shape == face.shape
        assert np.abs(coded.astype(int) - face).mean() < 6
    assert spread(through_jpeg(face, 5, (0, 0))[None]) < spread(face[None])


def test_other_light_changes_some_faces_and_leaves_the_rest() -> None:
    same = np.stack([crops()[0]] * 40)
    lit = relit(same, seed=0)
    changed = [not np.array_equal(face, same[0]) for face in lit]
    assert 0.25 < np.mean(changed) < 0.75
    order = np.argsort(same[0, ..., 1], axis=None)
    for face in lit:
        assert (np.diff(face[..., 1].ravel()[order].astype(int)) >= 0).all()  # brighter stays brighter


def test_an_unknown_degradation_is_refused() -> None:
    with pytest.raises(UsageError, match="--degradation: got 'dirty', expected one of clean, robust"):
        degrade(crops()[:1], 16, 1.0, 0, "dirty")
