"""Speed beside the obvious way: python tests/benchmarks.py [detect] [engine] [prepare] [align] [--rounds N]
The whole program: python tests/benchmarks.py chain memory

The parts all on one thread. What is compared runs in turns, A B A B, so that both meet the same machine; a ratio is the
median over the turns, which a busy machine disturbs less than the times themselves.
FSR_YUNET names face_detection_yunet_2023mar.onnx, which cv2.FaceDetectorYN needs.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, sleep

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tiny_data import portrait, save

from fsr.calibration.parity_set import portraits
from fsr.export.to_onnx import to_onnx
from fsr.runtime.bench.memory import resident_megabytes
from fsr.runtime.bench.scenes import SEEDS, make_scene
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector
from fsr.runtime.engines import open_engine
from fsr.runtime.geometry import resize, similarity_transforms, template_landmarks
from fsr.runtime.media.images import write_image
from fsr.runtime.pixels import RgbImage, bgr_from_rgb, rgb_from_bgr
from fsr.runtime.runs.folder import RESULTS
from fsr.train.checkpoint import Checkpoint
from fsr.train.networks.edge import TIERS, EdgeConfig, EdgeNet, multiply_accumulates
from fsr.train.prepare import CELEBA_ROWS, PrepareConfig, crop_one, find_pictures
from fsr.train.restore import restore

YUNET = os.environ.get("FSR_YUNET")
SIZE = 128
MATMUL = 1024
"""Side of the square float32 matrices whose product stands for the peak of this processor; larger ones take longer than
a busy machine leaves a program alone, and look half as fast."""


class Race:
    """Seconds of each side, one row a turn; a first turn goes unmeasured."""

    def __init__(self, rounds: int, *sides: Callable[[], object]) -> None:
        self.seconds = np.array([[_seconds(side) for side in sides] for _ in range(rounds + 1)])[1:]

    def cells(self, per_second: float) -> list[str]:
        """Medians of the first two sides in units of which `per_second` make a second, and the ratio of the two."""
        ours, theirs = self.seconds[:, 0], self.seconds[:, 1]
        medians = [f"{np.median(side) * per_second:.2f}" for side in (ours, theirs)]
        return [*medians, f"{np.median(theirs / ours):.2f}"]

    def best(self, side: int) -> float:
        """What speed is when nothing interrupts: the longer a call, the more of a busy machine is in its median."""
        return float(self.seconds[:, side].min())


def _seconds(side: Callable[[], object]) -> float:
    start = perf_counter()
    side()
    return perf_counter() - start


def detect(rounds: int) -> Table:
    """Faces and landmarks of one frame."""
    table = Table("frame", "fsr ms", "OpenCV ms", "OpenCV / fsr", "faces", title="detect: Detector, cv2.FaceDetectorYN")
    if YUNET is None:
        table.caption = "left out: FSR_YUNET does not name the ONNX file that cv2.FaceDetectorYN reads"
        return table
    first, second = portraits()
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:, :480], frame[:189, 480:] = resize(first, (480, 480)), resize(second, (160, 189))
    ours, theirs, bgr = Detector.open(default_detector()), opencv_detector((640, 480)), bgr_from_rgb(frame)
    race = Race(rounds, lambda: ours(frame), lambda: theirs.detect(bgr))
    table.add_row("640x480", *race.cells(1e3), f"{len(ours(frame))}, {len(theirs.detect(bgr)[1])}")
    return table


def opencv_detector(size_wh: tuple[int, int]) -> cv2.FaceDetectorYN:
    """With the thresholds of `Detector`."""
    return cv2.FaceDetectorYN.create(str(YUNET), "", size_wh, score_threshold=0.6, nms_threshold=0.3, top_k=5000)


def engine(rounds: int) -> Table:
    """From 16 to 128 px, uint8 to uint8, in float32."""
    columns = ("tier", "batch", "ORT ms/face", "PyTorch ms/face", "PyTorch / ORT", "ORT of peak", "PyTorch of peak")
    table = Table(*columns, title="engine: ONNX Runtime (ORT), PyTorch eager")
    races = {(tier, batch): _race_engines(rounds, tier, batch) for tier in TIERS for batch in (1, 16)}
    peak = MATMUL**3 / min(race.best(2) for race in races.values())  # multiply-accumulates a second
    for (tier, batch), race in races.items():
        work = batch * multiply_accumulates(EdgeConfig(tier, 16, 8))
        shares = [f"{work / race.best(side) / peak:.0%}" for side in (0, 1)]
        table.add_row(tier, str(batch), *race.cells(1e3 / batch), *shares)
    table.caption = (
        f"peak: {2 * peak / 1e9:.0f} GFLOP/s, the fastest of PyTorch's float32 products of {MATMUL}x{MATMUL} matrices; "
        "shares are of the fastest turns"
    )
    return table


def _race_engines(rounds: int, tier: str, batch: int) -> Race:
    network = EdgeNet(EdgeConfig(tier, 16, 8)).eval()
    checkpoint = Checkpoint("edge", network.config.to_json(), network.state_dict(), "runtime")
    low = np.random.default_rng(0).integers(0, 256, (batch, 16, 16, 3), np.uint8)
    matrix = torch.rand(MATMUL, MATMUL)
    with open_engine("onnxruntime", to_onnx(checkpoint)) as session:
        return Race(rounds, lambda: session(low), lambda: restore(network, low), lambda: matrix @ matrix)


def prepare(rounds: int) -> Table:
    """From files to aligned crops of 128 px, in one process."""
    columns = ("pictures", "fsr ms/face", "OpenCV ms/face", "OpenCV / fsr", "fsr faces/s", "OpenCV faces/s")
    table = Table(*columns, title="prepare: train.prepare, OpenCV alone")
    with tempfile.TemporaryDirectory() as folder:
        celeba, large, out = (Path(folder, name) for name in ("celeba", "large", "out.safetensors"))
        for index in range(24):
            save(celeba / f"{index + 1:06d}_{index}.jpg", portrait(index))
        for index, picture in enumerate(portraits()):
            save(large / f"{index}.jpg", picture)
        published = PrepareConfig(celeba, out, "portraits", "none", layout="celeba", framing="celeba178", size=SIZE)
        aligned = PrepareConfig(large, out, "portraits", "none", framing="runtime", size=SIZE)
        for what, config, naive in (
            ("178x218, cut and resized", published, cut_by_opencv),
            ("512 px wide, detected and aligned", aligned, align_by_opencv),
        ):
            race, faces = _race_crops(rounds, config, naive)
            rates = [f"{faces / np.median(race.seconds[:, side]):.0f}" for side in (0, 1)]
            table.add_row(what, *race.cells(1e3 / faces), *rates)
    detector = "with cv2.FaceDetectorYN" if YUNET else "with fsr's Detector, as FSR_YUNET names no file"
    table.caption = f"OpenCV's way {detector}; it does not prefilter, so its crops alias"
    return table


def _race_crops(rounds: int, config: PrepareConfig, naive: Callable[[Path], RgbImage]) -> tuple[Race, int]:
    pictures = find_pictures(config)
    for picture in pictures:  # a picture left out would be fast, and compared with nothing
        crops = crop_one(picture, config)
        assert not isinstance(crops, str) and crops[0].pixels.shape == naive(picture.path).shape, (
            f"{picture.name}: {crops}"
        )
    race = Race(rounds, lambda: [crop_one(p, config) for p in pictures], lambda: [naive(p.path) for p in pictures])
    return race, len(pictures)


def cut_by_opencv(path: Path) -> RgbImage:
    rows = _read_bgr(path)[slice(*CELEBA_ROWS)]
    return rgb_from_bgr(np.asarray(cv2.resize(rows, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8))


def align_by_opencv(path: Path) -> RgbImage:
    bgr = _read_bgr(path)
    crop_from_frame = cv2.estimateAffinePartial2D(_landmarks()(bgr), template_landmarks("runtime", SIZE))[0]
    return rgb_from_bgr(np.asarray(cv2.warpAffine(bgr, crop_from_frame, (SIZE, SIZE), flags=cv2.INTER_CUBIC), np.uint8))


def _read_bgr(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image, np.uint8)


@cache
def _landmarks() -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """What finds the (5, 2) points of the best face of a BGR picture."""
    if YUNET is None:
        ours = Detector.open(default_detector())
        return lambda bgr: ours(rgb_from_bgr(bgr))[0].landmarks
    theirs = opencv_detector((320, 320))

    def find(bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        theirs.setInputSize((bgr.shape[1], bgr.shape[0]))
        return np.asarray(theirs.detect(bgr)[1][0, 4:14], np.float32).reshape(5, 2)

    return find


def align(rounds: int) -> Table:
    """Similarity transforms of 16 faces from five landmarks each."""
    columns = ("faces", "fsr us", "OpenCV us", "OpenCV / fsr")
    table = Table(*columns, title="align: similarity_transforms, cv2.estimateAffinePartial2D")
    template = template_landmarks("runtime", SIZE)
    faces = template * 2 + np.random.default_rng(0).normal(0, 2, (16, 5, 2))
    race = Race(
        rounds,
        lambda: similarity_transforms(faces, template),
        lambda: [cv2.estimateAffinePartial2D(face, template) for face in faces],
    )
    table.add_row(str(len(faces)), *race.cells(1e6))
    return table


def machine() -> str:
    """Versions and the processor's name, which Linux keeps where `platform` does not look."""
    names = ("fsr-edge", "numpy", "torch", "onnxruntime")
    packages = [f"{name} {version(name)}" for name in names]
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    capability = torch.backends.cpu.get_cpu_capability()
    python = f"Python {platform.python_version()}"
    return f"{processor} ({capability}); {', '.join([python, *packages, f'OpenCV {cv2.__version__}'])}"


