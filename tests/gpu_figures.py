"""Figures of TensorRT engines on a real GPU: latency with and without graphs, memory, and a soak of minutes.

    python tests/gpu_figures.py --json figures.json             every plan of the default bundle that is in the cache
    python tests/gpu_figures.py --soak 10                       ten minutes of changing batches from four threads

Times are from host uint8 to host uint8, median and 99th percentile. Build the plans first: fsr-export build.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from fsr.runtime.bundle import default_folder, open_bundle
from fsr.runtime.engines import Upscaler, file_for
from fsr.runtime.engines.cuda import BINDINGS, installed, open_cuda
from fsr.runtime.engines.cuda_device import find_gpu
from fsr.runtime.engines.plan_choice import PRECISIONS
from fsr.runtime.engines.tensorrt import open_plan
from fsr.runtime.engines.trt_library import load_tensorrt
from fsr.runtime.errors import EngineUnavailableError

BATCHES = (1, 4, 16)
RUNS, WARM_UP = 500, 50


@dataclass(frozen=True)
class Latency:
    """Of one plan, batch size, package for CUDA and way to launch."""

    model: str
    precision: str
    batch: int
    bindings: str
    graphs: bool
    median_ms: float
    p99_ms: float


def plans_here(flavour: str) -> Iterator[tuple[str, Path, str]]:
    """Name, file and precision of each model of the default bundle that has a plan for this GPU."""
    bundle = open_bundle(default_folder())
    for model in bundle.manifest.models:
        for precision in PRECISIONS:
            entry = file_for(model.files, precision, flavour)
            if entry is None:
                continue
            try:
                open_plan(flavour, bundle.path(entry), precision).close()
            except EngineUnavailableError as error:
                click.echo(f"{model.name} {precision}: {error}", err=True)
            else:
                yield model.name, bundle.path(entry), precision


def latencies(flavour: str, name: str, path: Path, precision: str) -> Iterator[Latency]:
    """With every package for CUDA that is installed, interleaved, since clocks drift."""
    for bindings in filter(installed, BINDINGS):
        for graphs in (True, False):
            with Upscaler(open_plan(flavour, path, precision, bindings=bindings, graphs=graphs)) as engine:
                for batch in BATCHES:
                    times = timed(engine, batch)
                    figures = (round(float(np.percentile(times, q)), 4) for q in (50, 99))
                    yield Latency(name, precision, batch, bindings, graphs, *figures)


def timed(engine: Upscaler, batch: int) -> list[float]:
    """Milliseconds of each run."""
    faces = np.random.default_rng(0).integers(0, 256, (batch, engine.input_size, engine.input_size, 3), np.uint8)
    times = []
    for _ in range(WARM_UP + RUNS):
        start = time.perf_counter()
        engine(faces)
        times.append(1000 * (time.perf_counter() - start))
    return times[WARM_UP:]


def memory(flavour: str, path: Path, precision: str) -> dict[str, float]:
    """MiB of the device that an engine takes, and that are not given back when it closes; the second time counts."""
    cuda = open_cuda()
    taken = left = 0.0
    for _ in range(2):
        with cuda.current():
            before = cuda.free_bytes()
        with open_plan(flavour, path, precision), cuda.current():
            taken = (before - cuda.free_bytes()) / 2**20
        with cuda.current():
            left = (before - cuda.free_bytes()) / 2**20
    return {"taken_mib": round(taken, 1), "left_mib": round(left, 1)}


def soak(flavour: str, path: Path, precision: str, minutes: float, threads: int = 4) -> dict[str, Any]:
    """Changing batches from several threads, every result held against the first; engines opened anew meanwhile."""
    end, cuda, wrong, calls = time.monotonic() + 60 * minutes, open_cuda(), [0], [0]
    with Upscaler(open_plan(flavour, path, precision)) as engine:
        faces = np.random.default_rng(0).integers(0, 256, (40, engine.input_size, engine.input_size, 3), np.uint8)
        expected = engine(faces)
        with cuda.current():
            before = cuda.free_bytes()

        def work(seed: int) -> None:
            rng = np.random.default_rng(seed)
            while time.monotonic() < end:
                start, count = int(rng.integers(0, 20)), int(rng.integers(1, 20))
                got = engine(faces[start : start + count]).astype(int)
                wrong[0] += int(np.abs(got - expected[start : start + count]).max() > 1)
                calls[0] += 1

        opened = 0
        with ThreadPoolExecutor(threads) as workers:
            working = [workers.submit(work, seed) for seed in range(threads)]
            while time.monotonic() < end:
                open_plan(flavour, path, precision).close()
                opened += 1
            for each in working:
                each.result()
        with cuda.current():
            grown = (before - cuda.free_bytes()) / 2**20
    return {"minutes": minutes, "calls": calls[0], "wrong": wrong[0], "opened": opened, "grown_mib": round(grown, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavour", default="tensorrt", help="tensorrt or tensorrt-rtx")
    parser.add_argument("--model", help="this model alone, such as edge-L-16x8")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="soak the first plan for so long")
    parser.add_argument("--json", type=Path, help="write every figure there")
    given = parser.parse_args()
    figures: dict[str, Any] = {"gpu": str(find_gpu()), "tensorrt": str(load_tensorrt(given.flavour))}
    figures |= {"latency": [], "memory": {}}
    click.echo(f"{figures['gpu']}\n{figures['tensorrt']}")
    plans = [each for each in plans_here(given.flavour) if given.model in (None, each[0])]
    if not plans:
        sys.exit("there are no plans for this GPU; build them with: fsr-export build --fp16 --int8 --fp32")
    for name, path, precision in plans:
        for latency in latencies(given.flavour, name, path, precision):
            figures["latency"].append(asdict(latency))
            click.echo(" ".join(map(str, asdict(latency).values())))
        figures["memory"][f"{name} {precision}"] = taken = memory(given.flavour, path, precision)
        click.echo(f"{name} {precision} {taken}")
    if given.soak:
        figures["soak"] = soak(given.flavour, *plans[0][1:], given.soak)
        click.echo(f"soak {figures['soak']}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except EngineUnavailableError as error:
        sys.exit(str(error))
