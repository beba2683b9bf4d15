"""Measure every engine and precision of a bundle here: `fsr-export bench`.

open all of them and hold them against the parity gate -> memory, each in a process of its own -> one race, A B C A B C,
so that all meet the same machine -> rows with their ratio to ONNX Runtime in fp32 and their share of the machine's peak
-> kept in the cache, for `auto` to go by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ..runtime.bench.figures import Timing, timing
from ..runtime.bench.scenes import make_scene
from ..runtime.bundle import Bundle, FileEntry, ModelEntry, default_folder, open_bundle
from ..runtime.engines import AUTO, choose_detector, choose_engine, open_network
from ..runtime.engines.speeds import keep_speeds
from ..runtime.errors import EngineUnavailableError, InputError, OutputError, UsageError
from ..runtime.look import LOOK_SIDE
from ..runtime.machine import this_machine
from ..runtime.pipeline import models_of_tier
from ..runtime.pixels import RgbBatch
from ..runtime.search import LOOK_BATCH, TILE_LONG, TILE_SHORT
from .bench_gate import LOOKS, Judge, speeds_of
from .bench_memory import memory_of
from .bench_result import BenchResult, Row
from .bench_torch import BATCHES, torch_runners
from .check import engines_here
from .extend_bundle import DETECTOR
from .yardstick import MACS, SIDE, yardsticks

MIN_ROUNDS = 3
CALLS = 2
"""Measured of each contestant in a round, after one that is not: its caches hold what ran before it."""
YARDSTICK = "yardstick"


@dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    bundle: Path | None = None
    """By default the package's own."""
    models: Sequence[str] = ()
    """By default every one, and the detector."""
    checkpoints: Sequence[Path] = ()
    """Of the same networks, to time PyTorch with: a bundle does not hold them."""
    seconds: float = 60.0
    """After which no round begins, once there were `MIN_ROUNDS`."""
    keep: bool = True
    """Whether `auto` goes by it from now on."""


@dataclass(frozen=True, eq=False)
class Runner:
    """One model, ready to run in one precision by one engine."""

    model: str
    engine: str
    precision: str
    device: str
    run: Callable[[RgbBatch], object]
    file: Path | None
    """None of PyTorch, which runs no file of the bundle."""
    failures: Sequence[str] = ()
    """Why the parity gate refuses it."""


@dataclass(frozen=True, eq=False)
class Load:
    """What a model is given at once."""

    model: str
    name: str
    batch: RgbBatch
    items: int
    """Faces, or pictures for the detector."""
    multiply_accumulates: int | None
    """For all of it; None where it is not known."""


def bench(config: BenchConfig, console: Console) -> BenchResult:
    """Measure all that `config` asks for; what cannot run here is named in the result.

    Raises:
        UsageError: no model of a name that was asked for, or a checkpoint of none.
        BundleError, CheckpointError: an input is damaged.
    """
    bundle = open_bundle(config.bundle or default_folder())
    models = chosen(bundle, config.models)
    engines, skipped = engines_here("all")
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("parity gate", total=None)
        # PyTorch first: a checkpoint of no model is refused before anything takes its time.
        of_torch = [Runner(*parts, None) for parts in torch_runners(models, config.checkpoints, skipped, console)]
        runners = list(yardstick_runners(engines, skipped))
        runners += [*bundle_runners(bundle, models, engines, not config.models, skipped), *of_torch]
        loads = [load for name in dict.fromkeys(r.model for r in runners) for load in loads_of(name, models)]
        progress.update(task, description="memory", total=len(runners))
        memory = {}
        for runner in runners:
            if runner.file is not None:
                largest = max((load.batch for load in loads if load.model == runner.model), key=np.size).shape
                memory[runner] = memory_of(runner.engine, runner.file, runner.precision, largest)
            progress.advance(task)
        progress.update(task, description="racing", total=None)
        milliseconds = race(runners, loads, config.seconds)
    peaks = peaks_of(milliseconds)
    rows = [
        row_of(runner, load, milliseconds, memory.get(runner), peaks)
        for load in loads
        for runner in runners
        if runner.model == load.model and runner.model != YARDSTICK
    ]
    return BenchResult(
        machine=this_machine(),
        bundle=bundle.manifest.name,
        rounds=len(next(iter(milliseconds.values()))) // CALLS,
        peaks={f"{device} {kind}": round(rate / 1e9, 1) for (device, kind), rate in peaks.items()},
        kept=_kept(rows, bundle) if config.keep else None,
        auto=auto_choices(bundle),
        skipped=skipped,
        rows=rows,
    )


def _kept(rows: Sequence[Row], bundle: Bundle) -> str:
    """Keep `rows` for `auto`, and say where; or why they could not be, which loses nothing else."""
    try:
        path = keep_speeds(speeds_of(rows, bundle))
    except OutputError as error:
        return f"not kept for auto: {error}"
    return f"kept in {path}: auto goes by it until the processor or a version of an engine changes"


def auto_choices(bundle: Bundle) -> dict[str, str]:
    """What `auto` takes for the models of each tier and for the detector, and why."""
    named = None if bundle.folder == default_folder() else bundle.folder
    chosen = {}
    for tier in dict.fromkeys(model.tier for model in bundle.manifest.models):
        files = [model.files for model in models_of_tier(bundle, tier)]
        choice = choose_engine(AUTO, AUTO, set.intersection(*map(set, files)), models=files, bundle=named)
        chosen[f"tier {tier}"] = str(choice)
    return {**chosen, "detector": str(choose_detector(AUTO, AUTO, bundle.manifest.detector.files, named))}


