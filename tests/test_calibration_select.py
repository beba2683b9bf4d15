"""A choice covers what was found: the rims are in, the usual keeps its weight, one picture does not fill it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fsr.calibration.coverage import PROPERTIES, coverage
from fsr.calibration.crops import cut_crops, native_ranges
from fsr.calibration.measure import FaceMeasures, measure, pose, typology_angle
from fsr.calibration.select import MAX_TOGETHER, REACH, choose, features
from fsr.runtime.bundle import default_folder, read_manifest
from fsr.runtime.geometry import crop_from_landmarks, native_size, scaling, template_landmarks, transform_points, warp
from fsr.runtime.pixels import RgbImage

USUAL = FaceMeasures(100, 0, 0.58, 0, 120, 40, 1000, 30)
FRONT = template_landmarks("runtime", 128)


def apart(count: int) -> list[int]:
    """Every face from a picture of its own."""
    return list(range(count))


def turned(degrees: float) -> np.ndarray:
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return FRONT @ np.array([[cos, -sin], [sin, cos]]).T


def test_the_rims_are_chosen_where_the_first_ones_would_miss_them(rng: np.random.Generator) -> None:
    crowd = rng.normal(0, 0.1, (500, 2))
    rims = np.array([[2.0, 0], [-2, 0], [0, 2], [0, -2]])
    chosen = choose(np.vstack([crowd, rims]), apart(504), 20, seed=0)
    assert {500, 501, 502, 503} <= set(chosen)
    assert len(chosen) == len(set(chosen)) == 20


def test_half_of_the_choice_is_as_the_faces_come(rng: np.random.Generator) -> None:
    points = np.vstack([rng.normal(0, 0.01, (900, 2)), rng.uniform(-2, 2, (100, 2))])
    chosen = choose(points, apart(1000), 100, seed=0)
    crowd = sum(index < 900 for index in chosen)
    assert 40 <= crowd <= 56  # 45 of the 50 drawn at random, and few of the 50 spread


def test_the_same_seed_chooses_the_same_and_another_one_does_not(rng: np.random.Generator) -> None:
    points = rng.normal(size=(300, 4))
    first = choose(points, apart(300), 60, seed=3)
    assert first == choose(points, apart(300), 60, seed=3)
    assert first != choose(points, apart(300), 60, seed=4)


def test_one_picture_gives_a_few_faces_at_most(rng: np.random.Generator) -> None:
    moments = ["crowd"] * 50 + [f"portrait {n}" for n in range(10)]
    points = np.vstack([rng.normal(0, 5, (50, 3)), rng.normal(0, 0.1, (10, 3))])
    chosen = choose(points, moments, 40, seed=0)
    assert sum(moments[index] == "crowd" for index in chosen) == MAX_TOGETHER
    assert len(chosen) == MAX_TOGETHER + 10


def test_no_faces_give_no_choice() -> None:
    assert choose(np.empty((0, 3)), [], 10, seed=0) == []


def test_features_do_not_depend_on_units_and_bound_the_odd_one() -> None:
    faces = [replace(USUAL, luminance=100 + n, sharpness=float("1e6") if n == 0 else 1000 + n) for n in range(40)]
    points = features(faces)
    names = [kind.name for kind in PROPERTIES]
    assert points.shape == (40, len(PROPERTIES))
    assert np.abs(points).max() == REACH == points[0, names.index("sharpness")]
    assert points[:, names.index("luminance")].std() == pytest.approx(0.85, abs=0.1)
    assert not points[:, names.index("yaw")].any()  # all alike: nothing to choose by


def test_an_unknown_skin_tone_is_neither_rare_nor_counted() -> None:
    faces = [replace(USUAL, skin=value) for value in (float("nan"), 20.0, 30.0, 60.0)]
    (skin,) = [h for h in coverage(faces[:3], faces) if h.name == "skin"]
    assert (skin.chosen, skin.found, skin.unknown) == ([0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 1], 1)
    assert features(faces)[0, [kind.name for kind in PROPERTIES].index("skin")] == 0


def test_every_face_is_in_one_bin_of_each_property() -> None:
    faces = [replace(USUAL, roll=roll) for roll in (-90.0, -30.0, 0.0, 2.0, 90.0)]
    for histogram in coverage(faces, faces):
        assert len(histogram.chosen) == len(histogram.edges) + 1
        assert sum(histogram.chosen) == 5
    (roll,) = [h for h in coverage(faces, faces) if h.name == "roll"]
    assert roll.chosen == [1, 1, 0, 0, 1, 1, 0, 0, 1]  # an edge belongs to the bin above it


@pytest.mark.parametrize("degrees", [-25.0, 0.0, 40.0])
def test_roll_is_the_turn_in_the_picture_and_nothing_else_changes(degrees: float) -> None:
    yaw, pitch, roll = pose(turned(degrees))
    assert roll == pytest.approx(degrees)
    assert yaw == pytest.approx(0, abs=1e-9)
    assert pitch == pytest.approx((0.58 - 0.385) / (0.722 - 0.385))


def test_yaw_and_pitch_follow_the_nose() -> None:
    moved = FRONT.copy()
    moved[2] += (0.34 * 128 * 0.2, -3)
    yaw, pitch, _ = pose(moved)
    assert yaw == pytest.approx(0.2)
    assert pitch < pose(FRONT)[1]


@pytest.mark.parametrize(
    ("rgb", "low", "high"),
    [((240, 210, 190), 55, 90), ((190, 140, 105), 10, 41), ((70, 45, 35), -90, -30)],
    ids=["very light", "tan or intermediate", "dark"],
)
def test_lighter_skin_has_a_larger_angle(rgb: tuple[int, int, int], low: float, high: float) -> None:
    assert low < typology_angle(np.full((9, 3), rgb, np.uint8)) < high


def test_a_colourless_face_has_no_skin_tone() -> None:
    assert math.isnan(typology_angle(np.full((9, 3), 140, np.uint8)))


def test_light_and_sharpness_are_those_of_the_face(astronaut: RgbImage) -> None:
    landmarks = transform_points(np.array([[1.0, 0, 155], [0, 1, 60]]), FRONT)
    bright, _ = measure(astronaut, landmarks, "runtime")
    dark, crop = measure(astronaut // 2, landmarks, "runtime")
    assert crop.shape == (64, 64, 3)
    assert bright.native_size == pytest.approx(128)
    assert dark.luminance == pytest.approx(bright.luminance / 2, abs=1)
    assert dark.contrast == pytest.approx(bright.contrast / 2, rel=0.05)
    smooth = np.asarray(np.pad(astronaut, 0), np.uint8)[::4, ::4].repeat(4, 0).repeat(4, 1)
    assert measure(smooth, landmarks, "runtime")[0].sharpness != bright.sharpness


def test_a_face_of_a_size_that_the_model_serves_is_cut_as_the_runtime_cuts_it(astronaut: RgbImage) -> None:
    landmarks = transform_points(scaling(24 / 128), FRONT) + 100
    for seed in range(4):
        crops = cut_crops(astronaut, landmarks, "runtime", {32: (24.5, 35.0)}, np.random.default_rng(seed))
        np.testing.assert_array_equal(
            crops[32], warp(astronaut, crop_from_landmarks(landmarks, "runtime", 32), (32, 32))
        )


def test_half_of_the_large_faces_are_moved_away_and_lose_detail(astronaut: RgbImage) -> None:
    landmarks = transform_points(np.array([[1.0, 0, 155], [0, 1, 60]]), FRONT)
    plain = warp(astronaut, crop_from_landmarks(landmarks, "runtime", 64), (64, 64)).astype(float)
    assert native_size(crop_from_landmarks(landmarks, "runtime", 64), 64) == pytest.approx(128)
    kinds = []
    for seed in range(40):
        crop = cut_crops(astronaut, landmarks, "runtime", {64: (32.0, 40.0)}, np.random.default_rng(seed))[64]
        kinds.append(bool((crop == plain).all()))
        if not kinds[-1]:
            assert np.abs(np.diff(crop.astype(float), axis=1)).mean() < 0.9 * np.abs(np.diff(plain, axis=1)).mean()
            assert np.abs(crop - plain).mean() < 12  # the same face in the same place
    assert 10 <= sum(kinds) <= 30


def test_native_ranges_are_those_of_the_bundle_and_never_far_from_the_input_size() -> None:
    models = read_manifest(default_folder()).models
    ranges = native_ranges(models)
    assert list(ranges) == sorted({model.input_size for model in models})
    for size, (low, high) in ranges.items():
        same = [model for model in models if model.input_size == size]
        assert low == max(min(model.native_from for model in same), size / 2)
        assert high == min(max(model.native_to for model in same), size * 2)
    unmeasured = [replace(model, native_from=0.0, native_to=float(model.output_size)) for model in models]
    assert native_ranges(unmeasured) == {size: (size / 2, size * 2) for size in ranges}
