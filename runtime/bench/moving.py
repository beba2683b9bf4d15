"""Measure the chain of moving pictures on this machine, from JPEG to JPEG: what `fsr-run --bench --moving` does.

scenes whose truth is known -> rounds, in each of which every contestant takes its turn -> recall -> steadiness

The contestants: the whole chain with workers, as a run over a video has it; the same with everything in one thread,
which tells what all of its stages take together; the naive chain. All read and write the same frames, at scale 1.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, process_time
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry import iou
from ..machine import this_machine
from ..media.images import Picture, read_picture, write_image, write_picture
from ..media.test_scene import TestScene, TrueFace
from ..moving import MovingChain, PreparedFrame
from ..options import RestoreOptions
from ..pipeline import RestoredFrame, Restorer
from ..pixels import RgbImage
from ..runs.ahead import read_ahead
from ..runs.ordered import ordered_map
from ..timing import Stopwatch
from ..track import Pace
from .figures import SAME_FACE, found_of, timing
from .flicker import FlickerMeter, Steadiness
from .moving_figures import MovingLoad, MovingReport, SteadyReport
from .naive import FINDS, NaiveChain, require_naive

FACES = (1, 4, 16)
FRAMES, CUT_AFTER = 60, 1.0
"""Of each scene, with a cut after so many seconds of 30 frames."""
NAIVE_FRAMES = 8
"""That the naive chain restores in a turn, evenly out of all."""
ROUNDS = 3
QUALITY = 90
STEADY_FACES, STEADY_FRAMES, STEADY_SCALE = 4, range(15, 45), 2
"""Of the scene and the frames, of one shot, on which steadiness is measured."""

OpenRestorer: TypeAlias = Callable[[RestoreOptions], AbstractContextManager[Restorer]]


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene whose frames are files."""

    scene: TestScene
    frames: list[Path]


@dataclass(frozen=True, eq=False)
class Pass:
    """One contestant over all frames."""

    milliseconds: float
    """A frame."""
    cpu: float
    """Milliseconds of processor a frame, all threads together."""
    boxes: list[NDArray[np.float64]]
    """(N, 4) of each frame."""
    restored: int
    """Faces, over all frames."""
    stages: dict[str, float]
    """Milliseconds a frame."""


class Clock:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._start = perf_counter(), process_time()

    @property
    def milliseconds(self) -> tuple[float, float]:
        return (perf_counter() - self._start[0]) * 1e3, (process_time() - self._start[1]) * 1e3


