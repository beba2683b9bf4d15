"""The test scene moves as it says, and its truth is what a detector finds in it."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import pytest

from fsr.runtime.bundle import default_folder, open_bundle
from fsr.runtime.detect import Detector
from fsr.runtime.errors import UsageError
from fsr.runtime.media.test_scene import TestScene
from fsr.runtime.media.test_source import TestSource
from fsr.runtime.media.uri import parse_uri

pytest.importorskip("av", reason="the scene is encoded by PyAV")

SCENE = TestScene(faces=4, size_wh=(640, 360), seconds=10.0)


def test_the_same_arguments_give_the_same_scene() -> None:
    first, again, other = (TestScene(size_wh=(320, 180), seed=seed) for seed in (1, 1, 2))
    one, same, different = (list(islice(scene.frames(), 3)) for scene in (first, again, other))
    np.testing.assert_array_equal(one, same)
    assert np.abs(np.subtract(one, different, dtype=int)).mean() > 5
    assert one[0].shape == (180, 320, 3) and one[0].dtype == np.uint8


def test_faces_move_by_up_to_the_speed_and_one_of_them_nearly_so() -> None:
    steps = []
    for number in range(280):
        before = {face.id: face for face in SCENE.truth(number)}
        for face in SCENE.truth(number + 1):
            if face.id in before:
                steps.append(np.hypot(*(face.landmarks[2] - before[face.id].landmarks[2])))
    assert 7 < max(steps) < 8.6, "the nose turns a little with the face"
    assert min(steps) < 0.3, "one stands still, but for its breath"


def test_faces_leave_and_come_back_as_others() -> None:
    long = TestScene(faces=4, cuts=0)
    seen = [{face.id for face in long.truth(number)} for number in range(600)]
    assert len(seen[0]) == 4 and min(map(len, seen)) < 4
    ids = set().union(*seen)
    assert len(ids) > 4
    for face in ids:
        present = [number for number, here in enumerate(seen) if face in here]
        assert present[-1] - present[0] + 1 == len(present), "an id that has left never comes back"
    partly = [face.visible for number in range(600) for face in long.truth(number) if face.visible < 1]
    assert partly and all(0 < share < 1 for share in partly)


def test_a_cut_changes_every_face_and_the_background() -> None:
    cut = next(number for number in range(300) if SCENE.shot(number + 1) != SCENE.shot(number)) + 1
    assert cut == 150
    assert not {face.id for face in SCENE.truth(cut - 1)} & {face.id for face in SCENE.truth(cut)}
    change = [np.abs(np.subtract(SCENE.clean(n), SCENE.clean(n - 1), dtype=int)).mean() for n in (cut - 1, cut)]
    assert change[1] > 10 * change[0]


def test_the_detector_finds_what_the_truth_says() -> None:
    bundle = open_bundle(default_folder())
    detector = Detector.open(bundle.path(bundle.manifest.detector.files["fp32"]))
    worst, missed, total = [], 0, 0
    for number, pixels in enumerate(islice(SCENE.frames(), 40)):
        if number % 10 == 0:
            found = detector(pixels)
            for face in SCENE.truth(number):
                if face.visible < 1:
                    continue
                total += 1
                distances = [np.hypot(*(one.landmarks - face.landmarks).T).mean() for one in found]
                width = face.box_xyxy[2] - face.box_xyxy[0]
                close = [distance for distance in distances if distance < width / 5]
                missed += not close
                worst += [min(close) / width] if close else []
    assert total >= 10 and missed <= total // 10
    assert np.mean(worst) < 0.05, "of a face's width"


def test_the_frames_are_the_clean_ones_with_noise_and_loss() -> None:
    for number, pixels in enumerate(islice(SCENE.frames(), 5)):
        ratio = cv2.PSNR(pixels, SCENE.clean(number))
        assert 34 < ratio < 45, "of another frame it is lower"
    plain = TestScene(size_wh=(320, 180), noise=0, crf=0)
    np.testing.assert_array_equal(next(plain.frames()), plain.clean(0))


def test_the_scene_at_twice_the_size_is_the_same_scene() -> None:
    scene = TestScene(size_wh=(320, 180), noise=0, crf=0)
    small = cv2.resize(scene.clean(7, scale=2), (320, 180), interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(small, scene.clean(7)) > 30
    face = scene.truth(7)[0]
    assert face.crop.shape == (128, 128, 3)


@pytest.mark.parametrize(
    ("query", "said"), [("faces=99", "faces: got 99"), ("size=3x3", "even sides"), ("seconds=0", "more than 0")]
)
def test_options_without_sense_are_named(query: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TestSource(parse_uri(f"test://?{query}").options)


def test_the_source_keeps_the_pace_of_a_camera_or_none() -> None:
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    options = parse_uri("test://?size=320x180&fps=30000/1001&seconds=0.2&crf=0").options
    source = TestSource(options, clock=lambda: now[0], sleep=sleep)
    frames = list(source)
    assert (source.rate, source.frames, source.live) == (Fraction(30000, 1001), 6, True) and len(frames) == 6
    assert [frame.pts * frame.time_base for frame in frames] == [n * Fraction(1001, 30000) for n in range(6)]
    assert [frame.captured for frame in frames] == pytest.approx([100 + n * 1001 / 30000 for n in range(6)])
    quick = TestSource({**options, "live": False}, clock=lambda: now[0], sleep=sleep)
    assert [frame.captured for frame in quick] == [None] * 6 and not quick.live


def test_a_late_source_catches_up_little_by_little() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    options = parse_uri("test://?size=320x180&fps=10&seconds=1.6&crf=0").options
    captured = []
    for number, frame in enumerate(TestSource(options, clock=lambda: now[0], sleep=sleep)):
        captured.append(frame.captured)
        now[0] += 0.35 if number == 1 else 0.02  # making the third takes three and a half frames' time
    late = [0.45 + 0.08 * n for n in range(13)]  # a fifth sooner each, until the fifteenth is in time again
    assert captured == pytest.approx([0, 0.1, *late, 1.5])
    assert min(slept) > 0
