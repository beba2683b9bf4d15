"""What `fsr-export check` does with its options: run the check, show it, end with its verdict."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ..runtime.errors import EngineUnavailableError, ParityError
from .check import CheckConfig, check
from .check_result import CheckResult, tables

PRINTED = "-"
WIDE = 120
"""Columns of the table where it goes into a file."""


def run_check(as_json: str | None, **given: Any) -> None:
    """Print tables, or JSON in their place for `--json -`.

    Raises:
        ParityError: a gate failed.
        EngineUnavailableError: a file of the bundle is run by no engine here.
    """
    notes = Console(stderr=True)
    is_printed = as_json == PRINTED
    config = CheckConfig(**given, json=Path(as_json) if as_json and not is_printed else None)
    result = check(config, notes)
    if is_printed:
        click.echo(json.dumps(result.to_json(), indent=1))
    else:
        show(result, Console(width=None if sys.stdout.isatty() else WIDE))
    for path in (config.report, config.json):
        if path is not None:
            notes.print(f"written: {path}", markup=False, highlight=False, soft_wrap=True)
    judge(result)


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