def run_moving_bench(
    open_restorer: OpenRestorer,
    options: RestoreOptions,
    workers: int,
    *,
    naive: bool = False,
    faces: Sequence[int] = FACES,
    frames: int = FRAMES,
    rounds: int = ROUNDS,
) -> MovingReport:
    """Measure scenes of so many `faces`, in a few minutes.

    Raises:
        EngineUnavailableError: a part is missing.
    """
    if naive:
        require_naive()
    threads = cv2.getNumThreads()
    options = replace(options, scale=1, min_face=FINDS)
    try:
        with tempfile.TemporaryDirectory(prefix="fsr-bench-") as name, open_restorer(options) as restorer:
            cv2.setNumThreads(max(1, threads // workers))
            chain = NaiveChain(1, QUALITY) if naive else None
            scenes = [make_scene(Path(name), count, frames) for count in faces]
            return MovingReport(
                machine=this_machine(),
                engine=restorer.description,
                options=options,
                codec=f"JPEG of quality {QUALITY}",
                workers=workers,
                rounds=rounds,
                loads=[_load(restorer, chain, scene, workers, rounds, Path(name)) for scene in scenes],
                steadiness=_steadiness(open_restorer, options),
            )
    finally:
        cv2.setNumThreads(threads)


def make_scene(folder: Path, faces: int, frames: int) -> Scene:
    scene = TestScene(faces=faces, seconds=frames / 30, cuts=CUT_AFTER)
    paths = [folder / f"{faces}-{number:04}.jpg" for number in range(frames)]
    for path, pixels in zip(paths, scene.frames(), strict=True):
        write_image(path, pixels, QUALITY)
    return Scene(scene, paths)


def _load(
    restorer: Restorer, naive: NaiveChain | None, scene: Scene, workers: int, rounds: int, folder: Path
) -> MovingLoad:
    """Rounds of turns, so that all contestants meet the same machine; a first pass goes unmeasured."""
    chosen = [scene.frames[n] for n in np.linspace(0, len(scene.frames) - 1, NAIVE_FRAMES).round().astype(int)]
    ours, alone, theirs = [], [], []
    with_workers(restorer, scene.frames[: len(scene.frames) // 3], workers, folder)
    for _ in range(rounds):
        ours.append(with_workers(restorer, scene.frames, workers, folder))
        alone.append(in_one_thread(restorer, scene.frames, folder))
        if naive is not None:
            theirs.append(_naive_pass(naive, chosen, workers, folder))
    seen = None if naive is None else [naive.boxes(path) for path in scene.frames]
    boxes = ours[0].boxes
    truth = [whole_boxes(scene.scene.truth(number)) for number in range(len(scene.frames))]
    fastest = min(each.milliseconds for each in alone)
    return MovingLoad(
        name=f"{scene.scene.faces} faces" if scene.scene.faces > 1 else "1 face",
        frames=len(scene.frames),
        restored=round(ours[0].restored / len(scene.frames), 2),
        milliseconds=timing([each.milliseconds for each in ours]),
        cpu_milliseconds=round(float(np.median([each.cpu for each in ours])), 2),
        naive=timing([each.milliseconds for each in theirs]) if theirs else None,
        times_naive=_ratios(ours, theirs)[0] if theirs else None,
        times_naive_cpu=_ratios(ours, theirs)[1] if theirs else None,
        recall_of_naive=None if seen is None else _recall(seen, boxes),
        recall_of_truth=_recall(truth, boxes) or 0.0,
        stages={stage: round(min(each.stages[stage] for each in alone), 3) for stage in alone[0].stages},
        one_thread=timing([each.milliseconds for each in alone]),
        share_of_floor=round(fastest / workers / min(each.milliseconds for each in ours), 3),
    )


def with_workers(restorer: Restorer, frames: Sequence[Path], workers: int, folder: Path) -> Pass:
    """Read ahead -> tracked in order -> the rest side by side -> in order, as `runs.stream` has it."""
    start = Clock()
    with (
        closing(read_ahead(map(read_picture, frames), workers)) as pictures,
        closing(read_ahead(_chain(restorer)(pictures, _pixels), workers)) as prepared,
        closing(ordered_map(lambda item: _finish(restorer, item, folder), prepared, workers)) as finished,
    ):
        results = list(finished)
    return _pass(results, start, {})


def in_one_thread(restorer: Restorer, frames: Sequence[Path], folder: Path) -> Pass:
    """The same, one stage after the other: what there is to do."""
    start, watch, results = Clock(), Stopwatch(), []
    with watch("read"):
        pictures = [read_picture(path) for path in frames]
    with watch("track, align"):
        prepared = list(_chain(restorer)(pictures, _pixels))
    for item in prepared:
        with watch("restore"):
            restored = restorer.finish(item.frame.pixels, item)
        with watch("write"):
            _write(item, restored, folder)
        results.append(restored)
    stages = {stage: value / len(frames) for stage, value in watch.milliseconds.items()}
    return _pass(results, start, stages)


def _chain(restorer: Restorer) -> MovingChain:
    chain = restorer.moving(ahead=Pace().search_every)
    assert chain is not None, "a Restorer that was opened can follow"
    return chain


def _pixels(picture: Picture) -> RgbImage:
    return picture.pixels


def _finish(restorer: Restorer, item: PreparedFrame[Picture], folder: Path) -> RestoredFrame:
    restored = restorer.finish(item.frame.pixels, item)
    _write(item, restored, folder)
    return restored


def _write(item: PreparedFrame[Picture], restored: RestoredFrame, folder: Path) -> None:
    write_picture(folder / f"out-{id(item)}.jpg", replace(item.frame, pixels=restored.image, alpha=None), QUALITY)
    (folder / f"out-{id(item)}.jpg").unlink()


def _pass(results: Sequence[RestoredFrame], start: Clock, stages: dict[str, float]) -> Pass:
    wall, cpu = start.milliseconds
    boxes = [np.array([face.face.box_xyxy for face in each.faces], float).reshape(-1, 4) for each in results]
    restored = sum(face.restored is not None for each in results for face in each.faces)
    return Pass(wall / len(results), cpu / len(results), boxes, restored, stages)


def _naive_pass(naive: NaiveChain, frames: Sequence[Path], workers: int, folder: Path) -> Pass:
    start = Clock()
    jobs = [(frame, folder / f"naive-{number}.jpg") for number, frame in enumerate(frames)]
    list(ordered_map(lambda job: naive(*job), jobs, workers))
    wall, cpu = start.milliseconds
    return Pass(wall / len(jobs), cpu / len(jobs), [], 0, {})


def _ratios(ours: Sequence[Pass], theirs: Sequence[Pass]) -> tuple[float, float]:
    """Of wall time and of processor time, medians over rounds."""
    pairs = [*zip(ours, theirs, strict=True)]
    wall, cpu = ([naive.milliseconds / own.milliseconds for own, naive in pairs], [n.cpu / o.cpu for o, n in pairs])
    return round(float(np.median(wall)), 2), round(float(np.median(cpu)), 2)


def _recall(wanted: Sequence[NDArray[np.floating]], found: Sequence[NDArray[np.floating]]) -> float | None:
    count = sum(map(len, wanted))
    return round(sum(map(found_of, wanted, found)) / count, 4) if count else None


def whole_boxes(truth: Iterable[TrueFace]) -> NDArray[np.float64]:
    """(N, 4): of the true faces of a frame that are whole."""
    return np.array([face.box_xyxy for face in truth if face.visible >= 1]).reshape(-1, 4)


def _steadiness(open_restorer: OpenRestorer, options: RestoreOptions) -> SteadyReport:
    """Tracked and fused, beside every frame by itself."""
    scene = TestScene(faces=STEADY_FACES, seconds=STEADY_FRAMES.stop / 30, cuts=0)
    frames = list(scene.frames())
    with open_restorer(replace(options, scale=STEADY_SCALE)) as restorer:
        tracked = [restorer.finish(each.frame, each) for each in _frames_chain(restorer, frames)]
        single = {number: restorer(frames[number]) for number in STEADY_FRAMES}
    return SteadyReport(
        f"{STEADY_FACES} faces of test://, {len(STEADY_FRAMES)} frames, scale {STEADY_SCALE}, motion made up",
        _measured(scene, {number: tracked[number] for number in STEADY_FRAMES}),
        _measured(scene, single),
    )


def _frames_chain(restorer: Restorer, frames: Sequence[RgbImage]) -> Iterator[PreparedFrame[RgbImage]]:
    return _chain(restorer)(frames, lambda frame: frame)


def _measured(scene: TestScene, results: dict[int, RestoredFrame]) -> Steadiness:
    meter = FlickerMeter()
    for number, result in results.items():
        truth = [face for face in scene.truth(number) if face.visible >= 1]
        placed = {face.id: (face.crop, face.frame_from_crop) for face in truth}
        meter.add(number, result.image, STEADY_SCALE, placed, _centres(truth, result))
    return meter.steadiness


def _centres(truth: Sequence[TrueFace], result: RestoredFrame) -> dict[int, NDArray[np.floating]]:
    boxes = np.array([face.face.box_xyxy for face in result.faces]).reshape(-1, 4)
    centres = {}
    for face in truth:
        overlaps = iou(face.box_xyxy, boxes)
        if len(boxes) and overlaps.max() >= SAME_FACE:
            centres[face.id] = result.faces[int(overlaps.argmax())].face.landmarks.mean(0)
    return centres
