"""Scenes are the same everywhere, and the detector finds every face put into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsr.runtime.bench.figures import found_of
from fsr.runtime.bench.scenes import NATIVE_SIZES, SEEDS, SIZE_WH, make_scene
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector
from fsr.runtime.media.images import read_image, write_image


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.open(default_detector())


@pytest.mark.parametrize(("faces", "seed"), [(faces, seed) for faces, seeds in SEEDS.items() for seed in seeds])
def test_every_face_is_found_at_the_size_of_the_picture(
    detector: Detector, tmp_path: Path, faces: int, seed: int
) -> None:
    pixels, placed = make_scene(faces, seed)
    write_image(tmp_path / "scene.jpg", pixels, 90)
    found = [face.box_xyxy for face in detector(read_image(tmp_path / "scene.jpg"))]
    boxes = placed.boxes_xyxy(detector)
    assert len(found) == len(boxes) == faces
    assert found_of(boxes, np.array(found)) == faces


def test_the_same_seed_gives_the_same_pixels() -> None:
    first, second, other = (make_scene(4, seed)[0] for seed in (3, 3, 4))
    assert first.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_faces_are_as_small_as_stated(detector: Detector) -> None:
    widths = [box[2] - box[0] for box in make_scene(16, 4)[1].boxes_xyxy(detector)]
    assert 0.5 * NATIVE_SIZES[0] < min(widths) < max(widths) < NATIVE_SIZES[1]
