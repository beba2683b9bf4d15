"""How far a run is, on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def progress(console: Console, what: str, total: int | None, unit: str) -> Iterator[Callable[[], None]]:
    """Yield a function that counts one more; nothing is drawn where `console` is quiet or no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    speed = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
    disabled = console.quiet or not console.is_terminal
    with Progress(*columns, console=console, disable=disabled, transient=True) as bar:
        task = bar.add_task(what, total=total, rate="")

        def advance() -> None:
            speed_now = bar.tasks[task].speed
            bar.update(task, advance=1, rate=f"{speed_now:.1f} {unit}s/s" if speed_now else "")

        yield advance