def chain() -> None:
    """`fsr-run --bench --naive`: ours and the naive chain from JPEG to JPEG, in a process that holds nothing else."""
    subprocess.run([*FSR_RUN, "--bench", "--naive"], check=True)


def memory() -> Table:
    """What `fsr-run` holds while it restores 1,000 pictures of 720p with 4 faces each; on Linux alone."""
    table = Table("pictures", "resident MB", title="memory: fsr-run --scale 1, two workers")
    with tempfile.TemporaryDirectory() as name:
        pictures, results = Path(name, "in"), Path(name, "out", RESULTS)
        write_image(pictures / "0000.jpg", make_scene(4, SEEDS[4][0])[0], 90)
        for number in range(1, MEMORY_AT[-1] + 20):  # still at work when it is looked at last
            (pictures / f"{number:04}.jpg").hardlink_to(pictures / "0000.jpg")
        options = ["-i", pictures, "-o", results.parent, "--scale", "1", "--workers", "2", "--quiet"]
        with subprocess.Popen([*FSR_RUN, *map(str, options)], stdout=subprocess.DEVNULL) as run:
            for count in MEMORY_AT:
                while done(results) < count and run.poll() is None:
                    sleep(0.05)
                table.add_row(f"{done(results)}", f"{resident_megabytes(run.pid) or 0:.0f}")
    return table


def done(results: Path) -> int:
    """Pictures recorded so far; the first line is a header."""
    return max(0, results.read_bytes().count(b"\n") - 1) if results.exists() else 0


FSR_RUN = (sys.executable, "-c", "from fsr.runtime.cli import main; main()")
MEMORY_AT = (20, 100, 500, 1000)
"""Pictures after which memory is read."""

BENCHMARKS: Mapping[str, Callable[[int], Table]] = {
    "detect": detect,
    "engine": engine,
    "prepare": prepare,
    "align": align,
}
WHOLE: Mapping[str, Callable[[], object]] = {"chain": chain, "memory": memory}
"""Minutes each, and in processes of their own, with the threads they choose: run by name only."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*BENCHMARKS, *WHOLE]))
@click.option("--rounds", default=30, show_default=True, type=click.IntRange(1), help="Turns measured.")
def main(names: tuple[str, ...], rounds: int) -> None:
    """Measure the parts NAMES, or all of them but chain and memory, which take minutes."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    console = Console()
    console.print(machine())
    for name in names or BENCHMARKS:
        shown = WHOLE[name]() if name in WHOLE else BENCHMARKS[name](rounds)
        if shown is not None:
            console.print(shown)


if __name__ == "__main__":
    main()
