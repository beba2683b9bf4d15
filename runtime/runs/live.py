"""A live source in a window, until q, Esc, Ctrl-C or the window's close."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
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


def in_window(work: FrameWork, stats: StreamStats, *, compare: bool) -> Sink:
    """compare: beside plain bicubic from the start."""
    return _InWindow(View(work, stats.snapshot, compare=compare))


class _InWindow(AbstractContextManager[Show]):
    """A sink that also sees to its window while no frame comes."""

    def __init__(self, view: View) -> None:
        self._view, self._window = view, Window("fsr-run: h shows the keys, q ends", view.press)

    def __enter__(self) -> Show:
        self._window.__enter__()
        return lambda result: self._window.show(self._view.draw(result))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._window.__exit__(kind, error, trace)

    def idle(self) -> bool:
        return self._window.look()
