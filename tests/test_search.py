"""Faces are found down to the asked width, each once, wherever they stand, and their landmarks are good."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fsr.runtime import search
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector, Face, largest
from fsr.runtime.geometry import resize
from fsr.runtime.pixels import RgbImage
from fsr.runtime.search import (
    DETECTABLE,
    FaceSearch,
    FoundFace,
    best_turn,
    confirmed,
    cut_off,
    pass_scales,
    scaled,
    tiles,
    width_of,
)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.open(default_detector())


def shrunk(portrait: RgbImage, detector: Detector, width: float) -> tuple[RgbImage, NDArray[np.float64]]:
    """The portrait with its face `width` pixels wide, and the landmarks that the large picture shows there."""
    face = largest(detector(portrait))
    assert face is not None
    factor = width / width_of(face)
    size_wh = (round(portrait.shape[1] * factor), round(portrait.shape[0] * factor))
    factors = np.array(size_wh) / portrait.shape[1::-1]
    return resize(portrait, size_wh), (face.landmarks + 0.5) * factors - 0.5


def placed(canvas: RgbImage, picture: RgbImage, x: int, y: int) -> None:
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture


@pytest.mark.parametrize("portrait", ["astronaut", "grace_hopper"])
@pytest.mark.parametrize(("width", "min_face"), [(12, 12), (14, 12), (16, 16), (24, 24), (40, 24)])
def test_small_faces_are_found_with_good_landmarks(
    detector: Detector, portrait: str, width: int, min_face: float, request: pytest.FixtureRequest
) -> None:
    small, landmarks = shrunk(request.getfixturevalue(portrait), detector, width)
    (found,) = FaceSearch(detector, min_face)(small)
    assert found.reliable
    eyes = np.hypot(*(landmarks[1] - landmarks[0]))
    assert np.linalg.norm(found.face.landmarks - landmarks, axis=1).mean() < 0.17 * eyes
    assert width_of(found.face) == pytest.approx(width, rel=0.2)


@pytest.mark.parametrize("portrait", ["astronaut", "grace_hopper"])
@pytest.mark.parametrize("width", [24, 32, 44, None])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_landmarks_of_a_turned_face_are_right_if_it_is_found(
    detector: Detector, portrait: str, width: int | None, quarters: int, request: pytest.FixtureRequest
) -> None:
    """The detector sees an upright face in it; taken for one, it would be restored to a grimace."""
    large = request.getfixturevalue(portrait)
    small, upright = shrunk(large, detector, width or width_of(largest(detector(large))))  # pyright: ignore
    turned, landmarks = small, upright
    for _ in range(quarters):
        landmarks = np.stack([landmarks[:, 1], turned.shape[1] - 1 - landmarks[:, 0]], 1)
        turned = np.ascontiguousarray(np.rot90(turned))
    eyes = np.hypot(*(landmarks[1] - landmarks[0]))
    found = FaceSearch(detector, 16)(turned)
    assert found or quarters, "an upright face is always found"
    for each in found[:1]:
        assert not each.reliable or np.linalg.norm(each.face.landmarks - landmarks, axis=1).mean() < 0.25 * eyes
        box = each.face.box_xyxy
        assert (box[:2] < box[2:]).all() and (box[:2] < landmarks.mean(0)).all() and (landmarks.mean(0) < box[2:]).all()


@pytest.mark.parametrize(
    ("scores", "turned", "reliable"),
    [
        ([0.8, None, 0.93, 0.7], True, True),
        ([0.8, None, 0.82, 0.7], False, False),
        ([0.8, 0.7, None, None], False, True),
        ([None, None, None, None], False, True),
        ([None, 0.9, 0.88, None], True, True),
    ],
)
def test_the_turn_that_scores_best_is_taken(scores: list[float | None], turned: bool, reliable: bool) -> None:
    first = Face(np.array([0, 0, 10, 10], np.float32), np.zeros((5, 2), np.float32), 0.8)
    seen = [
        [] if score is None else [Face(first.box_xyxy, np.full((5, 2), n, np.float32), score)]
        for n, score in enumerate(scores)
    ]
    best = best_turn(FoundFace(first, True, 0.85), seen)
    assert (best.face.landmarks.any(), best.reliable, best.face.score) == (turned, reliable, 0.8)
    assert best.look_score >= 0.85, "what a second look has confirmed is a face, however it is turned"
    if turned:
        assert best.face.landmarks[0, 0] == np.argmax([score or 0 for score in scores])


def test_the_second_look_places_landmarks_better(
    detector: Detector, astronaut: RgbImage, grace_hopper: RgbImage
) -> None:
    search, errors = FaceSearch(detector, 16), []
    for portrait in (astronaut, grace_hopper):
        for width in (13, 15, 17, 19):
            small, landmarks = shrunk(portrait, detector, width)
            first = search.first_look(small)[0].face
            (found,) = search(small)
            errors.append([np.linalg.norm(f.landmarks - landmarks, axis=1).mean() / width for f in (first, found.face)])
    first, second = np.mean(errors, 0)
    assert second < 0.85 * first


class ScriptedDetector(Detector):
    """Sees one face about the middle of whatever it is given: whole frames by one score, closer looks by another."""

    def __init__(self, first: float, second: float, width: float = 20) -> None:
        self.score_threshold, self.max_iou, self.scores, self.width = 0.6, 0.3, (first, second), width

    def __call__(self, frame: RgbImage, score_threshold: float | None = None) -> list[Face]:
        return [self._face(frame, self.width, self.scores[0])] if self.scores[0] >= (score_threshold or 0.6) else []

    def in_batch(self, frames: NDArray[np.uint8], score_threshold: float | None = None) -> list[list[Face]]:
        return [[self._face(view, 0.6 * len(view), self.scores[1])] for view in frames]

    def _face(self, frame: RgbImage, width: float, score: float) -> Face:
        middle = (np.array(frame.shape[1::-1]) - 1) / 2
        box = np.concatenate([middle - width / 2, middle + width / 2]).astype(np.float32)
        return Face(box, np.tile(middle, (5, 1)).astype(np.float32), score)


@pytest.mark.parametrize(
    ("first", "second", "width", "score"),
    [
        (0.1, 0.9, 20, 0.9),  # suspected and confirmed
        (0.1, 0.79, 20, None),  # suspected alone
        (0.05, 0.9, 20, None),  # not even that
        (0.7, 0.65, 20, 0.7),  # what the detector is sure of needs no confirmation
        (0.1, 0.9, 60, None),  # large faces are seen well at once: a weak one is none
    ],
)
def test_a_suspicion_must_be_confirmed(first: float, second: float, width: float, score: float | None) -> None:
    found = FaceSearch(ScriptedDetector(first, second, width), search.DETECTABLE)(np.zeros((200, 200, 3), np.uint8))
    assert [each.face.score for each in found] == ([] if score is None else [score])


def test_only_a_face_that_both_looks_doubt_is_looked_at_from_all_sides(
    detector: Detector, astronaut: RgbImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    around: list[int] = []
    monkeypatch.setattr(FaceSearch, "look_around", lambda _, frame, found: around.append(len(found)) or found)
    small, _ = shrunk(astronaut, detector, 24)
    for sure, looks in [((0.0, 0.0), 0), ((1.0, 0.0), 0), ((0.0, 1.0), 0), ((1.0, 1.0), 1)]:
        monkeypatch.setattr(search, "SURE_SCORE", sure[0])
        monkeypatch.setattr(search, "SURE_LOOK", sure[1])
        assert len(FaceSearch(detector, 24)(small)) == 1
        assert around.pop() == looks


@pytest.mark.parametrize("portrait", ["astronaut", "grace_hopper"])
def test_a_face_too_wide_for_the_detector_is_seen_in_a_coarser_pass(
    detector: Detector, portrait: str, request: pytest.FixtureRequest
) -> None:
    """Four times as large the detector takes a part of the one face and a shuttle beside the other for faces."""
    picture = request.getfixturevalue(portrait)
    (before,) = detector(picture)
    large = resize(picture, (4 * picture.shape[1], 4 * picture.shape[0]))
    (found,) = FaceSearch(detector, DETECTABLE)(large)
    eyes = np.hypot(*(before.landmarks[1] - before.landmarks[0]))
    moved = (found.face.landmarks + 0.5) / 4 - 0.5 - before.landmarks
    assert np.linalg.norm(moved, axis=1).max() < 0.1 * eyes


def test_faces_across_tiles_are_found_once_each(
    detector: Detector, astronaut: RgbImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of a quarter of the picture, faces on and beside their seams, and one too large for any tile."""
    monkeypatch.setattr(search, "TILE_LONG", 256)
    monkeypatch.setattr(search, "TILE_SHORT", 200)
    monkeypatch.setattr(search, "OVERLAP", 64)
    small, large = shrunk(astronaut, detector, 28)[0], shrunk(astronaut, detector, 120)[0]
    canvas = np.full((1000, 1000, 3), 110, np.uint8)
    corners = [(20, 20), (215, 30), (300, 150), (150, 215), (20, 400)]
    for x, y in corners:
        placed(canvas, small, x, y)
    placed(canvas, large, 310, 310)
    found = FaceSearch(detector, 24)(canvas)
    widths = sorted(round(width_of(f.face)) for f in found)
    assert len(found) == len(corners) + 1
    assert widths[-1] > 100 and max(widths[:-1]) < 40


