"""Measure the whole chain on this machine, from JPEG to JPEG: what `fsr-run --bench` does.

open the models and restore a first picture -> peak memory -> the naive chain, if asked for -> rounds of turns.
The order matters: the peak of the process must not hold what the naive chain loads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..align import RESTORED
from ..bundle import default_detector
from ..detect import Detector
from ..machine import this_machine
from ..media.images import read_picture, write_image, write_picture
from ..options import RestoreOptions
from ..pipeline import RestoredFrame
from ..pixels import RgbImage
from ..search import DETECTABLE
from ..timing import Stopwatch
from .figures import BenchReport, LoadReport, recall_of, speeds_of, stages_of, times_naive
from .memory import peak_megabytes
from .naive import FINDS, NaiveChain, require_naive
from .race import Contestant, Outcome, Turn, race, take_turn
from .scenes import SEEDS, PlacedFaces, make_scene

QUALITY = 90
"""Of every JPEG written here."""
FSR = "fsr: one process, workers are threads that share the models; without the crops and records of a run"
SAME_WORK = (
    f"both: at --scale 1, for faces from {FINDS:g} px on, whatever is given: what the naive chain finds in the picture "
    "as it is, and it can do no other; its network has random weights, only its speed means something"
)
MOST_PICTURES = 8
"""Of a user's pictures; more would leave too few rounds."""


class AnyRestorer(Protocol):
    """A `Restorer`, or a stand-in."""

    description: str

    def __call__(self, frame: RgbImage) -> RestoredFrame: ...


OpenRestorer = Callable[[RestoreOptions], AbstractContextManager[AnyRestorer]]


@dataclass(frozen=True, eq=False)
class Load:
    """Pictures that are measured together."""

    name: str
    pictures: list[Path]
    placed: list[PlacedFaces] | None = None
    """What was put into each picture, where that is known."""


def run_bench(
    open_restorer: OpenRestorer,
    options: RestoreOptions,
    workers: int,
    *,
    naive: bool = False,
    pictures: Sequence[Path] = (),
    seconds: float = 30.0,
) -> BenchReport:
    """Measure with 1 and with `workers` threads, for about `seconds` after the warm-up.

    naive: time the naive chain in the same rounds. It can neither enlarge a picture nor search it at another size, so
    that ours works at scale 1 and for the faces that the other finds there; the report says so.
    pictures: to measure with, at most `MOST_PICTURES` of them; by default made-up scenes of 1, 4 and 16 faces.

    Raises:
        EngineUnavailableError: a part is missing.
        InputError: one of `pictures` cannot be read.
    """
    if naive:
        require_naive()
        options = replace(options, scale=1, min_face=FINDS)
    with tempfile.TemporaryDirectory(prefix="fsr-bench-") as name:
        folder = Path(name)
        loads = [user_load(pictures)] if pictures else list(scene_loads(folder))
        start = perf_counter()
        with open_restorer(options) as restorer:
            chain = FsrChain(restorer)
            chain(loads[0].pictures[0], folder / "first.jpg")
            first_picture = (perf_counter() - start) * 1e3
            ours = fsr_contestants(chain, workers)
            for load in loads:
                take_turn(ours[-1], load.pictures, folder)
            peak = peak_megabytes()
            contestants = [*ours, *(naive_contestants(workers) if naive else [])]
            turns = race(contestants, {load.name: load.pictures for load in loads}, folder, seconds)
            return BenchReport(
                machine=this_machine(),
                engine=restorer.description,
                options=options,
                codec=f"JPEG of quality {QUALITY}",
                workers=workers,
                rounds=len(next(iter(turns.values()))[0]),
                first_picture_milliseconds=round(first_picture, 1),
                peak_megabytes=None if peak is None else round(peak, 1),
                notes=[*dict.fromkeys(c.note for c in contestants), *[SAME_WORK] * naive],
                loads=[load_report(load, contestants, turns[load.name], options) for load in loads],
            )


