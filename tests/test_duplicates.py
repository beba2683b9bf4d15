"""Copies of a face are found after re-encoding and resizing; other faces are left alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_data import crops

from fsr.calibration import duplicates
from fsr.calibration.duplicates import MAX_DISTANCE, find_duplicates, fingerprint
from fsr.runtime.geometry import resize
from fsr.runtime.pixels import RgbImage


def prints(faces: list[RgbImage]) -> NDArray[np.float32]:
    return np.stack([fingerprint(face) for face in faces])


def encoded(face: RgbImage, quality: int) -> RgbImage:
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def flipped(code: NDArray[np.float32], bits: range) -> NDArray[np.float32]:
    changed = code.copy()
    changed[list(bits)] *= -1
    return changed


def test_a_copy_re_encoded_at_quality_50_is_found() -> None:
    face, other = crops()[0], crops()[1]
    assert find_duplicates(prints([face, other, encoded(face, 50)])) == {2: 0}


@pytest.mark.parametrize("side", [64, 96, 256])
def test_a_resized_copy_is_found(side: int) -> None:
    face, other = crops()[0], crops()[1]
    assert find_duplicates(prints([face, other, resize(face, (side, side))])) == {2: 0}


def test_different_pictures_of_one_person_are_not_copies() -> None:
    assert find_duplicates(prints(list(crops()))) == {}


def test_a_mirrored_face_is_not_a_copy() -> None:
    faces = list(crops()[:4])
    assert find_duplicates(prints([*faces, *(face[:, ::-1] for face in faces)])) == {}


def test_every_copy_points_to_the_first_in_order() -> None:
    one, two = crops()[0], crops()[2]
    assert find_duplicates(prints([two, one, one, two, one])) == {2: 1, 3: 0, 4: 1}


def test_a_chain_of_copies_ends_at_its_first() -> None:
    first = fingerprint(crops()[0])
    second, third = flipped(first, range(MAX_DISTANCE)), flipped(first, range(2 * MAX_DISTANCE))
    assert find_duplicates(np.stack([first, second, third])) == {1: 0, 2: 0}
    assert find_duplicates(np.stack([first, third])) == {}


def test_the_limit_is_inclusive() -> None:
    code = fingerprint(crops()[0])
    assert find_duplicates(np.stack([code, flipped(code, range(MAX_DISTANCE))])) == {1: 0}
    assert find_duplicates(np.stack([code, flipped(code, range(MAX_DISTANCE + 1))])) == {}


def test_copies_are_found_within_and_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = crops()[0], crops()[2], crops()[4]
    faces = prints([a, b, b, c, a, c, c])
    whole = find_duplicates(faces)
    monkeypatch.setattr(duplicates, "BLOCK", 2)
    assert find_duplicates(faces) == whole == {2: 1, 4: 0, 5: 3, 6: 3}


def test_a_fingerprint_is_256_signs() -> None:
    code = fingerprint(crops()[0])
    assert code.shape == (256,)
    assert code.dtype == np.float32
    assert set(np.unique(code)) == {-1, 1}


def test_no_face_and_one_face_have_no_copies() -> None:
    assert find_duplicates(prints([crops()[0]])) == {}
    assert find_duplicates(np.empty((0, 256), np.float32)) == {}
