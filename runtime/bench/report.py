"""What `--bench` measured, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .figures import SAME_FACE, BenchReport, LoadReport, Timing

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def render(report: BenchReport) -> RenderableType:
    """What was measured on what, then stages, speed and recall, then what each contestant is."""
    from rich.console import Group
    from rich.text import Text

    peak = "not known" if report.peak_megabytes is None else f"{report.peak_megabytes:.0f} MB"
    machine, packages = report.machine, report.machine.packages
    first = report.loads[0]
    lines = [
        f"{machine.processor}, {machine.cores} cores, {machine.system}",
        f"Python {machine.python}, " + ", ".join(f"{name} {version}" for name, version in packages.items()),
        f"{report.engine}; {report.codec}; scale {report.options.scale}, faces from {report.options.min_face:g} px: "
        f"{_size(first.size_wh)} searched at {_size(first.detector_wh)}",
        f"models opened and first picture restored in {report.first_picture_milliseconds:.0f} ms; peak memory {peak}",
        "",
    ]
    chains = list(first.stages)
    tables = [
        *(_stage_table(report.loads, chain) for chain in chains),
        _speed_table(report),
        _recall_table(report.loads),
    ]
    return Group(
        *map(Text, lines),
        *(part for table in tables if table.row_count for part in (table, Text())),
        *map(Text, report.notes),
    )


def _stage_table(loads: Sequence[LoadReport], chain: str) -> Table:
    from rich.table import Table

    title = f"{chain}, one worker: milliseconds a picture, median (5th percentile)"
    table = Table("stage", title=title, title_justify="left")
    for load in loads:
        table.add_column(load.name, justify="right")
    for stage in dict.fromkeys(stage for load in loads for stage in load.stages[chain]):
        table.add_row(stage, *(_cell(load.stages[chain].get(stage)) for load in loads))
    return table


def _speed_table(report: BenchReport) -> Table:
    from rich.table import Table

    is_compared = any(load.times_naive for load in report.loads)
    title = f"{report.loads[0].pictures} pictures of each kind; median of {report.rounds} rounds (5th percentile)"
    table = Table("", "chain", title=title, title_justify="left")
    for column in ("workers", "ms/picture", "pictures/s", "faces/s", *["x naive"] * is_compared):
        table.add_column(column, justify="right")
    for load in report.loads:
        for speed in load.speeds:
            ratio = load.times_naive.get(speed.workers) if speed.chain == "fsr" else None
            rates = f"{speed.pictures_a_second:.1f}", f"{speed.faces_a_second:.1f}"
            row = (load.name, speed.chain, str(speed.workers), _cell(speed.milliseconds), *rates)
            table.add_row(*row, *[f"{ratio:.2f}" if ratio else ""] * is_compared)
    return table


def _recall_table(loads: Sequence[LoadReport]) -> Table:
    from rich.table import Table

    table = Table("", title=f"faces found again, overlap {SAME_FACE} or more", title_justify="left")
    if not loads[0].recall:  # pictures of one's own, and one chain: nothing to compare with
        return table
    for recall in loads[0].recall:
        table.add_column(f"of those {_kind(recall.of)}\nby {recall.by}", justify="right")
    for load in loads:
        table.add_row(load.name, *(f"{recall.found} of {recall.faces}" for recall in load.recall))
    return table


def _kind(of: str) -> str:
    return of if of == "placed" else f"found by {of}"


def _cell(timing: Timing | None) -> str:
    return "" if timing is None else f"{_short(timing.median)} ({_short(timing.p5)})"


def _short(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _size(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"