def test_what_is_no_face_at_the_second_look_is_not_reliable(detector: Detector) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
    nothing = Face(np.array([40, 40, 60, 60], np.float32), np.full((5, 2), 50, np.float32), 0.7)
    (looked,) = FaceSearch(detector, 16).look_again(noise, [nothing])
    assert not looked.reliable and looked.face is nothing


def test_the_second_look_keeps_to_its_face() -> None:
    """A neighbour in the same square is another face."""
    first = Face(np.array([40, 40, 60, 60], np.float32), np.full((5, 2), 50, np.float32), 0.7)
    same = Face(np.array([41, 41, 61, 61], np.float32), np.full((5, 2), 51, np.float32), 0.8)
    neighbour = Face(np.array([58, 40, 78, 60], np.float32), np.full((5, 2), 68, np.float32), 0.9)
    assert not confirmed(first, [neighbour]).reliable
    found = confirmed(first, [neighbour, same])
    assert found.reliable and found.face.score == 0.7
    np.testing.assert_array_equal(found.face.landmarks, same.landmarks)


@pytest.mark.parametrize("shape", [(1, 1), (5, 400), (31, 33), (50, 2600), (2000, 1400)])
def test_a_frame_of_any_size_is_searched(detector: Detector, shape: tuple[int, int]) -> None:
    assert FaceSearch(detector, 24)(np.full((*shape, 3), 127, np.uint8)) == []