def load_report(
    load: Load, contestants: Sequence[Contestant], turns: Sequence[list[Turn]], options: RestoreOptions
) -> LoadReport:
    size_wh = picture_size(load.pictures[0])
    return LoadReport(
        name=load.name,
        pictures=len(load.pictures),
        size_wh=size_wh,
        detector_wh=detector_input(size_wh, options),
        stages=stages_of(contestants, turns),
        speeds=speeds_of(contestants, turns),
        times_naive=times_naive(contestants, turns),
        recall=recall_of(contestants, turns, len(load.pictures), placed_boxes(load)),
    )


class FsrChain:
    """Our chain between two files, without the crops and records that a run over a folder writes besides."""

    def __init__(self, restore: AnyRestorer) -> None:
        self._restore = restore

    def __call__(self, source: Path, target: Path) -> Outcome:
        watch = Stopwatch()
        with watch("read"):
            picture = read_picture(source)
        frame = self._restore(picture.pixels)
        with watch("write"):
            write_picture(target, replace(picture, pixels=frame.image, alpha=None), QUALITY)
        boxes = np.array([face.face.box_xyxy for face in frame.faces], np.float64).reshape(-1, 4)
        restored = sum(face.decision == RESTORED for face in frame.faces)
        read_first = {"read": watch.milliseconds["read"], **frame.milliseconds}
        return Outcome(boxes, restored, {**read_first, "write": watch.milliseconds["write"]})


def fsr_contestants(chain: FsrChain, workers: int) -> list[Contestant]:
    """With one worker, and with as many as asked for."""
    threads = cv2.getNumThreads()
    return [Contestant("fsr", chain, count, max(1, threads // count), FSR) for count in sorted({1, workers})]


def naive_contestants(workers: int) -> list[Contestant]:
    """As a script runs it, and as the same script would use every core."""
    threads = cv2.getNumThreads()
    script = f"naive, 1 worker: one process, OpenCV and torch {version('torch')} with as many threads as they choose"
    contestants = [Contestant("naive", NaiveChain(quality=QUALITY), 1, threads, script)]
    if workers > 1:
        note = f"naive, {workers} workers: one process, as many threads, in each of which OpenCV and torch have one"
        contestants.append(Contestant("naive", NaiveChain(1, QUALITY), workers, 1, note))
    return contestants


def scene_loads(folder: Path) -> Iterator[Load]:
    """Scenes of 1, 4 and 16 faces, written as JPEG."""
    for faces, seeds in SEEDS.items():
        pictures = [folder / f"scene-{faces}-{seed}.jpg" for seed in seeds]
        load = Load(count_of(faces, "face"), pictures, placed := [])
        for picture, seed in zip(pictures, seeds, strict=True):
            pixels, faces_in_it = make_scene(faces, seed)  # written at once: kept, the pixels would count as ours
            write_image(picture, pixels, QUALITY)
            placed.append(faces_in_it)
        yield load


def user_load(pictures: Sequence[Path]) -> Load:
    """Pictures taken evenly out of all that were given."""
    chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), MOST_PICTURES)).round().astype(int)
    name = count_of(len(chosen), "picture")
    return Load(f"{name} of {len(pictures)}" if len(chosen) < len(pictures) else name, [pictures[i] for i in chosen])


def placed_boxes(load: Load) -> list[NDArray[np.float64]] | None:
    """(N, 4) for each picture; None where nothing is known of them."""
    if load.placed is None:
        return None
    detector = Detector.open(default_detector())
    return [placed.boxes_xyxy(detector) for placed in load.placed]


def picture_size(picture: Path) -> tuple[int, int]:
    height, width = read_picture(picture).pixels.shape[:2]
    return width, height


def detector_input(size_wh: tuple[int, int], options: RestoreOptions) -> tuple[int, int]:
    """Size at which the detector first sees a picture, before it is cut into tiles."""
    scale = DETECTABLE / options.min_face
    return round(size_wh[0] * scale), round(size_wh[1] * scale)


def count_of(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
