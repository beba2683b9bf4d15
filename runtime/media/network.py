"""A network stream as upright RGB frames, through PyAV: RTSP, HTTP (MJPEG, MPEG-TS, files), TCP, UDP."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from ..errors import InputError, OutputError
from ..pixels import RgbImage
from .camera import TIME_BASE
from .colours import Colours
from .orient import display_matrix, turned
from .pyav import require_pyav
from .source import Source, VideoFrame, timed_by_clock
from .stream_sound import LONGEST, SoundPacket, described
from .uri import SourceUri
from .video_reader import video_stream

if TYPE_CHECKING:
    from av.container.input import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame as Decoded

    from .recording import PacketRecording

OPEN_SECONDS, READ_SECONDS = 10.0, 5.0
"""How long FFmpeg may take to connect, and to bring the next packet."""

_OPTIONS: Mapping[str, Mapping[str, str]] = {
    # UDP loses packets on busy networks, and firewalls stop it.
    "rtsp": {"rtsp_transport": "tcp"},
    "rtsps": {"rtsp_transport": "tcp"},
}
_COMMON = {"analyzeduration": "1000000"}  # microseconds of the stream that are looked at before the first frame


class NetworkStream(Source):
    """The frames of a stream as they come. One that announces its length is read to its end, and loses none.

    Some streams carry pictures and no times, such as MJPEG over HTTP, for which FFmpeg invents 25 a second: theirs
    are the times at which they came, in the recording too.

    recording: takes every packet as it came.

    Raises:
        UsageError: PyAV is not installed.
        InputError: nothing that can be decoded is at the address; without user or password. A stream that is lost later
            ends its frames, which is raised when it is left.
        OutputError: without times a recording cannot say in which order the pictures are shown.
    """

    def __init__(
        self,
        uri: SourceUri,
        recording: PacketRecording | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        require_pyav()
        from av.video.reformatter import VideoReformatter

        self.uri, self._clock, self._recording = uri, clock, recording
        self._container = _open(uri)
        self._stream = video_stream(self._container, uri)
        self._tracks = {stream.index: n for n, stream in enumerate(self._container.streams.audio)}
        self._heard: deque[SoundPacket] = deque(maxlen=LONGEST)
        self.sound = described(self._container.streams.audio)
        self._stream.thread_type = "SLICE"  # frame threads hold frames back
        self.live = not (uri.text.startswith("http") and self._container.duration)
        self._is_untimed = self.live and has_no_times(self._container)
        self._last_arrival = -1
        self._require_order()
        self._reformatter = VideoReformatter()
        self._decoded = self._decode()
        if (first := next(self._decoded, None)) is None:
            self.close()
            raise self.failure or InputError(f"{uri}: holds no frame, expected a video")
        self._first = first
        self._matrix = display_matrix(first)
        self.size_wh = self._shown_wh(first)
        self.rate = self._stream.guessed_rate or self._stream.average_rate or Fraction(25)
        self.frames = self._stream.frames or None

    def __iter__(self) -> Iterator[VideoFrame]:
        if self._is_untimed:
            pictures = map(self._pixels, self._all_decoded())
            yield from timed_by_clock(next(pictures), partial(next, pictures, None), self._clock, TIME_BASE)
            return
        time_base, pts = self._stream.time_base or 1 / self.rate, None
        start, step = None, max(1, round(1 / (self.rate * time_base)))
        for decoded in self._all_decoded():
            pts = decoded.pts if decoded.pts is not None else (0 if pts is None else pts + step)
            start = pts if start is None else start
            pixels = self._pixels(decoded)
            seconds = float((pts - start) * time_base)
            captured = self._clock() if self.live else None
            yield VideoFrame(pixels, pts, time_base, seconds, captured)

    @property
    def remark(self) -> str:
        """Of the recording, which begins with a key frame."""
        return self._recording.remark if self._recording else ""

    def heard(self) -> list[SoundPacket]:
        heard, self._heard = self._heard, deque(maxlen=LONGEST)
        return list(heard)

    def close(self) -> None:
        self._decoded.close()  # a decoder must not outlive its container
        self._container.close()
        if self._recording:
            self._recording.close()

    def _pixels(self, decoded: Decoded) -> RgbImage:
        colours = Colours.of(decoded)
        return turned(colours.to_rgb(decoded, self._reformatter, (decoded.width, decoded.height)), self._matrix)

    def _all_decoded(self) -> Iterator[Decoded]:
        yield self._first
        yield from self._decoded

    def _decode(self) -> Generator[Decoded, None, None]:
        """Every frame that can be decoded; what is damaged on the way is left out."""
        from av.error import EOFError, FFmpegError

        try:
            for packet in self._container.demux([self._stream, *self._container.streams.audio]):
                self._record(packet)
                if packet.stream is self._stream:
                    yield from _frames(packet)
                elif sound := SoundPacket.of(packet, self._tracks[packet.stream.index]):
                    self._heard.append(sound)
            if self.live:
                self.failure = InputError(f"{self.uri}: the stream ended")
        except EOFError:
            self.failure = InputError(f"{self.uri}: the stream ended")
        except FFmpegError as error:
            self.failure = InputError(f"{self.uri}: the stream was lost: {_reason(error)}")

    def _record(self, packet: Packet) -> None:
        if self._recording is None:
            return
        if self._is_untimed and packet.size:
            self._last_arrival = max(round(self._clock() / TIME_BASE), self._last_arrival + 1)
            packet.pts = packet.dts = self._last_arrival
            packet.time_base, packet.duration = TIME_BASE, 0
        if packet.dts is not None:
            self._recording.add(packet, self._container)

    def _require_order(self) -> None:
        """Of what is recorded."""
        if self._recording and self._is_untimed and self._stream.codec_context.has_b_frames:
            self._container.close()
            raise OutputError(
                f"{self.uri}: cannot be recorded: it has no times, and its pictures come in another order than they "
                "are shown; leave --record out, or let it be sent without B-frames"
            )

    def _shown_wh(self, decoded: Decoded) -> tuple[int, int]:
        stored = decoded.width, decoded.height
        return stored if self._matrix[0, 0] else (decoded.height, decoded.width)


def has_no_times(container: InputContainer) -> bool:
    """Whether its format is but pictures, one after the other, whose times FFmpeg invents."""
    from av.format import Flags

    return bool(container.format.flags & Flags.no_timestamps.value)


def _frames(packet: Packet) -> Iterator[Decoded]:
    from av.error import FFmpegError
    from av.video.frame import VideoFrame as Frame

    try:
        yield from (frame for frame in packet.decode() if isinstance(frame, Frame))
    except FFmpegError:  # the next key frame mends it
        return


def _open(uri: SourceUri) -> InputContainer:
    import av
    from av.error import FFmpegError

    scheme = uri.text.partition(":")[0].lower()
    options = {**_COMMON, **_OPTIONS.get(scheme, {})}
    try:
        return av.open(uri.text, options=options, timeout=(OPEN_SECONDS, READ_SECONDS), metadata_errors="replace")
    except (FFmpegError, ValueError, OSError) as error:
        # Its other text names the address with the password.
        raise InputError(
            f"{uri}: cannot be opened: {_reason(error)}; check the address, and that the server runs"
        ) from None


def _reason(error: Exception) -> str:
    """What FFmpeg says, without the address."""
    from av.error import ExitError

    if isinstance(error, ExitError):
        return f"nothing came for {READ_SECONDS:g} s"
    return getattr(error, "strerror", None) or type(error).__name__
