"""A live source in a window, until q, Esc, Ctrl-C or the window's close."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..media.source import Source
from ..media.window import Window
from .frame_work import FrameWork
from .stats import StreamStats
from .stream import Show, Sink, restore_stream
from .summary import Summary
from .view import View

if TYPE_CHECKING:
    from rich.console import Console


def show_live(
    source: Source, work: FrameWork, console: Console, stats: StreamStats, sinks: Sequence[Sink], *, workers: int = 1
) -> Summary:
    """Restore every frame of `source` into `sinks`, none of which is a video; nothing is recorded."""
    summary = Summary("frame", None, None)
    restore_stream(source, work, [*sinks, stats.sink()], summary, console, workers=workers)
    summary.count_stream(source.dropped, source.reconnects, stats.snapshot())
    summary.stopped = False  # Ctrl-C is one of the ways to end it
    return summary


@contextmanager
def in_window(work: FrameWork, stats: StreamStats, *, compare: bool) -> Iterator[Show]:
    """A sink; compare: beside plain bicubic from the start."""
    view = View(work, stats.snapshot, compare=compare)
    with Window("fsr-run: h shows the keys, q ends", view.press) as window:
        yield lambda result: window.show(view.draw(result))
