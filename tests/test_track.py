"""Faces keep their numbers across frames, come and go softly, and cuts and entries are not missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest

from fsr.runtime import follow
from fsr.runtime.bench.figures import SAME_FACE
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector, Face
from fsr.runtime.geometry import iou
from fsr.runtime.media.test_scene import TestScene, TrueFace
from fsr.runtime.pixels import RgbImage
from fsr.runtime.search import FaceSearch, FirstSight, FoundFace
from fsr.runtime.track import FADE, GIVE_UP, Pace, TrackedFrame, Tracker, matched, shares_inside

SIZE_WH = (384, 256)
CUT = 20


@pytest.fixture(scope="module")
def search() -> FaceSearch:
    return FaceSearch(Detector.open(default_detector()), 24)


@pytest.fixture(scope="module")
def scene() -> TestScene:
    return TestScene(faces=2, size_wh=SIZE_WH, seconds=40 / 30, cuts=CUT / 30, crf=0, seed=3)


@pytest.fixture(scope="module")
def frames(scene: TestScene) -> list[RgbImage]:
    return list(scene.frames())


def tracked(search: FaceSearch, frames: Sequence[RgbImage], pace: Pace, ahead: int = 0) -> list[TrackedFrame[RgbImage]]:
    return list(Tracker(search, pace, ahead)(frames, lambda frame: frame))


def number_of(truth: TrueFace, faces: Sequence[FoundFace]) -> int | None:
    overlaps = iou(truth.box_xyxy, np.array([found.face.box_xyxy for found in faces]).reshape(-1, 4))
    return faces[int(overlaps.argmax())].track if len(faces) and overlaps.max() >= SAME_FACE else None


def test_a_face_keeps_its_number_until_the_cut(search: FaceSearch, scene: TestScene, frames: list[RgbImage]) -> None:
    numbers: dict[int, set[int | None]] = {}
    for time, each in enumerate(tracked(search, frames, Pace(8, look_every=4), ahead=8)):
        for face in scene.truth(time):
            if face.visible >= 1:
                numbers.setdefault(face.id, set()).add(number_of(face, each.faces))
    assert len(numbers) >= 4 and all(len(own) == 1 and None not in own for own in numbers.values())
    assert len(set.union(*numbers.values())) == len(numbers)  # two faces share none, nor do two shots


def test_what_is_followed_jumps_less_than_what_is_detected(
    search: FaceSearch, scene: TestScene, frames: list[RgbImage]
) -> None:
    def jumps(found: Sequence[Sequence[FoundFace]]) -> float:
        steps, before = [], dict[int, np.ndarray]()
        for time in range(2, CUT):
            for truth in scene.truth(time):
                overlaps = iou(truth.box_xyxy, np.array([f.face.box_xyxy for f in found[time]]).reshape(-1, 4))
                if truth.visible >= 1 and len(overlaps) and overlaps.max() > SAME_FACE:
                    error = found[time][int(overlaps.argmax())].face.landmarks - truth.landmarks
                    if truth.id in before:
                        steps.append(error - before[truth.id])
                    before[truth.id] = error
        return float(np.sqrt(np.mean(np.square(steps))))

    followed = [each.faces for each in tracked(search, frames[:CUT], Pace(10, look_every=5))]
    assert jumps(followed) < 0.5 * jumps([search(frame) for frame in frames[:CUT]])


def enters_late(frames: list[RgbImage], at: int) -> list[RgbImage]:
    """The scene without its faces until frame `at`: they appear between two searches."""
    empty = np.full_like(frames[0], 120)
    noise = np.random.default_rng(0).integers(0, 3, empty.shape, np.uint8)
    return [empty + noise if time < at else frame for time, frame in enumerate(frames)]


@dataclass(eq=False)
class NoCuts:
    first: bool = field(default=True)

    def __call__(self, frame: RgbImage) -> bool:
        begins, self.first = self.first, False
        return begins


@pytest.mark.parametrize(("ahead", "misses"), [(10, 0), (0, 5)])
def test_an_entry_between_two_searches_is_traced_back(
    search: FaceSearch, frames: list[RgbImage], monkeypatch: pytest.MonkeyPatch, ahead: int, misses: int
) -> None:
    monkeypatch.setattr("fsr.runtime.track.CutDetector", NoCuts)
    results = tracked(search, enters_late(frames[:CUT], 6), Pace(search_every=10, look_every=3), ahead)
    seen = [time for time, each in enumerate(results) if each.faces]
    assert seen == list(range(6 + misses - (misses > 0), CUT))


def test_a_new_face_comes_little_by_little_and_a_lost_one_goes_so(
    search: FaceSearch, frames: list[RgbImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsr.runtime.track.CutDetector", NoCuts)
    late = enters_late(frames[:CUT], 6)
    gone = [*late, *[late[0]] * 16]
    results = tracked(search, gone, Pace(search_every=10, look_every=1), ahead=10)
    shown = [max((face.opacity for face in each.faces), default=0.0) for each in results]
    assert shown[:6] == [0] * 6 and shown[6:11] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert max(abs(after - before) for before, after in pairwise(shown)) <= 0.2 + 1e-6
    assert not results[-1].faces


def even(rate: int) -> list[float]:
    return [number / rate for number in range(2 * rate)]


UNEVEN = np.cumsum(np.random.default_rng(0).choice([1 / 60, 1 / 30, 1 / 12], 60)).tolist()


@pytest.mark.parametrize("times", [even(10), even(30), even(60), UNEVEN], ids=["10", "30", "60", "uneven"])
def test_a_face_comes_and_goes_in_the_same_time_at_any_rate(
    search: FaceSearch, frames: list[RgbImage], monkeypatch: pytest.MonkeyPatch, times: list[float]
) -> None:
    """A still picture; its faces are there from .4 s until 1.2 s."""
    monkeypatch.setattr("fsr.runtime.track.CutDetector", NoCuts)
    empty = enters_late(frames, 1)[0]
    shown = [frames[0] if 0.4 <= seconds < 1.2 else empty for seconds in times]
    numbers = Tracker(search, Pace(10, look_every=1), ahead=30)(range(len(times)), shown.__getitem__, times.__getitem__)
    opacities = [max((face.opacity for face in each.faces), default=0.0) for each in numbers]
    first = next(n for n, opacity in enumerate(opacities) if opacity)
    gone = next(n for n, seconds in enumerate(times) if seconds >= 1.2)
    assert times[first] >= 0.4 and sum(0.4 <= seconds < times[first] for seconds in times) < 3, "seen in every third"
    for seconds, opacity in list(zip(times, opacities, strict=True))[first:]:
        coming, going = (seconds - times[first - 1]) / FADE, 1 - (seconds - times[gone - 1]) / FADE
        assert opacity == pytest.approx(max(0.0, min(1.0, coming, going)), abs=1e-3)


@pytest.mark.parametrize("rate", [10, 30, 60])
def test_a_lost_face_is_forgotten_after_the_same_time(
    search: FaceSearch, frames: list[RgbImage], monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    """Until then it keeps its number."""
    monkeypatch.setattr("fsr.runtime.track.CutDetector", NoCuts)
    empty = enters_late(frames, 1)[0]
    for away, is_kept in ((GIVE_UP - 0.07, True), (GIVE_UP + 0.07, False)):
        times = [number / rate for number in range(3 * rate)]
        shown = [empty if 1 <= seconds < 1 + away else frames[0] for seconds in times]
        results = Tracker(search, Pace(5, look_every=1))(range(len(times)), shown.__getitem__, times.__getitem__)
        first, *_, last = [{face.track for face in each.faces} for each in results]
        assert first and last and (first == last) == is_kept


def test_times_that_tremble_stand_still_or_jump_lose_no_face(
    search: FaceSearch, scene: TestScene, frames: list[RgbImage]
) -> None:
    """It moves on evenly, by 8 px a frame; the clock does not, as of cameras, damaged files and sources found again."""
    even = np.arange(CUT) / 30
    trembling = even + np.where(np.arange(CUT) % 2, 0.011, -0.011)
    still, jumping = even.copy(), even + np.where(np.arange(CUT) > 3, 20.0, 0.0)
    still[3] = still[2]
    for times in (trembling, still, jumping):
        results = [*Tracker(search, Pace(10, look_every=5))(range(CUT), frames.__getitem__, times.__getitem__)]
        for one in {face.id for face in scene.truth(0)}:
            seen = [(each, face) for n, each in enumerate(results) for face in scene.truth(n) if face.id == one]
            numbers = [number_of(face, each.faces) for each, face in seen if face.visible > 0.9]
            found = next(n for n, number in enumerate(numbers) if number is not None)
            assert len({*numbers[found:]}) == 1


def test_the_first_faces_of_a_shot_are_there_at_once(search: FaceSearch, frames: list[RgbImage]) -> None:
    results = tracked(search, frames, Pace(10, look_every=5))
    for first in (0, CUT):
        assert results[first].begins and results[first].faces
        assert all(face.opacity == 1 for face in results[first].faces)


def test_a_frame_that_fails_costs_its_own_faces(
    search: FaceSearch, frames: list[RgbImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = follow.follow, [0]

    def failing(*args, **kwargs):
        calls[0] += 1
        if calls[0] == 3:
            raise MemoryError("too little")
        return real(*args, **kwargs)

    monkeypatch.setattr("fsr.runtime.track.follow", failing)
    results = tracked(search, frames[:8], Pace(10, look_every=5))
    assert [type(each.error) for each in results] == [type(None)] * 3 + [MemoryError] + [type(None)] * 4
    assert not results[3].faces and results[4].faces


def box(left: float, score: float = 0.9) -> Face:
    return Face(np.array([left, 0, left + 10, 10], np.float32), np.zeros((5, 2), np.float32), score)


def test_the_largest_overlaps_are_matched_first() -> None:
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10]], float)
    assert matched(boxes, [box(3), box(50)]) == {1: 0}
    assert matched(boxes, [box(3), box(1)]) == {0: 1, 1: 0}
    assert matched(boxes[:0], [box(3)]) == {} and matched(boxes, []) == {}


def test_share_inside(frames: list[RgbImage]) -> None:
    boxes = np.array([[-5.5, 0, 4.5, 10], [10, 10, 20, 20], [-40, -40, -20, -20]], float)
    assert shares_inside(boxes, frames[0]).round(6).tolist() == [0.5, 1, 0]


def test_a_search_is_made_as_often_as_the_pace_says(search: FaceSearch, frames: list[RgbImage]) -> None:
    class Counting(FaceSearch):
        times = 0

        def first_look(self, frame: RgbImage, share: float = 1.0) -> list[FirstSight]:
            self.times += 1
            return super().first_look(frame, share)

    counting = Counting(search._detector, 24)
    tracked(counting, frames, Pace(search_every=10))
    assert counting.times == 4  # frames 0, 10, the cut, 30


def test_searches_between_the_fine_ones_are_at_half_size(search: FaceSearch, frames: list[RgbImage]) -> None:
    class Noting(FaceSearch):
        shares: ClassVar[list[float]] = []

        def first_look(self, frame: RgbImage, share: float = 1.0) -> list[FirstSight]:
            self.shares.append(share)
            return super().first_look(frame, share)

    tracked(Noting(search._detector, 24), frames, Pace(search_every=5, fine_every=2))
    assert Noting.shares == [1, 0.5, 1, 0.5] * 2  # the cut begins anew, at full size
