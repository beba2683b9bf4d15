"""Moving pictures: frames of a source -> tracked -> restored by several workers -> shown in order, and recorded.

One thread reads the source and tracks, for that takes the frames in order; the workers do the rest of the frames side
by side; the calling thread shows them to the sinks. Between them lie queues that bound what is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from itertools import islice, takewhile
from threading import Event
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from ..errors import InputError
from ..interrupt import stop_on_interrupt
from ..media.source import Source
from .frame_work import FrameResult, FrameWork
from .ordered import LOOK_AHEAD, ordered_stream
from .progress import progress
from .records import Records
from .resume import Earlier
from .summary import Summary

if TYPE_CHECKING:
    from rich.console import Console

Show: TypeAlias = "Callable[[FrameResult], bool | None]"
"""Takes a result, in order, in the thread that runs; False where no more are wanted."""
Sink: TypeAlias = AbstractContextManager[Show]
"""Where frames go. Ctrl-C reaches it as KeyboardInterrupt, once what was under way has been shown."""


@runtime_checkable
class Waits(Protocol):
    """A sink that has something to do while no frame comes."""

    def idle(self) -> bool:
        """Asked some ten times a second, in the thread that runs; False where no more frames are wanted."""
        ...


def restore_stream(
    source: Source,
    work: FrameWork,
    sinks: Sequence[Sink],
    summary: Summary,
    console: Console,
    *,
    run: Mapping[str, Any] = MappingProxyType({}),
    workers: int = 1,
    earlier: Earlier | None = None,
) -> Summary:
    """Restore the frames of `source` until it or a sink ends, and count them in `summary`.

    run: header of the record file, which `summary` names, if any. earlier: the run that this one goes on from.
    A source that is damaged half-way, and Ctrl-C, end the run as its end would; the summary says so. A sink that wants
    no more of a file ends it as Ctrl-C does; of a live source there is no end to miss.

    Raises:
        OutputError: a file cannot be written.
    """
    started, earlier = perf_counter(), earlier or Earlier()
    source.skip, left = earlier.skip(source.rate), summary.total and max(0, summary.total - earlier.frames)
    with stop_on_interrupt() as stop, progress(console, "restoring", left, "frame") as advance:
        try:
            with source, ExitStack() as stack:
                shows = [stack.enter_context(sink) for sink in sinks]
                records = Records(summary.records, run, earlier.records, sync=False) if summary.records else None
                add = stack.enter_context(records).add if records else None
                waits = [sink for sink in sinks if isinstance(sink, Waits)]

                def idle() -> None:
                    if not all(sink.idle() for sink in waits):
                        stop.set()

                frames = _results(source, work, workers, stop, idle, say(console), earlier)
                for number, result in enumerate(stack.enter_context(closing(frames)), earlier.frames):
                    wanted = [show(result) is not False for show in shows]
                    record = result.record(number)
                    summary.add(f"frame {number}", record)
                    if add:
                        add(record)
                    advance()
                    if not all(wanted):
                        if not source.live:
                            raise KeyboardInterrupt  # the files are not whole, as after Ctrl-C
                        break
                else:
                    summary.whole = True
        except KeyboardInterrupt:  # the sinks have finished what they have
            summary.stopped = True
        except InputError as error:
            if error is not source.failure:
                raise
            summary.cut = str(error)
    summary.seconds = perf_counter() - started
    return summary


def _results(
    source: Source,
    work: FrameWork,
    workers: int,
    stop: Event,
    idle: Callable[[], None],
    say: Callable[[str], None],
    earlier: Earlier,
) -> Generator[FrameResult, None, None]:
    """Results in order; after `stop`, what was under way and then KeyboardInterrupt."""
    frames = takewhile(lambda _: not stop.is_set(), source)
    if source.live:
        work.warm_up(source.size_wh)
    ahead = 1 if source.live else LOOK_AHEAD * workers  # a frame that waits is late
    prepared = work.prepared(frames, live=source.live, say=say, known=earlier.known(source.skip))
    wanted = islice(prepared, earlier.frames - source.skip, None)
    with closing(ordered_stream(work, wanted, workers, ahead, idle)) as results:
        yield from results
    if stop.is_set():
        raise KeyboardInterrupt


def say(console: Console) -> Callable[[str], None]:
    """Prints a sentence, between the frames of a progress bar too."""
    return lambda sentence: console.print(sentence, markup=False, highlight=False, soft_wrap=True)
