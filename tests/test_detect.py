"""The detector finds what OpenCV's YuNet finds, in frames of every shape."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from golden.make_yunet import RECORD, opencv_faces, pictures
from numpy.typing import NDArray
from onnx import TensorProto, helper

import fsr.runtime
from fsr.runtime.detect import Detector, Face, _Candidates, largest
from fsr.runtime.errors import BundleError, EngineUnavailableError
from fsr.runtime.geometry import resize

MODEL = Path(fsr.runtime.__file__).parent / "default_bundle" / "detector.onnx"
PICTURES = pictures()
RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))["faces"]

# Measured: 2e-4 px. Recorded faces allow for the convolutions and JPEG readers of other machines.
LIVE_PX, RECORDED_PX, SCORE = 1e-2, 5e-2, 1e-3


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.open(MODEL)


def as_opencv(faces: list[Face]) -> NDArray[np.float32]:
    """(K, 15) in the layout of `cv2.FaceDetectorYN`, which counts from the picture's edge."""
    rows = [
        [
            *(face.box_xyxy[:2] + 0.5),
            *(face.box_xyxy[2:] - face.box_xyxy[:2]),
            *(face.landmarks.ravel() + 0.5),
            face.score,
        ]
        for face in faces
    ]
    return np.array(rows, np.float32).reshape(-1, 15)


def check_same(faces: list[Face], expected: NDArray[np.float32], tolerance_px: float) -> None:
    got = as_opencv(faces)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got[:, :14], expected[:, :14], rtol=0, atol=tolerance_px)
    np.testing.assert_allclose(got[:, 14], expected[:, 14], rtol=0, atol=SCORE)


def test_the_record_holds_several_faces_one_face_and_none() -> None:
    assert {len(rows) for rows in RECORDED.values()} == {0, 1, 7}
    assert RECORDED.keys() == PICTURES.keys()


@pytest.mark.parametrize("name", PICTURES)
def test_finds_the_faces_recorded_from_opencv(detector: Detector, name: str) -> None:
    expected = np.array(RECORDED[name], np.float32).reshape(-1, 15)
    check_same(detector(PICTURES[name]), expected, RECORDED_PX)


@pytest.mark.parametrize("name", PICTURES)
def test_finds_the_faces_that_opencv_finds_here(detector: Detector, name: str) -> None:
    if (yunet := os.environ.get("FSR_YUNET")) is None:
        pytest.skip("FSR_YUNET does not name face_detection_yunet_2023mar.onnx")
    check_same(detector(PICTURES[name]), opencv_faces(Path(yunet).read_bytes(), PICTURES[name]), LIVE_PX)


def test_faces_come_best_first_with_documented_types(detector: Detector) -> None:
    faces = detector(PICTURES["mosaic 445x261"])
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    for face in faces:
        assert face.box_xyxy.shape == (4,) and face.box_xyxy.dtype == np.float32
        assert face.landmarks.shape == (5, 2) and face.landmarks.dtype == np.float32
        assert type(face.score) is float
        right_eye, left_eye = face.landmarks[:2]
        assert right_eye[0] < left_eye[0]


def test_largest_is_the_largest_box(detector: Detector) -> None:
    faces = detector(PICTURES["mosaic 445x261"])
    best = largest(faces)
    assert best is not None and best.area == max(face.area for face in faces)
    assert best is not faces[0]
    assert largest([]) is None


def test_colour_order_matters(detector: Detector) -> None:
    swapped = PICTURES["astronaut 512x512"][..., ::-1]
    assert abs(as_opencv(detector(swapped)) - RECORDED["astronaut 512x512"]).max() > 10 * RECORDED_PX


def test_strided_frames_give_the_same_faces(detector: Detector) -> None:
    frame = PICTURES["astronaut 512x512"]
    for view in (frame[3:400, 2:377], frame[::2, ::2], frame[:, ::-1]):
        np.testing.assert_array_equal(as_opencv(detector(view)), as_opencv(detector(view.copy())))


def test_threshold_and_top_k_limit_the_faces() -> None:
    frame = PICTURES["mosaic 445x261"]
    scores = [row[14] for row in RECORDED["mosaic 445x261"]]
    assert len(Detector.open(MODEL, score_threshold=0.91)(frame)) == sum(score >= 0.91 for score in scores)
    assert len(Detector.open(MODEL, top_k=1)(frame)) == 1
    assert Detector.open(MODEL, score_threshold=1.0)(frame) == []


def test_overlapping_candidates_stay_only_when_allowed() -> None:
    frame = PICTURES["astronaut 512x512"]
    assert len(Detector.open(MODEL, max_iou=1.0)(frame)) > len(Detector.open(MODEL)(frame)) == 1


def test_overlap_is_judged_in_whole_pixels_as_opencv_does(detector: Detector) -> None:
    corner = np.array([[0, 0], [5.9, 0]], np.float32)  # IoU 0.26 as they are, 0.33 from 5.0
    size, points, scores = np.full((2, 2), 10, np.float32), np.zeros((2, 5, 2), np.float32), [0.8, 0.9]
    candidates = _Candidates(np.zeros(len(scores), np.intp), np.array(scores, np.float32), corner, size, points)
    (kept,) = detector._best(candidates)
    np.testing.assert_allclose(candidates.face(kept).box_xyxy, [5.4, -0.5, 15.4, 9.5])  # never cut itself


def test_faces_of_different_frames_do_not_suppress_each_other(detector: Detector) -> None:
    corner, size, points = (
        np.zeros((3, 2), np.float32),
        np.full((3, 2), 10, np.float32),
        np.zeros((3, 5, 2), np.float32),
    )
    scores = np.array([0.8, 0.9, 0.7], np.float32)
    assert list(detector._best(_Candidates(np.array([0, 1, 1]), scores, corner, size, points))) == [1, 0]


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 900), (900, 1), (2500, 3), (7, 2500), (31, 33), (32, 64)])
def test_tiny_and_stretched_frames_hold_no_face(detector: Detector, size_wh: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    assert detector(frame) == []


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
        [[0]],
    ],
    ids=["grey", "rgba", "float", "empty", "list"],
)
def test_refuses_what_is_not_rgb(detector: Detector, frame: object) -> None:
    with pytest.raises(TypeError, match="frame"):
        detector(frame)  # pyright: ignore[reportArgumentType]


def test_a_batch_finds_what_each_frame_alone_does(detector: Detector) -> None:
    frames = np.stack([resize(PICTURES[name], (128, 160)) for name in ("hopper 512x606", "hopper 97x131")] * 2)
    frames[3] = 127
    batch = detector.in_batch(frames)
    assert [len(faces) for faces in batch] == [1, 1, 1, 0]
    for frame, faces in zip(frames, batch, strict=True):
        np.testing.assert_allclose(as_opencv(faces), as_opencv(detector(frame)), rtol=1e-4, atol=1e-3)


def test_refuses_a_model_that_is_no_detector() -> None:
    shape = ["N", 8, 8, 3]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["same"])],
        "identity",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("same", TensorProto.UINT8, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(model)
    with pytest.raises(BundleError, match=r"same.*expected a detector"):
        Detector.open(model.SerializeToString())


def test_refuses_bytes_that_are_no_model() -> None:
    with pytest.raises(EngineUnavailableError, match="cannot open"):
        Detector.open(b"not a model")
