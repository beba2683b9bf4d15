"""The process that reads a source: it may hang or crash, and is killed and started again by `capture`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

from ..errors import FsrError, InputError
from ..heap import share_heap
from .frame_ring import FrameRing, RingPlan
from .opening import HAVE_PACKETS, Opener
from .source import Source, VideoFrame
from .uri import SourceUri


@dataclass(frozen=True)
class Opened:
    """What the source says of itself, once."""

    size_wh: tuple[int, int]
    rate: Fraction
    live: bool
    frames: int | None
    sound: bytes


@dataclass(frozen=True)
class Delivered:
    """A frame lies in a slot of the ring; its fields are those of `VideoFrame`."""

    slot: int
    pts: int
    time_base: Fraction
    seconds: float
    captured: float | None
    lost: int
    """Frames of a live source, so far, that found no free slot."""


@dataclass(frozen=True)
class Remark:
    """What a user should know."""

    text: str


@dataclass(frozen=True)
class Ended:
    """Nothing more comes. why: None at the proper end; is_fatal: trying again would not help."""

    why: str | None = None
    error: type[FsrError] = InputError
    is_fatal: bool = False


FINISH_SECONDS = 4.0
"""For a recording, after SIGTERM."""

STOP = "stop"
"""Sent to the child: finish. A number is a slot that is free again, a `RingPlan` where to put frames."""


def serve(connection: Connection, uri: SourceUri, open_source: Opener, record: Path | None) -> None:
    """Open `uri` and send its frames until its end, `STOP`, or the other side's end."""
    share_heap()
    _stand_alone()
    mailbox = Mailbox(connection)
    try:
        with closing(open_source(uri, record)) as source:
            connection.send(Opened(source.size_wh, source.rate, source.live, source.frames, source.sound))
            with _recorded(source, uri, record) as frames:
                _send_all(frames, source, connection, mailbox)
        why = None if mailbox.stopped.is_set() or source.failure is None else str(source.failure)
        last = Ended(why)
    except InputError as error:
        last = Ended(str(error))
    except FsrError as error:
        last = Ended(str(error), type(error), is_fatal=True)
    except Exception as error:  # of a driver or a library; the text may name the address with its password
        last = Ended(f"{uri}: {type(error).__name__} in {_place(error)}")
    with suppress(OSError):
        connection.send(last)
    connection.close()


class Mailbox:
    """What the other side sends, taken in a thread of its own: when it is gone, this process ends at once."""

    def __init__(self, connection: Connection) -> None:
        self.ring: SimpleQueue[RingPlan | None] = SimpleQueue()
        self.free: SimpleQueue[int | None] = SimpleQueue()
        self.stopped = threading.Event()
        self._connection = connection
        threading.Thread(target=self._take, daemon=True).start()
        if hasattr(signal, "sigwait"):
            threading.Thread(target=self._finish_on_sigterm, daemon=True).start()

    def stop(self) -> None:
        """Let the frames end, and with them the recording."""
        self.stopped.set()
        self.ring.put(None)
        self.free.put(None)

    def _take(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                end_now()
                return
            if isinstance(message, RingPlan):
                self.ring.put(message)
            elif message == STOP:
                self.stop()
            else:
                self.free.put(message)

    def _finish_on_sigterm(self) -> None:
        """systemd sends it to every process of a service: what is recorded is finished, then this ends."""
        signal.sigwait({signal.SIGTERM})
        self.stop()
        time.sleep(FINISH_SECONDS)
        end_now()


def _send_all(frames: Iterator[VideoFrame], source: Source, connection: Connection, mailbox: Mailbox) -> None:
    if (plan := mailbox.ring.get()) is None:
        return
    lost, remark = 0, ""
    with closing(FrameRing.find(plan)) as ring:
        for frame in frames:
            if mailbox.stopped.is_set():
                return
            if source.remark != remark:
                remark = source.remark
                connection.send(Remark(remark))
            for sound in source.heard():
                connection.send(sound)
            if source.live and mailbox.free.empty():
                lost += 1
                continue
            if (slot := mailbox.free.get()) is None:
                return
            ring.put(slot, frame.pixels)
            connection.send(Delivered(slot, frame.pts, frame.time_base, frame.seconds, frame.captured, lost))
        for sound in source.heard():
            connection.send(sound)


@contextmanager
def _recorded(source: Source, uri: SourceUri, record: Path | None) -> Iterator[Iterator[VideoFrame]]:
    """The frames of `source`; on their way each is encoded into `record`, where no packets are."""
    if record is None or uri.kind in HAVE_PACKETS:
        yield iter(source)
        return
    from .video_writer import VideoWriter

    failed: Exception | None = None
    with VideoWriter(record, source.size_wh, None, source.rate, preset="ultrafast") as writer:

        def kept() -> Iterator[VideoFrame]:
            for frame in source:
                writer.write(frame.pixels, frame)
                yield frame

        try:
            yield kept()
        except Exception as error:  # whatever became of the source, its recording is finished
            failed = error
    if failed is not None:
        raise failed


def _stand_alone() -> None:
    """In a group of its own: Ctrl-C is for the program that started it, and what it starts ends with it."""
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # for `Mailbox`, even while a read hangs
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.__stderr__.fileno() if sys.__stderr__ else 2)  # drivers and FFmpeg talk, and name addresses


def end_now() -> None:
    """Of this process and of all that it started."""
    if hasattr(os, "killpg"):
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}" if trace else "no place"
