"""A frame becomes restored faces that lie where the framing says, in the right colours and range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from fakes import FakeSearch, WatchedEngine, model_entry
from numpy.typing import NDArray

from fsr.runtime import align, pipeline
from fsr.runtime.align import NOT_CHOSEN, TOO_LARGE, TOO_SMALL, UNRELIABLE
from fsr.runtime.bundle import ModelEntry, default_detector
from fsr.runtime.detect import Detector, largest
from fsr.runtime.engines import Engine, FakeEngine
from fsr.runtime.errors import BundleError, EngineUnavailableError
from fsr.runtime.geometry import (
    Transform,
    compose,
    crop_from_landmarks,
    resize,
    scaling,
    transform_points,
    warp,
)
from fsr.runtime.options import RestoreOptions
from fsr.runtime.pipeline import RestoredFace, Restorer
from fsr.runtime.pixels import RgbBatch, RgbImage
from fsr.runtime.search import FaceSearch

SHRINK = 4  # the astronaut's crop of 128 px becomes one of 32
SIZE = 128

TEMPLATE = [(41.74, 48.78), (85.26, 48.78), (63.5, 73.74), (44.812, 91.916), (82.188, 91.916)]
"""The runtime framing at 128 px, written out: share x 128 - 0.5."""


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.open(default_detector())


def restorer_of(
    search: Detector | FakeSearch, *engines: tuple[ModelEntry, FakeEngine], options: RestoreOptions | None = None
) -> Restorer:
    options = options or RestoreOptions(scale=1)
    found = FaceSearch(search, options.min_face) if isinstance(search, Detector) else search
    return Restorer(found, cast("Sequence[tuple[ModelEntry, Engine]]", engines), options)


def scene_of(portrait: RgbImage) -> RgbImage:
    return resize(portrait, (portrait.shape[1] // SHRINK, portrait.shape[0] // SHRINK))


def restore_only_face(
    detector: Detector, scene: RgbImage, spoil: Callable[[RgbBatch], RgbBatch] | None = None
) -> RestoredFace:
    (face,) = restorer_of(detector, (model_entry(16, 8, 8, 80), FakeEngine(16, 8, spoil)))(scene).faces
    assert face.restored is not None and face.restored.shape == (SIZE, SIZE, 3)
    return face


def geometry_faults(face: RestoredFace, portrait: RgbImage) -> dict[str, float]:
    """What is wrong with a restored crop of `scene_of(portrait)`, by name and amount; {} where nothing is.

    The portrait itself is aligned by the same landmarks. Both are blurred, so that only place, colour and range count
    and not what detail an engine adds. `shift` is in pixels of the crop; measured: below 0.2 where all is right, 4
    for half a pixel of the input too much.
    """
    assert face.restored is not None
    landmarks = transform_points(scaling(SHRINK), face.face.landmarks)
    expected = warp(portrait, crop_from_landmarks(landmarks, "runtime", SIZE), (SIZE, SIZE))
    got, wanted = (cv2.GaussianBlur(image.astype(np.float64), (0, 0), 6) for image in (face.restored, expected))
    apart = got - wanted
    amounts = {
        "shift": float(np.hypot(*shift_between(got.mean(2), wanted.mean(2)))),
        "colour": float(np.abs(apart.mean((0, 1))).max()),
        "contrast": float(np.abs(np.log((got.std() + 1e-3) / wanted.std()))),
        "picture": float(np.abs(apart).mean()),
    }
    limits = {"shift": 0.5, "colour": 4.0, "contrast": 0.1, "picture": 4.0}
    return {name: amount for name, amount in amounts.items() if amount > limits[name]}


def shift_between(got: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.floating]:
    """(x, y) in pixels that `wanted` must be moved by to give `got`, to first order (Lucas and Kanade, 1981).

    The middle of the picture counts most; a difference in brightness does not count.
    """
    y_slope, x_slope = np.gradient(wanted)
    weight = np.outer(np.hanning(SIZE), np.hanning(SIZE)).ravel()
    slopes = np.stack([x_slope.ravel(), y_slope.ravel(), np.ones(weight.size)], 1)
    solved = np.linalg.lstsq(slopes * weight[:, None], (wanted - got).ravel() * weight, rcond=None)[0]
    return solved[:2]


def test_a_restored_face_has_no_fault(detector: Detector, astronaut: RgbImage, grace_hopper: RgbImage) -> None:
    for portrait in (astronaut, grace_hopper):
        assert geometry_faults(restore_only_face(detector, scene_of(portrait)), portrait) == {}


def shifted(batch: RgbBatch) -> RgbBatch:
    """x -> 8 x in place of (x + .5) 8 - .5."""
    move = np.array([[1, 0, -3.5], [0, 1, -3.5]], np.float64)
    return np.stack([warp(face, move, (SIZE, SIZE)) for face in batch])


ENGINE_MISTAKES: dict[str, tuple[str, Callable[[RgbBatch], RgbBatch]]] = {
    "half-pixel shift": ("shift", shifted),
    "swapped colours": ("colour", lambda batch: batch[..., ::-1]),
    "range 0 to 1": ("contrast", lambda batch: batch // 255),
    "range -1 to 1 taken for 0 to 1": ("contrast", lambda batch: batch // 2 + 64),
    "wrapped where it should be clipped": ("picture", lambda batch: batch + np.uint8(100)),
    "rows for columns": ("picture", lambda batch: batch.swapaxes(1, 2)),
}


@pytest.mark.parametrize("mistake", ENGINE_MISTAKES)
def test_a_mistake_of_the_engine_is_a_fault(detector: Detector, astronaut: RgbImage, mistake: str) -> None:
    fault, spoil = ENGINE_MISTAKES[mistake]
    faults = geometry_faults(restore_only_face(detector, scene_of(astronaut), spoil), astronaut)
    assert fault in faults


def edge_counting_compose(outer: Transform, inner: Transform) -> Transform:
    """crop_from_frame without the half pixel of the template."""
    return compose(np.array([[1, 0, 0.5], [0, 1, 0.5]]), compose(outer, inner))


def edge_counting_warp(image: RgbImage, target_from_source: Transform, size_wh: tuple[int, int]) -> RgbImage:
    """`warp` of a picture whose pixel centres were taken to lie at halves."""
    return warp(image, compose(target_from_source, np.array([[1, 0, -0.5], [0, 1, -0.5]])), size_wh)


@pytest.mark.parametrize(
    ("part", "mistaken"),
    [("compose", edge_counting_compose), ("warp", edge_counting_warp)],
)
def test_half_a_pixel_in_the_pipeline_is_a_fault(
    detector: Detector, astronaut: RgbImage, monkeypatch: pytest.MonkeyPatch, part: str, mistaken: Callable[..., object]
) -> None:
    monkeypatch.setattr(align, part, mistaken)
    assert "shift" in geometry_faults(restore_only_face(detector, scene_of(astronaut)), astronaut)


@pytest.mark.parametrize("name", ["astronaut", "grace_hopper"])
def test_the_restored_face_lies_on_the_template(detector: Detector, name: str, request: pytest.FixtureRequest) -> None:
    """As the detector sees the crop, which here keeps the detail of 32 px.

    It places the points of a face 45 px wide, as the scene shows it, up to 5 px elsewhere than those of the crop.
    """
    scene = scene_of(request.getfixturevalue(name))
    (face,) = restorer_of(detector, (model_entry(32, 4, 8, 80), FakeEngine(32, 4)))(scene).faces
    assert face.restored is not None
    found = largest(detector(np.pad(face.restored, ((64, 64), (64, 64), (0, 0)), mode="edge")))
    assert found is not None
    apart = found.landmarks - 64 - TEMPLATE
    assert np.hypot(*apart.T).max() < 9  # one face is no mean face
    assert np.abs(apart.mean(0)).max() < 6


def test_the_crop_is_the_similarity_that_fits_the_template_best(detector: Detector, astronaut: RgbImage) -> None:
    face = restore_only_face(detector, scene_of(astronaut))
    assert face.crop_from_frame is not None
    low_template = (np.array(TEMPLATE) + 0.5) / 8 - 0.5
    apart = transform_points(face.crop_from_frame, face.face.landmarks) - low_template
    np.testing.assert_allclose(apart.mean(0), 0, atol=1e-6)  # least squares leaves no shift
    (a, b), (c, d) = face.crop_from_frame[:, :2]
    assert (a, b) == pytest.approx((d, -c))


def test_says_what_it_did(detector: Detector, astronaut: RgbImage) -> None:
    scene = scene_of(astronaut)
    engine = WatchedEngine(16, 8)
    (face,) = restorer_of(detector, (model_entry(16, 8, 8, 60), engine))(scene).faces
    assert (face.decision, face.model) == ("restored", "16x8")
    assert face.native_size == pytest.approx(32, abs=4)  # 128 px in the portrait
    assert face.low is not None and (face.low.shape, face.low.dtype) == ((16, 16, 3), np.uint8)
    np.testing.assert_array_equal(engine.batches, [face.low[None]])


def face_of_native_size(native: float) -> np.ndarray:
    return (np.array(TEMPLATE) + 0.5) / SIZE * native - 0.5


@pytest.mark.parametrize(
    ("native", "model"),
    [(7.9, None), (8.1, "16x8"), (23.9, "16x8"), (24.1, "32x4"), (59.9, "32x4"), (60.1, None), (300, None)],
)
def test_the_native_size_chooses_the_model(native: float, model: str | None) -> None:
    engines = {"16x8": WatchedEngine(16, 8), "32x4": WatchedEngine(32, 4)}
    entries = [(model_entry(16, 8, 8, 24), engines["16x8"]), (model_entry(32, 4, 24, 60), engines["32x4"])]
    (face,) = restorer_of(FakeSearch(face_of_native_size(native)), *entries)(np.zeros((700, 700, 3), np.uint8)).faces
    assert face.model == model
    assert face.native_size == pytest.approx(native, rel=1e-5)
    assert [name for name, engine in engines.items() if engine.batches] == ([model] if model else [])


def test_a_face_that_no_model_helps_is_left_as_it_is() -> None:
    engine = WatchedEngine(16, 8)
    restorer = restorer_of(FakeSearch(face_of_native_size(90)), (model_entry(16, 8, 8, 60), engine))
    (face,) = restorer(np.zeros((700, 700, 3), np.uint8)).faces
    assert face.decision == TOO_LARGE
    assert (face.model, face.low, face.restored, face.crop_from_frame) == (None, None, None, None)
    assert engine.batches == []


def test_every_face_is_restored_in_the_order_of_the_detector() -> None:
    restorer = restorer_of(
        FakeSearch(face_of_native_size(20), face_of_native_size(90), face_of_native_size(30)),
        (model_entry(16, 8, 8, 60), FakeEngine(16, 8)),
    )
    faces = restorer(np.zeros((700, 700, 3), np.uint8)).faces
    assert [round(face.native_size) for face in faces] == [20, 90, 30]
    assert [face.model for face in faces] == ["16x8", None, "16x8"]


def test_a_frame_without_a_face_gives_none(detector: Detector) -> None:
    restorer = restorer_of(detector, (model_entry(16, 8, 0, 1000), FakeEngine(16, 8)))
    assert restorer(np.full((120, 160, 3), 127, np.uint8)).faces == []
    assert restorer(np.zeros((1, 1, 3), np.uint8)).faces == []


FRAME = np.zeros((700, 700, 3), np.uint8)


def test_unreliable_landmarks_leave_the_face_as_it_is() -> None:
    search = FakeSearch(face_of_native_size(30), reliable=False)
    (face,) = restorer_of(search, (model_entry(16, 8, 8, 60), FakeEngine(16, 8)))(FRAME).faces
    assert (face.decision, face.restored) == (UNRELIABLE, None)


def test_landmarks_far_from_any_face_are_unreliable() -> None:
    """As of a profile, whose eyes lie on one spot, or of points that lie in one place."""
    profile = face_of_native_size(30)
    profile[0] = profile[1] - (2, 0)
    profile[3] = profile[4] - (2, 0)
    profile[2] += (9, 0)
    for points in (profile, np.full((5, 2), 50.0)):
        (face,) = restorer_of(FakeSearch(points), (model_entry(16, 8, 1, 90), FakeEngine(16, 8)))(FRAME).faces
        assert (face.decision, face.restored) == (UNRELIABLE, None)


def test_a_face_too_small_for_any_model_is_left_as_it_is() -> None:
    search = FakeSearch(face_of_native_size(7))
    (face,) = restorer_of(search, (model_entry(16, 8, 8, 60), FakeEngine(16, 8)))(FRAME).faces
    assert face.decision == TOO_SMALL


THREE = [face_of_native_size(native) + shift for native, shift in ((20, 0), (40, 330), (30, 500))]


@pytest.mark.parametrize(
    ("options", "restored"),
    [
        (RestoreOptions(scale=1), [0, 1, 2]),
        (RestoreOptions(scale=1, max_faces=2), [1, 2]),
        (RestoreOptions(scale=1, max_faces=1), [1]),
        (RestoreOptions(scale=1, only_center=True), [1]),
    ],
)
def test_only_the_chosen_faces_are_restored(options: RestoreOptions, restored: list[int]) -> None:
    restorer = restorer_of(FakeSearch(*THREE), (model_entry(16, 8, 8, 60), FakeEngine(16, 8)), options=options)
    faces = restorer(FRAME).faces
    assert [n for n, face in enumerate(faces) if face.decision == "restored"] == restored
    assert {face.decision for n, face in enumerate(faces) if n not in restored} <= {NOT_CHOSEN}


def test_all_faces_of_a_model_are_one_batch() -> None:
    engines = [WatchedEngine(16, 8), WatchedEngine(32, 4)]
    entries = [(model_entry(16, 8, 8, 25), engines[0]), (model_entry(32, 4, 25, 60), engines[1])]
    restorer_of(FakeSearch(*THREE), *entries)(FRAME)
    assert [[len(batch) for batch in engine.batches] for engine in engines] == [[1], [2]]


@pytest.mark.parametrize("scale", [1, 2, 3, 8])
def test_the_picture_is_enlarged_and_only_faces_change(scale: int, astronaut: RgbImage) -> None:
    frame = resize(astronaut, (60, 50))
    search = FakeSearch(face_of_native_size(20) + np.array([20, 15]))

    def white(batch: RgbBatch) -> RgbBatch:
        return np.full_like(batch, 255)

    options = RestoreOptions(scale=scale)
    untouched = restorer_of(FakeSearch(), options=options)(frame).image
    image = restorer_of(search, (model_entry(16, 8, 8, 60), FakeEngine(16, 8, white)), options=options)(frame).image
    assert image.shape == (50 * scale, 60 * scale, 3)
    changed = np.argwhere((image != untouched).any(-1)) / scale
    assert (changed.min(0) >= [14, 19]).all() and (changed.max(0) <= [36, 41]).all()
    assert image[25 * scale, 30 * scale].tolist() == [255, 255, 255]


def test_the_frame_itself_is_not_written_to() -> None:
    frame = FRAME.copy()
    restorer_of(FakeSearch(*THREE), (model_entry(16, 8, 8, 60), FakeEngine(16, 8, lambda b: b + np.uint8(9))))(frame)
    assert not frame.any()


def test_the_stages_are_timed_in_the_order_of_the_chain() -> None:
    milliseconds = restorer_of(FakeSearch())(FRAME).milliseconds
    assert list(milliseconds) == ["detect", "align", "super-resolve", "enlarge", "paste"]
    assert all(value >= 0 for value in milliseconds.values())


def test_several_threads_get_the_same_as_one(detector: Detector, astronaut: RgbImage, grace_hopper: RgbImage) -> None:
    scenes = [scene_of(astronaut), scene_of(grace_hopper)] * 4
    restorer = restorer_of(detector, (model_entry(16, 8, 8, 80), FakeEngine(16, 8)))
    alone = [restorer(scene).image for scene in scenes]
    with ThreadPoolExecutor(4) as threads:
        for one, many in zip(alone, threads.map(restorer, scenes), strict=True):
            np.testing.assert_array_equal(one, many.image)


def test_a_bundle_is_opened_and_its_engines_are_closed(
    tiny_bundle: Path, astronaut: RgbImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = [WatchedEngine(16, 8), WatchedEngine(32, 4)]
    opened = []

    def open_engine(name: str, model: Path, precision: str) -> WatchedEngine:
        opened.append((name, model.name, precision))
        return engines[len(opened) - 1]

    monkeypatch.setattr(pipeline, "open_engine", open_engine)
    with Restorer.open(tiny_bundle) as restorer:
        assert opened == [
            ("onnxruntime", "edge-S-16x8.fp32.onnx", "fp32"),
            ("onnxruntime", "edge-S-32x4.fp32.onnx", "fp32"),
        ]
        assert [engine.open for engine in engines] == [True, True]
        assert len(restorer(scene_of(astronaut)).faces) == 1
    assert [engine.open for engine in engines] == [False, False]


def test_an_engine_that_is_not_here_is_an_error(tiny_bundle: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="got engine 'abacus', expected one of: onnxruntime"):
        Restorer.open(tiny_bundle, engine="abacus")


def test_a_precision_that_the_bundle_lacks_is_an_error(tiny_bundle: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="edge-S-16x8: got precision 'int8', expected one of fp32"):
        Restorer.open(tiny_bundle, precision="int8")


def test_a_folder_that_is_no_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        Restorer.open(tmp_path)
