"""What `fsr-export check` does with its options: run the check, show it, end with its verdict."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from ..runtime.bundle import default_folder, open_bundle
from ..runtime.command_line import require_use
from ..runtime.errors import EngineUnavailableError, ParityError
from ..runtime.files import write_text
from ..runtime.runs.progress import progress
from .check import CheckConfig, check
from .check_result import CheckResult, tables

if TYPE_CHECKING:
    from .layers.result import LayersFound

PRINTED = "-"
WIDE = 120
"""Columns of the table where it goes into a file."""


def run_check(as_json: str | None, layers: bool, tolerance: float | None, **given: Any) -> None:
    """Print tables, or JSON in their place for `--json -`.

    Raises:
        ParityError: a gate failed.
        EngineUnavailableError: a file of the bundle is run by no engine here, or --layers lacks a package.
    """
    if not layers:
        require_use(("tolerance",), "--layers")
    if given["faces"] is None:
        require_use(("count",), "--faces")
    notes = Console(stderr=True)
    is_printed = as_json == PRINTED
    config = CheckConfig(**given, json=Path(as_json) if as_json and not is_printed else None)
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    if layers:
        result, found = check_with_layers(config, tolerance, notes)
        told = {**result.to_json(), "layers": found.to_json()}
    else:
        result, found = check(config, notes), None
        told = result.to_json()
    if is_printed:
        click.echo(json.dumps(told, indent=1))
    else:
        show(result, console)
        show_layers(found, console)
    for path in (config.report, config.json):
        if path is not None:
            notes.print(f"written: {path}", markup=False, highlight=False, soft_wrap=True)
    judge(result)


def check_with_layers(config: CheckConfig, tolerance: float | None, notes: Console) -> tuple[CheckResult, LayersFound]:
    """The check, then its reduced files layer by layer; one report and one JSON file hold both."""
    from .layers.polygraphy_tools import require_polygraphy

    config.require_outputs()
    require_polygraphy()
    from .layers.bundle_layers import compare_bundle
    from .layers.section import with_layers
    from .report import page

    result = check(replace(config, report=None, json=None), notes)
    bundle = open_bundle(config.bundle or default_folder())
    with progress(notes, "layers", None, "file") as advance:
        found = compare_bundle(bundle, config.models, config.precision, config.engine, tolerance, advance)
    if config.report is not None:
        write_text(config.report, with_layers(page(result), found))
    if config.json is not None:
        write_text(config.json, json.dumps({**result.to_json(), "layers": found.to_json()}, indent=1) + "\n")
    return result, found


def show_layers(found: LayersFound | None, console: Console) -> None:
    """The worst layers of each model; nothing without --layers."""
    if found is None:
        return
    from .layers.result import table

    for report in found.reports:
        console.print(report.sentence, markup=False, highlight=False, soft_wrap=True)
        console.print(table(report))
    for reason in found.not_run:
        console.print(f"layers not compared: {reason}", markup=False, highlight=False, soft_wrap=True)


def show(result: CheckResult, console: Console) -> None:
    """The tables, every failure, and what is to be known with the figures."""
    for table in tables(result):
        console.print(table)
    left = [f"{count} pictures {reason}: left out" for reason, count in result.left_out.items()]
    lines = [f"FAILED: {failure}" for failure in result.failures]
    lines += [f"not run: {reason}" for reason in result.not_run]
    for line in [*lines, *result.notes, *left]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    passed = sum(not row.failures for checked in result.checked for row in checked.rows)
    passed += sum(not row.failures for row in result.detector)
    console.print(f"{passed} passed, {len(result.failures)} failures, in {result.seconds:.1f} s", highlight=False)


def judge(result: CheckResult) -> None:
    """Raise what ends the command with the right code, if it did not pass."""
    if failures := result.failures:
        more = f", and {len(failures) - 1} more failed" if len(failures) > 1 else ""
        raise ParityError(f"{failures[0]}{more}; do not deploy what failed, leave it out of the bundle")
    if result.unproved:
        raise EngineUnavailableError(
            f"no engine here runs {', '.join(result.unproved)}: nothing is known of it; check where one does"
        )
