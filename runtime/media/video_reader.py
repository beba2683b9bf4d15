"""A video file as upright RGB frames with their exact times."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import matroska, mp4
from .colours import Colours
from .orient import display_matrix, turned
from .pyav import require_pyav
from .soundtrack import FileSound, suffix_for
from .source import Source, VideoFrame

if TYPE_CHECKING:
    from av.container.input import InputContainer
    from av.container.output import OutputContainer
    from av.video.frame import VideoFrame as Decoded
    from av.video.stream import VideoStream

CUT_OFF = (("matroska", matroska.is_cut_off), ("mp4", mp4.is_cut_off))
"""What FFmpeg does not notice, by the name of the format. A transport stream has no end to miss."""
_MISSING_SECONDS = 1.0
"""A video that ends this much before its announced end is called truncated."""


class VideoReader(Source):
    """The frames of the first video stream, turned as its rotation says; more than 8 bits come as 8.

    pixel_aspect: width of a pixel of `size_wh` over its height, 1 but in some discs and broadcasts.
    start: seconds of its clock at which the first frame is shown.

    Raises:
        UsageError: PyAV is not installed.
        InputError: the file is missing, no video, only sound, empty or damaged. Damage after the first frame ends the
            frames or leaves some out, and is raised when the reader is left.
    """

    def __init__(self, path: Path) -> None:
        require_pyav()
        from av.video.reformatter import VideoReformatter

        self.path = path
        self._container = _open(path)
        self._stream = video_stream(self._container, path)
        self._stream.thread_type = "AUTO"
        self._reformatter = VideoReformatter()
        self._is_avi = self._container.format.name == "avi"
        self._avi_times: list[int] = []
        """Of the packets, of which the first belongs to the frame that is shown first: B-frames come out of order."""
        self._is_whole = False
        """Whether a frame without damage was seen."""
        self._decoded = self._decode()
        if (first := next(self._decoded, None)) is None:
            self.close()
            raise self.failure or InputError(f"{path}: holds no frame, expected a video")
        self._first = first
        self._stored_wh = (first.width, first.height)
        self._display_matrix = display_matrix(first)
        self.colours = Colours.of(first)
        width, height = self._stored_wh
        self.size_wh = (width, height) if self._display_matrix[0, 0] else (height, width)
        self.rate = self._stream.guessed_rate or self._stream.average_rate or Fraction(25)
        self.time_base = self._stream.time_base or 1 / self.rate
        self.pixel_aspect = _pixel_aspect(self._stream, self._display_matrix)
        self.has_sound = bool(self._container.streams.audio)
        self.suffix = suffix_for(self._container.streams.audio) or ".mp4"
        self.start = self._pts(first, None, 0) * self.time_base
        self._announced = _announced_seconds(self._container, self._stream)
        self.frames = self._stream.frames or (round(self._announced * self.rate) if self._announced else None)

    def __iter__(self) -> Iterator[VideoFrame]:
        start, pts, count = None, None, 0
        for decoded in self._all_decoded():
            pts = self._pts(decoded, pts, count)
            start = pts if start is None else start
            count += 1
            if count <= self.skip:  # it was decoded, since others build on it
                continue
            pixels = self.colours.to_rgb(decoded, self._reformatter, self._stored_wh)
            seconds = float((pts - start) * self.time_base)
            yield VideoFrame(turned(pixels, self._display_matrix), pts, self.time_base, seconds)
        if start is not None and pts is not None:
            self._check_end(count, float((pts - start) * self.time_base + 1 / self.rate))

    def open_sound(self, output: OutputContainer, final: Path) -> FileSound | None:
        return FileSound(self.path, output, final) if self.has_sound else None

    def close(self) -> None:
        self._decoded.close()  # a decoder must not outlive its container
        self._container.close()

    def _all_decoded(self) -> Iterator[Decoded]:
        yield self._first
        yield from self._decoded

    def _decode(self) -> Generator[Decoded, None, None]:
        """Every frame that can be decoded; the first damage is kept in `failure`."""
        from av.error import FFmpegError

        try:
            for packet in self._container.demux(self._stream):
                if self._is_avi and packet.size and packet.dts is not None:
                    self._avi_times.append(packet.dts)
                try:
                    yield from map(self._looked_at, packet.decode())
                except FFmpegError as error:
                    self._fail(f"is damaged: {error.strerror}")
        except FFmpegError as error:
            self._fail(f"is damaged: {error.strerror}")

    def _looked_at(self, decoded: Decoded) -> Decoded:
        """The same; damage that the decoder covers up is told of, but not what lacks its beginning at the start."""
        self._is_whole = self._is_whole or not decoded.is_corrupt
        if decoded.is_corrupt and (self._is_whole or decoded.key_frame):
            self._fail("is damaged: some pictures lack parts, which were filled from those around them")
        return decoded

    def _pts(self, decoded: Decoded, previous: int | None, count: int) -> int:
        """The frame's own time; counted where the file has none, as bare streams do: their rate is constant.

        AVI has none, but a place for each picture; one that was dropped leaves its place empty.
        """
        pts = decoded.pts
        if self._is_avi:
            pts = self._avi_times[count] if count < len(self._avi_times) else None
        if pts is None:
            return 0 if previous is None else previous + round(1 / (self.rate * self.time_base))
        return pts

    def _check_end(self, count: int, end: float) -> None:
        if self._announced is not None and end < self._announced - _MISSING_SECONDS:
            self._fail(f"is truncated: got {count} frames, {end:.1f} s, expected {self._announced:.1f} s")
        elif any(kind in self._container.format.name and is_cut_off(self.path) for kind, is_cut_off in CUT_OFF):
            self._fail(f"is truncated: got {count} frames, {end:.1f} s, and a part of what was to follow")

    def _fail(self, what: str) -> None:
        self.failure = self.failure or InputError(f"{self.path}: {what}; what could be read of it was used")


def _open(path: Path) -> InputContainer:
    import av
    from av.error import FFmpegError

    try:
        return av.open(str(path.absolute()), metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read as a video: {reason}") from error


def video_stream(container: InputContainer, name: object) -> VideoStream:
    """The first that is no cover picture of a song.

    Raises:
        InputError: there is none in what is called `name`, which is closed.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                break
            return stream
    container.close()
    raise InputError(f"{name}: holds no video that can be decoded, expected one")


def _pixel_aspect(stream: VideoStream, matrix: NDArray[np.int_]) -> Fraction:
    stored = stream.sample_aspect_ratio or Fraction(1)
    return stored if matrix[0, 0] else 1 / stored


def _announced_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the file's header says that the video is; None where it says nothing to rely on."""
    if stream.frames and stream.average_rate:
        seconds = float(stream.frames / stream.average_rate)
        whole = (container.duration or 0) / 1e6
        # An edit list of MP4 may leave frames out.
        return min(seconds, whole) if whole and "mp4" in container.format.name else seconds
    if tag := stream.metadata.get("DURATION"):  # Matroska: 00:01:02.345000000
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return None
