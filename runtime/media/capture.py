"""A camera, stream or test scene read by a process of its own: killed when it hangs, and started again.

A live source keeps up: where frames come faster than they are taken, the oldest waiting one is dropped, and counted.
One that ends of itself waits instead, and loses nothing. When a source comes back with another size its frames are
brought to the first size, as large as fits, in the middle of black: a file has one size, and so has a window.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FsrError, InputError
from ..interrupt import is_stopping
from .camera import TIME_BASE
from .capture_child import Delivered, Ended, Remark
from .capture_life import CaptureLife
from .opening import Opener, open_moving
from .recording_names import free_name
from .soundtrack import holds, left_out, suffix_for
from .source import Source, VideoFrame
from .stream_sound import SoundLog, SoundPacket, StreamSound, opened
from .uri import SourceUri

if TYPE_CHECKING:
    from av.container.output import OutputContainer


@dataclass(frozen=True)
class Patience:
    """How long what is waited for; all in seconds."""

    open: float = 20.0
    frame: float = 6.0
    """Without a frame the source hangs, and its process is killed."""
    first_pause: float = 0.5
    longest_pause: float = 30.0
    finish: float = 5.0
    """For a recording to be finished."""

    def pause(self, attempt: int) -> float:
        """Before that attempt, from 0: twice as long each time, and by up to a quarter more or less, so that many
        programs do not come back to one server at once.
        """
        return min(self.longest_pause, self.first_pause * 2 ** min(attempt, 16)) * random.uniform(0.75, 1.25)


class Capture(Source):
    """Frames of `uri`, found again for as long as it takes when they stop.

    waiting: frames that may wait to be taken: with 2, 8 of 1,236 were lost to moments of more work on two cores that
        had time for all, with 3 none. record: the raw input goes there; where that is taken, as after each loss, into
        the first free one of `name-2.mkv`, `name-3.mkv`. say: told, in a sentence without secrets, what is lost and
        found.

    Raises:
        FsrError: it cannot be opened the first time.
    """

    def __init__(
        self,
        uri: SourceUri,
        *,
        open_source: Opener = open_moving,
        record: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
        patience: Patience | None = None,
        waiting: int = 3,
    ) -> None:
        self.uri, self.patience = uri, patience or Patience()
        self._open_source, self._record, self._say, self._waiting = open_source, record, say, waiting
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self._frames: deque[VideoFrame] = deque()
        self._ended: Ended | None = None
        self._is_taken = False
        self._clock, self._heard = _Clock(), SoundLog()
        self._life = self._start()
        about = self._life.opened
        self.size_wh, self.rate, self.live, self.frames = about.size_wh, about.rate, about.live, about.frames
        self.sound = about.sound
        if self.sound:
            with opened(self.sound) as described:
                self.suffix = suffix_for(described.streams.audio) or self.suffix
        self._thread = threading.Thread(target=self._work, name=f"capture {uri}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the process that reads."""
        return self._life.pid

    def __iter__(self) -> Iterator[VideoFrame]:
        while (frame := self._next()) is not None:
            yield frame
        if self._ended is not None and self._ended.why is not None:
            if not issubclass(self._ended.error, InputError):
                raise self._ended.error(self._ended.why)
            self.failure = InputError(self._ended.why)

    def open_sound(self, output: OutputContainer, final: Path) -> StreamSound | None:
        """That of a stream; where `output` cannot hold it, `say` is told, and the pictures go on without."""
        if not self.sound:
            return None
        with opened(self.sound) as described:
            if not holds(form := output.format.name, described.streams.audio):
                self._say(left_out(final, form, described.streams.audio))
                return None
        return StreamSound(self._heard, self.sound, output, self._heard.came if self.live else 0)

    def close(self) -> None:
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _next(self) -> VideoFrame | None:
        """The oldest that waits; None at the end, and when the run is asked to stop."""
        with self._changed:
            self._is_taken = True  # what came while models were opened is not missed by anyone
            while not self._frames:
                if self._ended is not None or self._is_over():
                    return None
                self._changed.wait(0.1)
            self._changed.notify_all()
            return self._frames.popleft()

    def _is_over(self) -> bool:
        return self._closed.is_set() or is_stopping()

    def _work(self) -> None:
        """Of the thread."""
        ended = Ended(f"{self.uri}: cannot be read on; an error in this program")
        try:
            ended = self._live_lives()
        finally:
            with self._changed:
                self._ended = ended if not self._is_over() else Ended()
                self._changed.notify_all()

    def _live_lives(self) -> Ended:
        """One life after another; how the last one ended."""
        while True:
            ended = self._live_on()
            is_lost = self.live and ended.why is not None and not ended.is_fatal and not self._is_over()
            self._life.end(self.patience.finish if self._record else 0.0)
            if self._record is not None:
                free_name(self._record)  # what a killed process has recorded gets its name
            if not is_lost or not self._found_again(ended.why or ""):
                return ended

    def _live_on(self) -> Ended:
        """Take frames until the life ends, hangs, or is no longer wanted."""
        self._life.begin(self.size_wh)
        self._clock.start_life()
        while not self._is_over():
            message = self._life.listen(self.patience.frame, self._hear)
            if isinstance(message, Ended):
                return message
            pixels = self._life.take(message)
            self._put(VideoFrame(pixels, *self._clock.times(message, self.live), message.captured))
            self.dropped += self._is_taken * self._clock.newly_lost(message.lost)
        return Ended()

    def _hear(self, message: SoundPacket | Remark) -> None:
        if isinstance(message, Remark):
            self._say(message.text)
        elif self._life.opened.sound == self.sound and (timed := self._clock.timed(message, self.live)):
            self._heard.add(timed)

    def _put(self, frame: VideoFrame) -> None:
        with self._changed:
            while len(self._frames) >= self._waiting:
                if self.live:
                    self._frames.popleft()
                    self.dropped += self._is_taken
                elif self._is_over():
                    return
                else:
                    self._changed.wait(0.1)
            self._frames.append(frame)
            self._changed.notify_all()

    def _found_again(self, why: str) -> bool:
        """Wait and try, ever longer, until the source is back; False when it is no longer wanted."""
        attempt = 0
        while True:
            pause = self.patience.pause(attempt)
            self._say(f"{why}; trying again in {pause:.1f} s")
            if self._is_over_after(pause):
                return False
            try:
                self._life = self._start()
            except FsrError as error:
                why, attempt = str(error), attempt + 1
                continue
            self.reconnects += 1
            self._say(f"{self.uri}: back, {self._sizes()}")
            if self._life.opened.sound != self.sound:
                self._say(f"{self.uri}: its sound is another than at first, and left out of the output")
            return True

    def _is_over_after(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._closed.wait(min(left, 0.1)) or self._is_over():
                return True
        return self._is_over()

    def _start(self) -> CaptureLife:
        record = free_name(self._record) if self._record else None
        life = CaptureLife(self.uri, self._open_source, record, self.patience.open, stopping=self._is_over)
        if record != self._record:
            self._say(f"{self.uri}: recorded into {record}, for {self._record} is there already")
        return life

    def _sizes(self) -> str:
        now = self._life.opened.size_wh
        text = f"{now[0]}x{now[1]}"
        return text if now == self.size_wh else f"{text}, shown in {self.size_wh[0]}x{self.size_wh[1]}"


class _Clock:
    """Times of frames and sound through all lives: of each by the source's own, which are more even than the
    arrival's."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._offset: float | None = None
        self._start = 0.0
        """Of a life's first frame, in seconds of the source's clock."""
        self._pts = -1
        self._lost = 0

    def start_life(self) -> None:
        self._offset, self._lost = None, 0

    def newly_lost(self, lost: int) -> int:
        """Of the frames that the process itself had to drop, those since it was asked last."""
        newly, self._lost = lost - self._lost, lost
        return newly

    def times(self, frame: Delivered, live: bool) -> tuple[int, Fraction, float]:
        """pts, time_base and seconds; those of a source that is not live as they are."""
        if not live or frame.captured is None:
            return frame.pts, frame.time_base, frame.seconds
        self._first = frame.captured if self._first is None else self._first
        arrived = frame.captured - self._first
        if self._offset is None or abs(arrived - self._offset - frame.seconds) > DRIFT:
            self._offset, self._start = arrived - frame.seconds, float(frame.pts * frame.time_base) - frame.seconds
        self._pts = max(round((self._offset + frame.seconds) / TIME_BASE), self._pts + 1)
        return self._pts, TIME_BASE, float(self._pts * TIME_BASE)

    def timed(self, packet: SoundPacket, live: bool) -> SoundPacket | None:
        """On the clock of `times`; None of what comes before the first frame, or at a time that cannot be its own."""
        if not live:
            return packet
        if self._first is None or self._offset is None:
            return None
        moved = packet.shifted(self._offset - self._start)
        return moved if abs(time.monotonic() - self._first - moved.seconds) < SOUND_APART else None


DRIFT = 1.0
"""Seconds by which a source's own times may differ from the arrivals before they are set right."""
SOUND_APART = 3.0
"""Seconds by which sound may be ahead of or behind what arrives: servers send it up to one from the pictures."""
