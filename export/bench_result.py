"""What `fsr-export bench` measured: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..runtime.bench.figures import Timing
from ..runtime.machine import Machine

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One model in one precision by one engine, given one load."""

    model: str
    load: str
    """Faces at once; for the detector the size of the picture, or the number of looks."""
    engine: str
    precision: str
    milliseconds: Timing
    """For all of the load."""
    items_a_second: float
    """Faces, or pictures; from the median."""
    times_fp32: float | None
    """How many times as fast as ONNX Runtime in fp32, at the 5th percentile of both."""
    share_of_peak: float | None
    """Of `BenchResult.peaks` for its arithmetic; None where the model's arithmetic is not known."""
    file_kilobytes: float | None
    memory_megabytes: float | None
    """That the model adds to a process of its own, with the largest load."""
    failures: Sequence[str] = ()
    """Why the parity gate refused it here; PyTorch has nothing to be held against."""


@dataclass(frozen=True)
class BenchResult:
    """Everything measured, and what it must be read with."""

    machine: Machine
    bundle: str
    rounds: int
    peaks: Mapping[str, float]
    """By device and arithmetic: 10^9 multiply-accumulates a second that the best engine did with `export.yardstick`."""
    kept: str | None
    """Where in the cache `auto` finds it from now on, or why not, in a sentence; None where that was not wanted."""
    auto: Mapping[str, str]
    """By tier, and for the detector: what `--engine auto --precision auto` takes of this bundle, and why."""
    skipped: Sequence[str]
    """What could not be measured here, and why."""
    rows: Sequence[Row]

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "fastest": self.fastest()}, indent=1)

    def fastest(self) -> dict[str, str]:
        """By model and load, what took least here of what passed its gate."""
        best: dict[str, Row] = {}
        for row in self.rows:
            key = f"{row.model} {row.load}"
            if row.failures:
                continue
            if key not in best or row.milliseconds.p5 < best[key].milliseconds.p5:
                best[key] = row
        return {key: f"{row.engine} {row.precision}" for key, row in best.items()}


def lines(result: BenchResult) -> Iterator[str]:
    """What the tables are to be read with."""
    machine = result.machine
    yield f"{machine.processor}, {machine.cores} cores, {machine.system}"
    yield f"Python {machine.python}, " + ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    peaks = ", ".join(f"{kind} {rate:g}" for kind, rate in result.peaks.items()) or "unknown"
    yield f"peak, 10^9 multiply-accumulates a second of one thread in 3x3 convolutions of 256 channels: {peaks}"
    yield f"one thread an engine; {result.rounds} rounds in turns; times fp32: against ONNX Runtime, 5th percentiles"


def tables(result: BenchResult) -> Iterator[Table]:
    """One for each model."""
    from rich.table import Table

    fastest = result.fastest()
    for model in dict.fromkeys(row.model for row in result.rows):
        table = Table("at once", "engine", "precision", title=model, title_justify="left")
        for column in ("ms median (5th)", "a second", "x fp32", "of peak", "file KB", "memory MB"):
            table.add_column(column, justify="right")
        own = [row for row in result.rows if row.model == model]
        for row, after in zip(own, [*own[1:], None], strict=True):
            is_best = fastest.get(f"{model} {row.load}") == f"{row.engine} {row.precision}"
            table.add_row(
                *_cells(row), style="bold" if is_best else None, end_section=after is None or after.load != row.load
            )
        yield table


def closing_lines(result: BenchResult) -> Iterator[str]:
    """What is taken, what was fastest, and what is missing."""
    fastest = result.fastest()
    if result.kept is not None:
        yield result.kept
    for part, choice in result.auto.items():
        yield f"auto, {part}: {choice}"
    for model in dict.fromkeys(row.model for row in result.rows):
        loads = dict.fromkeys(row.load for row in result.rows if row.model == model)
        own = [f"{fastest.get(f'{model} {load}', 'none')} at {load}" for load in loads]
        yield f"fastest here of what passed its gate, {model}: {', '.join(own)}"
    failed = {f"{row.model} {row.precision} {row.engine}": row.failures[0] for row in result.rows if row.failures}
    for name, reason in failed.items():
        yield f"failed its gate, auto leaves it alone: {name}: {reason}"
    for reason in result.skipped:
        yield f"not measured: {reason}"


def _cells(row: Row) -> list[str]:
    known = [
        None if row.times_fp32 is None else f"{row.times_fp32:.2f}",
        None if row.share_of_peak is None else f"{100 * row.share_of_peak:.0f}%",
        None if row.file_kilobytes is None else f"{row.file_kilobytes:.0f}",
        None if row.memory_megabytes is None else f"{row.memory_megabytes:.0f}",
    ]
    times = f"{row.milliseconds.median:.3g} ({row.milliseconds.p5:.3g})"
    precision = f"{row.precision}, failed" if row.failures else row.precision
    return [row.load, row.engine, precision, times, f"{row.items_a_second:g}", *(cell or "" for cell in known)]
