"""What `--bench --moving` measured, as numbers, as JSON and for a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..machine import Machine
from ..options import RestoreOptions
from .figures import Timing
from .flicker import Steadiness

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class MovingLoad:
    """One scene."""

    name: str
    frames: int
    restored: float
    """Faces a frame."""
    milliseconds: Timing
    """A frame, with the workers of the report."""
    cpu_milliseconds: float
    """Of processor, a frame, all threads together: what it takes however busy the machine is with other things."""
    naive: Timing | None
    """The same of the naive chain with as many."""
    times_naive: float | None
    """Median over rounds."""
    times_naive_cpu: float | None
    """The same of processor time."""
    recall_of_naive: float | None
    """Share of the boxes that the naive chain's detector sees in any frame, by which one of ours lies."""
    recall_of_truth: float
    """The same of the true faces that are whole."""
    stages: dict[str, float]
    """Milliseconds a frame, the least of all rounds, each stage by itself in one thread."""
    one_thread: Timing
    """All stages, one after the other."""
    share_of_floor: float
    """Of the speed at which the workers would do nothing but those stages, all the time."""


@dataclass(frozen=True)
class SteadyReport:
    on: str
    tracked: Steadiness
    frame_by_frame: Steadiness


@dataclass(frozen=True)
class MovingReport:
    """Everything measured, and what it must be read with."""

    machine: Machine
    engine: str
    options: RestoreOptions
    codec: str
    workers: int
    rounds: int
    loads: list[MovingLoad]
    steadiness: SteadyReport

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def _if_measured(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


FIGURES: Mapping[str, Callable[[MovingLoad], str]] = MappingProxyType(
    {
        "fsr, ms": lambda load: f"{load.milliseconds.median:.1f}",
        "fsr, frames a second": lambda load: f"{1e3 / load.milliseconds.median:.1f}",
        "naive, ms": lambda load: _if_measured(load.naive and load.naive.median, ".1f"),
        "x naive": lambda load: _if_measured(load.times_naive, ".1f"),
        "x naive, in processor time": lambda load: _if_measured(load.times_naive_cpu, ".1f"),
        "recall of naive's faces": lambda load: _if_measured(load.recall_of_naive, ".3f"),
        "recall of the true faces": lambda load: f"{load.recall_of_truth:.3f}",
        "share of floor": lambda load: f"{load.share_of_floor:.0%}",
        "fsr, processor time, ms": lambda load: f"{load.cpu_milliseconds:.1f}",
    }
)
"""Rows of the table."""


def render(report: MovingReport) -> RenderableType:
    """Speed, recall and steadiness."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    machine, steady = report.machine, report.steadiness
    head = (
        f"{machine.processor}, {machine.cores} cores; {report.engine}; moving scenes of 1280x720, {report.codec}, "
        f"scale {report.options.scale}, {report.workers} workers, median of {report.rounds} rounds"
    )
    speed = Table("", title="a frame", title_justify="left")
    for load in report.loads:
        speed.add_column(load.name, justify="right")
    for name, figure in FIGURES.items():
        speed.add_row(name, *(figure(load) for load in report.loads))
    for stage in report.loads[0].stages:
        speed.add_row(f"  {stage}, alone, ms", *(f"{load.stages[stage]:.1f}" for load in report.loads))
    steadiness = Table("", title=f"steadiness: {steady.on}", title_justify="left")
    for column in ("flicker", "PSNR", "lag in frames"):
        steadiness.add_column(column, justify="right")
    for name, each in (("tracked", steady.tracked), ("frame by frame", steady.frame_by_frame)):
        steadiness.add_row(name, f"{each.flicker:.2f}", f"{each.psnr:.2f} dB", f"{each.lag:.3f}")
    return Group(Text(head), speed, Text(), steadiness)