def chosen(bundle: Bundle, names: Sequence[str]) -> list[ModelEntry]:
    """The models called so; all, of no names."""
    if unknown := [name for name in names if name not in bundle.names]:
        raise UsageError(f"--model: got {unknown[0]!r}, expected one of {', '.join(bundle.names)}")
    return [model for model in bundle.manifest.models if not names or model.name in names]


def bundle_runners(
    bundle: Bundle, models: Sequence[ModelEntry], engines: Sequence[str], with_detector: bool, skipped: list[str]
) -> Iterator[Runner]:
    """Every file by every engine, judged; what an engine refuses goes into `skipped`."""
    judge = Judge(bundle)
    files: dict[str, Mapping[str, FileEntry]] = {model.name: model.files for model in models}
    if with_detector:
        files[DETECTOR] = bundle.manifest.detector.files
    for name, by_precision in files.items():
        for precision, entry in by_precision.items():
            path = bundle.path(entry)
            for engine in engines:
                try:
                    network = open_network(engine, path, precision)
                    failures = judge.failures(name, network, precision)
                except (EngineUnavailableError, InputError) as error:  # the latter: nothing to judge it on
                    skipped.append(f"{name} {precision} {engine}: {error}")
                else:
                    yield Runner(name, engine, precision, network.device, network, path, failures)


def yardstick_runners(engines: Sequence[str], skipped: list[str]) -> Iterator[Runner]:
    """The yardstick by every engine that opens it: TensorRT has plans of a bundle's files alone."""
    if find_spec("onnx") is None:  # a device needs none for all else
        skipped.append('peak: onnx is not installed: pip install "fsr-edge[export]"')
        return
    for precision, model in yardsticks().items():
        for engine in engines:
            try:
                network = open_network(engine, model, precision)
            except EngineUnavailableError as error:
                skipped.append(f"peak {precision} {engine}: {error}")
            else:
                yield Runner(YARDSTICK, engine, precision, network.device, network, None)


def loads_of(name: str, models: Sequence[ModelEntry]) -> Iterator[Load]:
    """Noise for the models, whose time does not depend on what they see; a scene for the detector."""
    noise = np.random.default_rng(0)
    if name == YARDSTICK:
        yield Load(name, "", noise.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8), 1, MACS)
    elif name == DETECTOR:
        frame = np.zeros((1, TILE_SHORT, TILE_LONG, 3), np.uint8)
        scene, _ = make_scene(4, 0)
        frame[0, : len(scene)] = scene
        yield Load(name, f"{TILE_LONG}x{TILE_SHORT}", frame, 1, None)
        looks = noise.integers(0, 256, (LOOK_BATCH, LOOK_SIDE, LOOK_SIDE, 3), np.uint8)
        yield Load(name, f"{LOOK_BATCH} {LOOKS}", looks, LOOK_BATCH, None)
    else:
        model = next(model for model in models if model.name == name)
        for count in BATCHES:
            batch = noise.integers(0, 256, (count, model.input_size, model.input_size, 3), np.uint8)
            yield Load(name, str(count), batch, count, count * model.multiply_accumulates)


def race(runners: Sequence[Runner], loads: Sequence[Load], seconds: float) -> dict[tuple[Runner, Load], list[float]]:
    """Milliseconds of every call of every runner with every load of its model, in turns."""
    turns = [(runner, load) for load in loads for runner in runners if runner.model == load.model]
    taken: dict[tuple[Runner, Load], list[float]] = {turn: [] for turn in turns}
    start, rounds = perf_counter(), 0
    while rounds < MIN_ROUNDS or perf_counter() - start < seconds:
        for runner, load in turns:
            runner.run(load.batch)
            for _ in range(CALLS):
                before = perf_counter()
                runner.run(load.batch)
                taken[runner, load].append((perf_counter() - before) * 1e3)
        rounds += 1
    return taken


def arithmetic(runner: Runner) -> tuple[str, str]:
    """Device, and what it computes in: a CPU has no float16 of its own."""
    return runner.device, "fp32" if runner.device == "cpu" and runner.precision == "fp16" else runner.precision


def peaks_of(milliseconds: Mapping[tuple[Runner, Load], list[float]]) -> dict[tuple[str, str], float]:
    """Most multiply-accumulates a second that any engine reached with the yardstick, by device and arithmetic."""
    peaks: dict[tuple[str, str], float] = {}
    for (runner, _), own in milliseconds.items():
        if runner.model == YARDSTICK:
            rate = MACS / (min(own) / 1e3)  # the best of all: a neighbour's work can only slow it down
            peaks[arithmetic(runner)] = max(rate, peaks.get(arithmetic(runner), 0.0))
    return peaks


def row_of(
    runner: Runner,
    load: Load,
    milliseconds: Mapping[tuple[Runner, Load], list[float]],
    memory: float | None,
    peaks: Mapping[tuple[str, str], float],
) -> Row:
    own: Timing = timing(milliseconds[runner, load])
    base = [
        timing(taken)
        for (other, its), taken in milliseconds.items()
        if its is load and (other.engine, other.precision) == ("onnxruntime", "fp32")
    ]
    macs, peak = load.multiply_accumulates, peaks.get(arithmetic(runner))
    return Row(
        model=runner.model,
        load=load.name,
        engine=runner.engine,
        precision=runner.precision,
        milliseconds=own,
        items_a_second=round(1e3 * load.items / own.median, 1),
        times_fp32=round(base[0].p5 / own.p5, 2) if base else None,
        share_of_peak=round(macs / (own.p5 / 1e3) / peak, 3) if macs and peak else None,
        file_kilobytes=None if runner.file is None else round(runner.file.stat().st_size / 1e3, 1),
        memory_megabytes=None if memory is None else round(memory, 1),
        failures=runner.failures,
    )
