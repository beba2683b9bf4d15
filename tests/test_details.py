"""Beyond PSNR: originals score perfectly, bicubic does not, and groups hold whom they name."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_data import crops

from fsr.calibration.drift import find_faces
from fsr.calibration.measure import FaceMeasures, measure
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector
from fsr.runtime.errors import NoFaceError
from fsr.runtime.pixels import RgbBatch
from fsr.train.degrade import shrink
from fsr.train.details import DetailRow, Instruments, detail_rows, detail_table
from fsr.train.groups import GROUPS, group_rows, group_table, measured


@pytest.fixture(scope="module")
def high() -> RgbBatch:
    return crops()[:4]


@pytest.fixture(scope="module")
def rows(high: RgbBatch) -> dict[str, DetailRow]:
    blurred = shrink(shrink(high, 24), high.shape[1])
    ways = {"original": high, "bicubic": blurred, "nothing": np.full_like(high, 90)}
    instruments = Instruments(Detector.open(default_detector()))
    return {row.name: row for row in detail_rows(ways, high, "tiny", instruments)}


def test_an_original_is_perfect_and_bicubic_is_not(rows: dict[str, DetailRow]) -> None:
    original, bicubic = rows["original"], rows["bicubic"]
    assert (original.landmark_error, original.sharpness, original.lost) == (0, 1, 0)
    assert 0 < bicubic.landmark_error < 0.3
    assert bicubic.sharpness < 0.7


def test_a_face_that_is_gone_is_counted(rows: dict[str, DetailRow]) -> None:
    assert rows["nothing"].lost == rows["nothing"].faces > 0
    assert np.isnan(rows["nothing"].landmark_error)


def test_without_dlib_the_table_says_so(rows: dict[str, DetailRow]) -> None:
    assert rows["original"].identity_distance is None
    assert "no dlib here" in detail_table(list(rows.values())).columns[6]._cells


def test_pictures_without_a_face_are_refused() -> None:
    empty = np.zeros((2, 64, 64, 3), np.uint8)
    with pytest.raises(NoFaceError, match="no face in 2 originals"):
        detail_rows({"same": empty}, empty, "empty", Instruments(Detector.open(default_detector())))


def test_points_of_crops_are_where_the_detector_sees_them_enlarged(high: RgbBatch) -> None:
    """As it sees them in a crop twice as large; in one of 128 px, which the face fills, it misplaces them."""
    detector, large = Detector.open(default_detector()), crops(size=256)[:4]
    found = zip(measured(high, detector, "runtime"), find_faces(detector, large), large, strict=True)
    for measures, face, pixels in found:
        assert measures is not None and face is not None
        assert measures.yaw == pytest.approx(measure(pixels, face.landmarks, "runtime")[0].yaw, abs=0.02)


def face(skin: float, yaw: float = 0.0, luminance: float = 120.0) -> FaceMeasures:
    return FaceMeasures(40, yaw, 0.5, 0, luminance, 30, 100, skin)


def test_groups_of_a_measure_share_no_face_and_leave_none_out() -> None:
    for name in ("skin", "yaw", "luminance"):
        groups = [group for group in GROUPS if group.measure == name]
        for value in (-0.9, -0.2, 0.0, 0.15, 10, 41, 90, 200):
            one = face(value if name == "skin" else 20, value if name == "yaw" else 0,
                       max(value, 0) if name == "luminance" else 120)  # fmt: skip
            assert sum(group.holds(one) for group in groups) == 1
    assert not any(group.holds(face(float("nan"))) for group in GROUPS if group.measure == "skin")


def test_a_group_has_the_gain_of_its_own_faces() -> None:
    rng = np.random.default_rng(0)
    high = rng.integers(0, 256, (12, 32, 32, 3), np.uint8)
    near = np.clip(high.astype(int) + 4, 0, 255).astype(np.uint8)
    far = np.clip(high.astype(int) + 16, 0, 255).astype(np.uint8)
    restored = np.concatenate([near[:6], far[6:]])
    faces = [face(60)] * 6 + [face(0)] * 5 + [None]
    rows = {row.group: row for row in group_rows({"m": restored}, far, high, faces, "d", "rgb")}
    assert rows["skin: light"].gain > 10
    assert rows["skin: brown and dark"].gain == 0
    assert rows["skin: brown and dark"].faces == 5
    assert "skin: intermediate and tan" not in rows
    assert "pose: from the front" in group_table(list(rows.values())).columns[0]._cells
