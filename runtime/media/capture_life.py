"""One life of the process that reads a source: started, listened to with a deadline, stopped or killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError
from .capture_child import STOP, Delivered, Ended, Opened, Remark, serve
from .frame_ring import SLOTS, FrameRing
from .opening import Opener
from .stream_sound import SoundPacket
from .uri import SourceUri


class CaptureLife:
    """From the start of a process to its end; the source is open once this is made.

    Raises:
        FsrError: it cannot be opened, as the process says, or within `open_seconds`.
    """

    def __init__(
        self,
        uri: SourceUri,
        open_source: Opener,
        record: Path | None,
        open_seconds: float,
        *,
        stopping: Callable[[], bool],
    ) -> None:
        self.uri = uri
        self._stopping = stopping
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, uri, open_source, record)
        self._process = context.Process(target=serve, args=arguments, daemon=True, name=f"capture {uri}")
        with _without_interrupts():
            self._process.start()
        theirs.close()
        self._ring: FrameRing | None = None
        self._ended: Ended | None = None
        try:
            self.opened = self._open(open_seconds)
        except BaseException:
            self.end(grace=0.0)
            raise

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def begin(self, size_wh: tuple[int, int]) -> None:
        """Let frames come, brought to `size_wh`; where there is no room for them, `listen` says so."""
        try:
            self._ring = FrameRing(size_wh)
        except OutputError as error:
            self._ended = Ended(f"{self.uri}: {error}", OutputError, is_fatal=True)
            return
        self._send(self._ring.plan)
        for slot in range(SLOTS):
            self._send(slot)

    def listen(self, seconds: float, hear: Callable[[SoundPacket | Remark], None]) -> Delivered | Ended:
        """The next frame; an `Ended` where none comes for so long, or the process is gone. `hear` takes what else comes
        before."""
        until = time.monotonic() + seconds
        message = self._ended or self._receive(seconds)
        while isinstance(message, SoundPacket | Remark):
            hear(message)
            message = self._receive(until - time.monotonic())
        if message is None:
            return Ended(None if self._stopping() else f"{self.uri}: brought no frame for {seconds:g} s")
        return message

    def take(self, delivered: Delivered) -> Any:
        """The pixels of a frame, whose slot is free from then on."""
        assert self._ring is not None
        pixels = self._ring.get(delivered.slot)
        self._send(delivered.slot)
        return pixels

    def end(self, grace: float) -> None:
        """Ask it to finish, for a recording, and kill it after `grace` seconds."""
        if grace:
            self._send(STOP)
            self._drain(grace)
        self._kill()
        self._connection.close()
        if self._ring is not None:
            self._ring.close()

    def _open(self, seconds: float) -> Opened:
        message = self._receive(seconds)
        if isinstance(message, Opened):
            return message
        if isinstance(message, Ended):
            raise message.error(message.why or f"{self.uri}: ended at once")
        raise InputError(f"{self.uri}: nothing came for {seconds:g} s; check the address or the cable")

    def _receive(self, seconds: float) -> Any:
        """The next message; None after `seconds` or when the run is to stop."""
        slice_seconds, waited = max(0.0, min(0.1, seconds)), 0.0
        try:
            while not self._connection.poll(slice_seconds):
                waited += slice_seconds
                if waited >= seconds or self._stopping():
                    return None
            return self._connection.recv()
        except (EOFError, OSError):
            return Ended(f"{self.uri}: the process that reads it ended without a word")

    def _drain(self, seconds: float) -> None:
        """Until it says that it has ended."""
        with suppress(EOFError, OSError):
            while self._connection.poll(seconds):
                if isinstance(self._connection.recv(), Ended):
                    self._process.join(seconds)
                    return

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # it is gone: `listen` says so
            self._connection.send(message)

    def _kill(self) -> None:
        """With all that it started."""
        if self._process.pid is not None and hasattr(os, "killpg"):
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._process.close()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started inside never sees Ctrl-C, which is for this program."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
