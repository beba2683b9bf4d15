"""RGB frames to a video file with the source's times and sound, finished whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from typing_extensions import Self

from ..errors import OutputError
from ..files import atomic_path
from ..interrupt import interrupts_held
from ..pixels import RgbImage, check_rgb
from .colours import Colours
from .encoders import best_encoder, bit_rate, options
from .fragments import container_options, count_frames
from .pyav import require_pyav
from .salvage import Salvage, packets_of
from .soundtrack import Soundtrack
from .source import Source, VideoFrame
from .video_reader import VideoReader

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

CAMERA_TIME_BASE = Fraction(1, 90_000)
KEY_FRAME_SECONDS, FEWEST_BETWEEN = 2, 12
"""From one key frame to the next, at most: what a later run does again. Test scenes take 1% more space than at 8; where
there are few frames a second it is so many frames."""
SAFE = 2.0
"""Seconds that a file is behind with what goes to the disk, at most."""
_DECODING_TIMES_ONLY = frozenset({"avi", "asf"})
"""Formats, by FFmpeg's names, without times of display: frames must be shown in the order that they are decoded in."""


class VideoWriter:
    """A context manager; the format is the one that the suffix of `final` names.

    Without an error, and on Ctrl-C once a frame was written, the file is finished, so that it plays, and gets its
    name. So it does, as far as it was written, when the disk is full or the encoder fails, unless `kept` holds as
    much; on any other error nothing is left under that name.

    size_wh: of the frames. H.264 holds even sides only: an odd one is filled up by repeating the last row or column.
    source: whose times, colours and sound are kept; None: a camera's.
    sound: whose sound is kept, `source` by default.
    rate: frames a second for the encoder; the frames' own times are what is written.
    codec: None takes the best encoder of this machine.
    preset, crf: of libx264 and libx265; `ultrafast` takes .6 of the time of `veryfast` and 7 times the space.
    kept: of an earlier run, comes first; its file is removed once this one holds more. To be followed by the frames
        from number `first` on, of which those that are in it already are left out.

    Raises:
        OutputError: the codec is unknown, the format cannot hold the sound, or the file cannot be written.
        UsageError: `kept` comes from another encoder.
    """

    def __init__(
        self,
        final: Path,
        size_wh: tuple[int, int],
        source: VideoReader | None = None,
        rate: Fraction | None = None,
        codec: str | None = None,
        *,
        preset: str = "veryfast",
        crf: int = 18,
        kept: Salvage | None = None,
        first: int = 0,
        sound: Source | None = None,
    ) -> None:
        self.final, self.size_wh, self.codec = final, size_wh, codec or ""
        self.rate = rate or (source.rate if source else Fraction(30))
        self.frames = 0
        """In the file so far."""
        self._kept, self._next = kept, first
        self._before = kept.frames if kept else 0
        self._is_broken = False
        self._preset, self._crf = preset, crf
        self._source, self._sound_source = source, sound or source
        self._time_base = source.time_base if source else CAMERA_TIME_BASE
        self._colours = source.colours if source else Colours.of_size(size_wh)
        self._life = self._written()
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._kept_until: float | None = None
        """Seconds of the source's clock."""

    def write(self, pixels: RgbImage, frame: VideoFrame) -> None:
        """Append `pixels`, uint8 (H, W, 3) RGB of `size_wh`, at the time of `frame`."""
        check_rgb(pixels, "pixels")
        if pixels.shape[1::-1] != self.size_wh:
            raise ValueError(f"pixels: got {pixels.shape[1::-1]}, expected {self.size_wh}, the size of the video")
        self._next += 1
        if self._next > self.frames:
            self._do(self._encode, pixels, frame)

    def _do(self, task: Callable[..., None], *given: Any) -> None:
        """In the writer's thread, to its end; a task that fails leaves the file broken, Ctrl-C does not."""
        with interrupts_held():
            try:
                self._thread.submit(task, *given).result()
            except BaseException:
                self._is_broken = True
                raise

    def __enter__(self) -> Self:
        require_pyav()
        self.codec = self.codec or best_encoder(_even_wh(self.size_wh), self.rate)
        self._life.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        with interrupts_held():  # of someone impatient: half-way through it there is no file
            return self._life.__exit__(kind, error, trace)

    @contextmanager
    def _written(self) -> Iterator[None]:
        """The life of the file, top to bottom."""
        import av

        stopped = None
        with (
            atomic_path(self.final) as temporary,
            self._kept_if_it_plays(temporary),
            av.open(str(temporary.absolute()), "w", options=container_options(self.final)) as self._container,
            # Ctrl-C comes to the main thread: here it cannot take away a packet that later ones build on.
            ThreadPoolExecutor(1) as self._thread,
        ):
            self._stream = self._add_stream()
            with self._open_sound() as self._sound:
                if self._kept is not None:
                    self._do(self._copy, self._kept)
                try:
                    yield
                except (KeyboardInterrupt, OutputError) as error:  # the latter of another file of the same run
                    if self._is_broken or not self._is_worth_a_name(error):
                        raise
                    stopped = error
                self._thread.submit(self._finish, is_whole=stopped is None).result()
        self._forget_kept()
        if stopped is not None:
            raise stopped

    @contextmanager
    def _kept_if_it_plays(self, temporary: Path) -> Iterator[None]:
        """Where writing fails, what was written gets its name, and the sentence says so."""
        from av.error import FFmpegError

        try:
            yield
        except (FFmpegError, OSError) as error:
            reason = error.strerror or str(error)
            frames, left = count_frames(temporary), "nothing was left under that name"
            if frames > self._before:
                temporary.replace(self.final)
                left = f"its first {frames} frames are there and play"
            elif self._before:
                left = "what was there before is kept"
            raise OutputError(f"{self.final}: cannot be written: {reason}; {left}") from error

    def _add_stream(self) -> VideoStream:
        try:
            chosen = options(self.codec, self._preset, self._crf)
            stream = self._container.add_stream(self.codec, rate=self.rate, options=chosen)
        except ValueError as error:
            raise OutputError(
                f"{self.final}: cannot be encoded as {self.codec!r}: {error}; name the output .mp4, .mkv or .mov"
            ) from error
        assert stream.type == "video"
        stream.width, stream.height = _even_wh(self.size_wh)
        stream.pix_fmt = "yuv420p"
        stream.gop_size = max(FEWEST_BETWEEN, round(KEY_FRAME_SECONDS * self.rate))
        if bits := bit_rate(self.codec, self.size_wh, self.rate):
            stream.bit_rate = bits
        stream.codec_context.time_base = self._time_base
        if self._container.format.name in _DECODING_TIMES_ONLY:
            stream.codec_context.max_b_frames = 0
        if self._source:
            stream.codec_context.sample_aspect_ratio = self._source.pixel_aspect
        self._colours.tag(stream)
        return stream

    def _open_sound(self) -> AbstractContextManager[Soundtrack | None]:
        sound = self._sound_source.open_sound(self._container, self.final) if self._sound_source else None
        return closing(sound) if sound else nullcontext()

    def _copy(self, kept: Salvage) -> None:
        """The frames of an earlier run, at the times of the source."""
        self._container.start_encoding()
        step, start = self._time_base, self._source.start if self._source else None
        for packet in packets_of(kept, self._stream.codec_context.extradata or b"", start):
            assert packet.pts is not None and packet.dts is not None and packet.time_base is not None
            seconds = packet.pts * packet.time_base
            self._last_pts = max(round(seconds / step), self._last_pts or 0)
            self._last_dts = math.ceil(packet.dts * packet.time_base / step)
            packet.stream = self._stream
            self._container.mux(packet)
            self.frames += 1
            self._kept_until = float(seconds)
            if self._sound is not None:
                self._sound.copy_until(self._kept_until)

    def _encode(self, pixels: RgbImage, frame: VideoFrame) -> None:
        encoded = self._colours.from_rgb(_even(pixels))
        # Two frames at one time, in a damaged source, would stop the encoder.
        self._last_pts = frame.pts if self._last_pts is None else max(frame.pts, self._last_pts + 1)
        encoded.pts, encoded.time_base = self._last_pts, frame.time_base
        self._mux(self._stream.encode(encoded))
        self.frames += 1
        if self._sound is not None:
            self._sound.copy_until(float(frame.pts * frame.time_base))

    def _mux(self, packets: list[Packet]) -> None:
        """Of the encoder."""
        for packet in packets:
            if self._last_dts is not None and packet.dts is not None:
                # One that begins anew looks further back than to the end of what was kept.
                self._last_dts = packet.dts = max(packet.dts, self._last_dts + 1)
            self._container.mux(packet)
            if self._kept_until is not None and float((packet.dts or 0) * packet.time_base) > self._kept_until + SAFE:
                self._forget_kept()

    def _forget_kept(self) -> None:
        """Once this file holds more, key frame included, whatever comes."""
        self._kept_until = None
        if self._kept is not None and self._kept.path != self.final:
            self._kept.path.unlink(missing_ok=True)

    def _is_worth_a_name(self, stopped: BaseException) -> bool:
        """Of a file that ends early: not where `kept` holds as much, unless that has no name that a user would find."""
        is_hidden = self._kept is None or self._kept.path != self.final
        return self.frames > (0 if is_hidden and isinstance(stopped, KeyboardInterrupt) else self._before)

    def _finish(self, is_whole: bool) -> None:
        if not self.frames:
            raise OutputError(f"{self.final}: got no frame, expected at least one; nothing was left under that name")
        last = self._stream.encode(None)
        if last:
            # FFmpeg ends an MP4 with the last packet, although one before it may be shown later, and then is cut off.
            step, end = round(1 / (self.rate * last[-1].time_base)), max(packet.pts or 0 for packet in last)
            longer = end - (last[-1].pts or 0)
            # Decoded sooner by so much, it leaves the file's length by its number of frames as it was: their rate.
            sooner = min(longer, (last[-1].dts or 0) - (last[-2].dts or 0) - 1) if len(last) > 1 else 0
            last[-1].dts = (last[-1].dts or 0) - sooner
            last[-1].duration = step + (sooner if 2 * sooner > longer else longer)
        self._mux(last)
        if self._sound is not None and is_whole:
            self._sound.copy_until(float("inf"))


def _even_wh(size_wh: tuple[int, int]) -> tuple[int, int]:
    width, height = size_wh
    return width + width % 2, height + height % 2


def _even(pixels: RgbImage) -> RgbImage:
    height, width = pixels.shape[:2]
    if height % 2 == width % 2 == 0:
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
