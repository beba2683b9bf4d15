"""Parity faces can be made again anywhere, and are what they say."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fsr.calibration.parity_set import COUNT, ParityFaces, parity_faces, portraits
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector, largest
from fsr.runtime.errors import InputError
from fsr.runtime.geometry import resize, template_landmarks


@pytest.fixture(scope="module")
def faces() -> ParityFaces:
    return parity_faces("runtime", 16, 128)


def test_are_64_faces_in_both_sizes(faces: ParityFaces) -> None:
    assert COUNT == 64
    assert (faces.high.shape, faces.high.dtype) == ((64, 128, 128, 3), np.uint8)
    assert (faces.low.shape, faces.low.dtype) == ((64, 16, 16, 3), np.uint8)


def test_come_out_the_same_again(faces: ParityFaces) -> None:
    again = parity_faces("runtime", 16, 128)
    np.testing.assert_array_equal(again.high, faces.high)
    np.testing.assert_array_equal(again.low, faces.low)


def test_fewer_faces_are_the_first_of_many(faces: ParityFaces) -> None:
    few = parity_faces("runtime", 16, 128, count=5)
    np.testing.assert_array_equal(few.high, faces.high[:5])
    np.testing.assert_array_equal(few.low, faces.low[:5])


def test_are_all_different(faces: ParityFaces) -> None:
    assert len({face.tobytes() for face in faces.high}) == 64
    assert len({face.tobytes() for face in faces.low}) == 64


def test_other_seeds_give_other_faces(faces: ParityFaces) -> None:
    other = parity_faces("runtime", 16, 128, count=5, seed=1)
    assert not {face.tobytes() for face in other.high} & {face.tobytes() for face in faces.high}


def test_high_does_not_depend_on_the_input_size(faces: ParityFaces) -> None:
    larger = parity_faces("runtime", 32, 128, count=6)
    np.testing.assert_array_equal(larger.high, faces.high[:6])
    assert larger.low.shape == (6, 32, 32, 3)


def test_every_second_low_face_is_shrunk_and_no_more(faces: ParityFaces) -> None:
    shrunk = np.stack([resize(face, (16, 16)) for face in faces.high])
    np.testing.assert_array_equal(faces.low[::2], shrunk[::2])
    apart = np.abs(faces.low[1::2].astype(int) - shrunk[1::2]).mean((1, 2, 3))
    assert (apart > 0).all()
    assert apart.mean() < 15  # grey levels: degraded, but the same faces


@pytest.mark.parametrize("framing", ["runtime", "celeba178"])
def test_faces_lie_as_the_framing_says(framing: str) -> None:
    """On average over a random shake of 4 %, mirrored or not; a margin round the crop is what a detector needs."""
    high = parity_faces(framing, 16, 128).high
    detector = Detector.open(default_detector())
    found = [largest(detector(np.pad(face, ((64, 64), (64, 64), (0, 0)), mode="edge"))) for face in high]
    points = np.array([face.landmarks - 64 for face in found if face is not None])
    assert len(points) >= 60
    np.testing.assert_allclose(np.median(points, 0), template_landmarks(framing, 128), atol=4)


def test_says_what_is_missing_without_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(InputError, match=r"come with scikit-image and matplotlib: .*install fsr-edge\[train\]"):
        portraits()