@given(width=st.integers(1, 9000), height=st.integers(1, 9000))
def test_tiles_cover_the_picture_and_overlap(width: int, height: int) -> None:
    found = list(tiles(width, height))
    long, short = sorted((found[0][2] - found[0][0], found[0][3] - found[0][1]), reverse=True)
    assert long <= search.TILE_LONG and short <= search.TILE_SHORT
    for length, (first, last) in ((width, (0, 2)), (height, (1, 3))):
        spans = sorted({(tile[first], tile[last]) for tile in found})
        assert spans[0][0] == 0 and spans[-1][1] == length
        assert all(end - start >= search.OVERLAP for (start, _), (_, end) in zip(spans[1:], spans, strict=False))


@given(first=st.floats(0.05, 3), width=st.integers(1, 20_000), height=st.integers(1, 20_000))
def test_the_last_pass_sees_all_at_once(first: float, width: int, height: int) -> None:
    scales = pass_scales(first, (width, height))
    counts = [len(list(tiles(*scaled((width, height), scale)))) for scale in scales]
    assert scales[0] == first and counts[-1] == 1 and all(count > 1 for count in counts[:-1])


def test_a_box_cut_by_a_seam_is_left_to_the_neighbour() -> None:
    box = np.array([0.2, 50, 40, 90], np.float32)
    assert cut_off(box, (100, 0, 356, 256), (800, 600))
    assert not cut_off(box, (0, 0, 256, 256), (800, 600))  # the picture's own edge
    assert cut_off(np.array([230, 50, 255, 90], np.float32), (0, 0, 256, 256), (800, 600))
    assert not cut_off(np.array([230, 50, 255, 90], np.float32), (544, 344, 800, 600), (800, 600))
