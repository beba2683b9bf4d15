"""What `fsr-export bench` does with its options: measure, show, keep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ..runtime.files import require_new_file, write_text
from .bench import BenchConfig, bench
from .bench_result import closing_lines, lines, tables

PRINTED = "-"
WIDE = 120
"""Columns of the tables where they go into a file."""


def run_bench(as_json: str | None, **given: Any) -> None:
    """Print tables, or JSON in their place for `--json -`."""
    notes = Console(stderr=True)
    is_printed = as_json == PRINTED
    if as_json and not is_printed:
        require_new_file(Path(as_json), "--json")
    result = bench(BenchConfig(**given), notes)
    if is_printed:
        click.echo(result.to_json())
        return
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    for line in lines(result):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for table in tables(result):
        console.print(table)
    for line in closing_lines(result):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        write_text(Path(as_json), result.to_json() + "\n")
        notes.print(f"written: {as_json}", markup=False, highlight=False, soft_wrap=True)
