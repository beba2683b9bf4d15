"""Transforms, warps and boxes: exact where mathematics says so, within a stated tolerance of Pillow elsewhere."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fsr.runtime.errors import GeometryError
from fsr.runtime.geometry import (
    FRAMINGS,
    LANDMARK_NAMES,
    Transform,
    compose,
    crop_from_landmarks,
    framing,
    invert,
    iou,
    native_size,
    resize,
    scale_of,
    scaling,
    similarity_transform,
    similarity_transforms,
    suppress_overlaps,
    template_landmarks,
    transform_points,
    warp,
)
from fsr.runtime.pixels import RgbImage

# Grey levels of 255 between a shrinking warp and Pillow's antialiased resize; measured on the astronaut: at most
# 0 / 0.00 for whole shrinks and 15 / 0.44 for others. The two bicubic kernels differ (a = -0.75 and -0.5).
SHRINK_MAX, SHRINK_MEAN = 16, 0.5
# The same for enlargements by 1.5 to 3: measured 17 / 0.55.
ENLARGE_MAX, ENLARGE_MEAN = 18, 0.6

angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.01, 100)
shifts = st.floats(-2000, 2000)
seeds = st.integers(0, 2**32 - 1)


def similarity(angle: float, scale: float, x: float, y: float) -> Transform:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


similarities = st.builds(similarity, angles, scales, shifts, shifts)


def random_points(seed: int, *shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-500, 500, (*shape, 2))


def differences(got: RgbImage, want: RgbImage) -> tuple[int, float]:
    """Largest and mean difference in grey levels."""
    levels = np.abs(got.astype(int) - want)
    return int(levels.max()), float(levels.mean())


# Similarity transforms


@given(similarities, seeds, st.integers(2, 9))
def test_any_similarity_is_recovered(target_from_source: Transform, seed: int, count: int) -> None:
    source = random_points(seed, count)
    found = similarity_transform(source, transform_points(target_from_source, source))
    np.testing.assert_allclose(found, target_from_source, rtol=1e-7, atol=1e-7)


@given(similarities, seeds)
def test_noisy_points_give_the_least_squares_solution(target_from_source: Transform, seed: int) -> None:
    source = random_points(seed, 5)
    noise = np.random.default_rng(seed).normal(0, 20, source.shape)
    target = transform_points(target_from_source, source) + noise
    # Unknowns a, b, x, y of x' = a x - b y + x and y' = b x + a y + y.
    x, y, one, zero = *source.T, np.ones(5), np.zeros(5)
    equations = np.vstack([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, shift_x, shift_y = np.linalg.lstsq(equations, target.T.ravel(), rcond=None)[0]
    expected = [[a, -b, shift_x], [b, a, shift_y]]
    np.testing.assert_allclose(similarity_transform(source, target), expected, rtol=1e-6, atol=1e-6)


def test_opencv_finds_the_same_similarity() -> None:
    source = template_landmarks("runtime", 128)
    target = transform_points(similarity(0.3, 1.7, 40, -9), source) + np.random.default_rng(0).normal(0, 0.5, (5, 2))
    expected, _ = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=1e3, refineIters=100)
    np.testing.assert_allclose(similarity_transform(source, target), expected, atol=1e-3)


@given(seeds, st.integers(1, 6), st.booleans())
def test_a_batch_gives_what_each_face_gives(seed: int, faces: int, one_target: bool) -> None:
    source = random_points(seed, faces, 5)
    target = random_points(seed + 1, 5) if one_target else random_points(seed + 1, faces, 5)
    found = similarity_transforms(source, target)
    assert found.shape == (faces, 2, 3) and found.dtype == np.float64
    for number in range(faces):
        alone = similarity_transform(source[number], target if one_target else target[number])
        np.testing.assert_allclose(found[number], alone, rtol=1e-12)


@given(seeds)
def test_faces_are_never_mirrored(seed: int) -> None:
    source = random_points(seed, 5)
    mirrored = source * [-1, 1] + np.random.default_rng(seed).normal(0, 1, source.shape)
    assert np.linalg.det(similarity_transform(source, mirrored)[:, :2]) > 0


def test_no_faces_give_no_transforms() -> None:
    assert similarity_transforms(np.empty((0, 5, 2)), np.zeros((5, 2))).shape == (0, 2, 3)


FACE = template_landmarks("runtime", 128)
SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])


def first_x(value: float) -> NDArray[np.float64]:
    face = FACE.copy()
    face[0, 0] = value
    return face


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.ones((5, 2)), FACE),
        (FACE, np.ones((5, 2))),
        (first_x(np.nan), FACE),
        (first_x(np.inf), FACE),
        (FACE, first_x(-np.inf)),
        (SQUARE, SQUARE * [-1, 1]),
    ],
    ids=["source coincides", "target coincides", "nan", "inf", "target inf", "mirrored square"],
)
def test_points_that_no_similarity_fits_are_refused(source: NDArray[np.float64], target: NDArray[np.float64]) -> None:
    with pytest.raises(GeometryError, match="got landmarks that"):
        similarity_transform(source, target)


def test_one_bad_face_of_a_batch_is_refused() -> None:
    with pytest.raises(GeometryError, match="coincide"):
        similarity_transforms(np.stack([FACE, np.zeros((5, 2))]), FACE)


# Arithmetic of transforms


@given(similarities, seeds)
def test_inverting_undoes(target_from_source: Transform, seed: int) -> None:
    points = random_points(seed, 7)
    back = transform_points(invert(target_from_source), transform_points(target_from_source, points))
    np.testing.assert_allclose(back, points, atol=1e-6)
    np.testing.assert_allclose(invert(invert(target_from_source)), target_from_source, rtol=1e-6, atol=1e-6)


@given(similarities, similarities, seeds)
def test_composing_applies_the_inner_one_first(outer: Transform, inner: Transform, seed: int) -> None:
    points = random_points(seed, 7)
    expected = transform_points(outer, transform_points(inner, points))
    np.testing.assert_allclose(transform_points(compose(outer, inner), points), expected, rtol=1e-9, atol=1e-6)


@given(similarities)
def test_a_transform_and_its_inverse_compose_to_nothing(target_from_source: Transform) -> None:
    identity = compose(target_from_source, invert(target_from_source))
    np.testing.assert_allclose(identity, np.eye(2, 3), atol=1e-8)


@given(angles, scales, shifts, shifts)
def test_scale_is_target_pixels_per_source_pixel(angle: float, scale: float, x: float, y: float) -> None:
    assert scale_of(similarity(angle, scale, x, y)) == pytest.approx(scale)


def test_points_keep_their_shape() -> None:
    points = np.arange(24.0).reshape(2, 2, 3, 2)
    np.testing.assert_array_equal(
        transform_points(np.array([[1, 0, 5.0], [0, 1, -3]]), points), points + np.array([5, -3])
    )


# The pixel-centre rule


@given(scales, scales, shifts, shifts)
def test_scaling_keeps_the_edges_of_a_picture(factor_x: float, factor_y: float, x: float, y: float) -> None:
    moved = transform_points(scaling(factor_x, factor_y), [[x, y], [-0.5, -0.5]])
    expected = [[(x + 0.5) * factor_x - 0.5, (y + 0.5) * factor_y - 0.5], [-0.5, -0.5]]
    np.testing.assert_allclose(moved, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(scaling(factor_x), scaling(factor_x, factor_x))


@given(scales, scales)
def test_scalings_compose_and_invert_by_their_factors(first: float, second: float) -> None:
    np.testing.assert_allclose(compose(scaling(second), scaling(first)), scaling(first * second), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(invert(scaling(first)), scaling(1 / first), rtol=1e-9, atol=1e-9)


# Warps against Pillow


def bare_warp(image: RgbImage, target_from_source: Transform, side: int) -> RgbImage:
    return np.asarray(
        cv2.warpAffine(image, target_from_source, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )


@pytest.mark.parametrize("side", [256, 128, 64])
def test_a_whole_shrink_is_exactly_the_antialiased_resize(astronaut: RgbImage, side: int) -> None:
    np.testing.assert_array_equal(warp(astronaut, scaling(side / 512), (side, side)), resize(astronaut, (side, side)))


@pytest.mark.parametrize("side", [394, 301, 205, 171, 138, 97, 80, 44])
def test_any_shrink_is_near_the_antialiased_resize(astronaut: RgbImage, side: int) -> None:
    shrunk = warp(astronaut, scaling(side / 512), (side, side))
    largest, mean = differences(shrunk, resize(astronaut, (side, side)))
    assert largest <= SHRINK_MAX and mean <= SHRINK_MEAN


@pytest.mark.parametrize("side", [394, 256, 205, 128, 44])
def test_a_bare_warp_or_half_a_pixel_would_be_noticed(astronaut: RgbImage, side: int) -> None:
    want, right = resize(astronaut, (side, side)), scaling(side / 512)
    for wrong in (right - [[0, 0, 0.5], [0, 0, 0]], right * [1, 1, 0]):  # half a pixel; edges at integers
        largest, mean = differences(warp(astronaut, wrong, (side, side)), want)
        assert largest > 2 * SHRINK_MAX and mean > 2 * SHRINK_MEAN
    largest, mean = differences(bare_warp(astronaut, right, side), want)
    assert largest > 2 * SHRINK_MAX and mean > 2 * SHRINK_MEAN


@pytest.mark.parametrize("factor", [1.5, 2, 3])
def test_an_enlargement_is_near_the_resize(astronaut: RgbImage, factor: float) -> None:
    side = round(512 * factor)
    want = resize(astronaut, (side, side))
    largest, mean = differences(warp(astronaut, scaling(factor), (side, side)), want)
    assert largest <= ENLARGE_MAX and mean <= ENLARGE_MEAN
    edges_at_integers = scaling(factor) * [1, 1, 0]
    largest, mean = differences(warp(astronaut, edges_at_integers, (side, side)), want)
    assert largest > 2 * ENLARGE_MAX and mean > 2 * ENLARGE_MEAN


def test_a_warp_by_nothing_changes_nothing(astronaut: RgbImage) -> None:
    np.testing.assert_array_equal(warp(astronaut, scaling(1), (512, 512)), astronaut)
    np.testing.assert_array_equal(resize(astronaut, (512, 512)), astronaut)
    assert not np.shares_memory(resize(astronaut, (512, 512)), astronaut)


def test_a_turn_by_a_right_angle_is_a_turned_picture(astronaut: RgbImage) -> None:
    image = astronaut[:40, :60]
    turned = np.array([[0, -1, 39.0], [1, 0, 0]])  # clockwise, as y points down
    np.testing.assert_array_equal(warp(image, turned, (40, 60)), np.rot90(image, -1))
    half = compose(scaling(0.5), turned)
    np.testing.assert_array_equal(warp(image, half, (20, 30)), resize(np.rot90(image, -1).copy(), (20, 30)))


def test_a_crop_in_native_size_is_a_slice(astronaut: RgbImage) -> None:
    crop = warp(astronaut, np.array([[1, 0, -180.0], [0, 1, -70]]), (90, 110))
    np.testing.assert_array_equal(crop, astronaut[70:180, 180:270])


def test_outside_the_picture_its_edge_is_repeated(astronaut: RgbImage) -> None:
    shifted = warp(astronaut, np.array([[1, 0, 10.0], [0, 1, 0]]), (20, 512))
    np.testing.assert_array_equal(shifted[:, :10], np.repeat(astronaut[:, :1], 10, axis=1))


@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1, 7.3, 1e9])
def test_one_pixel_stays_its_colour_at_any_scale(factor: float) -> None:
    pixel = np.array([[[3, 130, 251]]], np.uint8)
    warped = warp(pixel, scaling(factor), (5, 4))
    assert warped.shape == (4, 5, 3) and (warped == pixel).all()


def test_a_huge_shrink_is_the_mean_and_no_alias() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.ptp(warp(stripes, scaling(1 / 64), (4, 4))) <= 4
    assert abs(float(warp(stripes, scaling(1 / 64), (4, 4)).mean()) - 100) <= 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 2])
def test_transforms_that_are_not_finite_are_refused(value: float, column: int) -> None:
    broken = scaling(1)
    broken[0, column] = value
    with pytest.raises(GeometryError, match="cannot be inverted"):
        warp(np.zeros((4, 4, 3), np.uint8), broken, (4, 4))


def test_a_flat_transform_is_refused() -> None:
    with pytest.raises(GeometryError, match="cannot be inverted"):
        warp(np.zeros((4, 4, 3), np.uint8), np.array([[1, 1, 0.0], [2, 2, 0]]), (4, 4))


def test_only_rgb_is_warped_and_resized() -> None:
    for grey in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(TypeError, match="uint8"):
            warp(grey, scaling(1), (4, 4))  # pyright: ignore[reportArgumentType]
        with pytest.raises(TypeError, match="uint8"):
            resize(grey, (4, 4))  # pyright: ignore[reportArgumentType]


# Templates and crops


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_template_is_an_upright_face_inside_its_crop(name: str) -> None:
    points = dict(zip(LANDMARK_NAMES, framing(name).template, strict=True))
    assert points["right eye"][0] < points["nose tip"][0] < points["left eye"][0]  # as the person has them
    assert points["right mouth corner"][0] < points["nose tip"][0] < points["left mouth corner"][0]
    assert points["right eye"][1] < points["nose tip"][1] < points["right mouth corner"][1]
    assert all(0.25 < share < 0.8 for point in points.values() for share in point)
    eyes = points["left eye"] - points["right eye"]
    assert framing(name).eye_distance == pytest.approx(np.hypot(*eyes))
    assert framing(name).eye_distance < framing(name).face_width < 1


@pytest.mark.parametrize(("name", "tolerance"), [("runtime", 1e-12), ("celeba178", 0.003)])
def test_a_template_is_symmetric(name: str, tolerance: float) -> None:
    right_eye, left_eye, nose, right_mouth, left_mouth = framing(name).template
    middle = (right_eye[0] + left_eye[0]) / 2
    assert nose[0] == pytest.approx(middle, abs=tolerance)
    assert (right_mouth[0] + left_mouth[0]) / 2 == pytest.approx(middle, abs=tolerance)
    assert right_eye[1] == left_eye[1]
    assert right_mouth[1] == left_mouth[1]


def test_the_framings_are_those_that_models_were_trained_with() -> None:
    assert framing("runtime").eye_distance == pytest.approx(0.34)
    assert framing("celeba178").eye_distance == pytest.approx(0.2235)


def test_an_unknown_framing_names_the_known() -> None:
    with pytest.raises(GeometryError, match="'ffhq', expected one of runtime, celeba178"):
        template_landmarks("ffhq", 128)


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_template_cannot_be_changed(name: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        framing(name).template[0, 0] = 0


@given(st.sampled_from(list(FRAMINGS)), st.integers(1, 512), st.floats(0.1, 10))
def test_a_template_scales_as_pictures_do(name: str, size: int, factor: float) -> None:
    enlarged = framing(name).template * (size * factor) - 0.5
    np.testing.assert_allclose(transform_points(scaling(factor), template_landmarks(name, size)), enlarged, atol=1e-9)


@given(st.sampled_from(list(FRAMINGS)), st.sampled_from([16, 32, 128]), similarities)
def test_a_crop_puts_landmarks_on_the_template(name: str, size: int, frame_from_crop: Transform) -> None:
    landmarks = transform_points(frame_from_crop, template_landmarks(name, size))
    crop_from_frame = crop_from_landmarks(landmarks, name, size)
    np.testing.assert_allclose(
        transform_points(crop_from_frame, landmarks), template_landmarks(name, size), rtol=1e-6, atol=1e-6
    )
    assert native_size(crop_from_frame, size) == pytest.approx(size * scale_of(frame_from_crop))


def test_native_size_does_not_depend_on_the_size_of_the_crop() -> None:
    landmarks = template_landmarks("runtime", 90) + np.array([200, 100])
    for size in (16, 32, 128):
        assert native_size(crop_from_landmarks(landmarks, "runtime", size), size) == pytest.approx(90)


# Boxes


corners = st.tuples(*[st.integers(0, 20)] * 4).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)
box_lists = st.lists(corners, max_size=12)


def naive_iou(a: list[int], b: list[int]) -> float:
    """Intersection over union by counting unit squares."""

    def cells(box: list[int]) -> set[tuple[int, int]]:
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    return len(cells(a) & cells(b)) / len(union) if (union := cells(a) | cells(b)) else 0.0


@given(corners, box_lists)
def test_overlap_is_counted_in_unit_squares(box: list[int], boxes: list[list[int]]) -> None:
    expected = [naive_iou(box, other) for other in boxes]
    np.testing.assert_allclose(iou(box, boxes), np.array(expected).reshape(-1))


@given(box_lists, seeds, st.floats(0, 1))
def test_suppression_is_the_greedy_one(boxes: list[list[int]], seed: int, max_iou: float) -> None:
    scores = np.random.default_rng(seed).integers(0, 5, len(boxes)) / 5  # with ties
    expected: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda index: (-scores[index], index)):
        if all(naive_iou(boxes[index], boxes[other]) <= max_iou for other in expected):
            expected.append(index)
    kept = suppress_overlaps(boxes, scores, max_iou)
    assert kept.tolist() == expected
    assert kept.dtype == np.intp


@given(box_lists.filter(len), seeds, st.floats(0, 1))
def test_kept_boxes_hardly_overlap_and_the_best_is_kept(boxes: list[list[int]], seed: int, max_iou: float) -> None:
    scores = np.random.default_rng(seed).random(len(boxes))
    kept = suppress_overlaps(boxes, scores, max_iou)
    assert kept[0] == scores.argmax()
    for position, index in enumerate(kept):
        others = np.delete(kept, position)
        assert (iou(boxes[index], np.array(boxes)[others]) <= max_iou).all()


def test_no_boxes_are_left_of_none() -> None:
    assert suppress_overlaps([], [], 0.3).tolist() == []
    assert iou([0, 0, 1, 1], []).shape == (0,)
