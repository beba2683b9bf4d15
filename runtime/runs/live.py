"""A camera in a window, until q, Esc, Ctrl-C or the window's close."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..media.source import Source
from ..media.window import Window
from .frame_work import FrameWork
from .stream import Show, restore_stream
from .summary import Summary

if TYPE_CHECKING:
    from rich.console import Console


def show_live(source: Source, work: FrameWork, console: Console, *, compare: bool = False, workers: int = 1) -> Summary:
    """Show every restored frame of `source`; compare: beside plain bicubic."""
    summary = Summary("frame", None, None)
    restore_stream(source, work, [_window(work, compare)], summary, console, workers=workers)
    summary.stopped = False  # Ctrl-C is one of the ways to end it
    return summary


@contextmanager
def _window(work: FrameWork, compare: bool) -> Iterator[Show]:
    with Window("fsr-run: q ends") as window:
        yield lambda result: window.show(work.compared(result) if compare else result.restored.image)
