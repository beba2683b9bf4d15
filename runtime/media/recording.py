"""The raw input, kept: a stream packet by packet as it came, a camera's frames encoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..files import atomic_path
from .fragments import container_options
from .soundtrack import holds, left_out

if TYPE_CHECKING:
    from av.container.input import InputContainer
    from av.container.output import OutputContainer
    from av.packet import Packet
    from av.stream import Stream


BACK_SECONDS = 1.0
"""By which a packet may be late; further back, the clock of its stream has begun anew."""


class PacketRecording:
    """Packets into a file, from the first key frame on, undecoded; to be closed, which gives the file its name.

    Where the clock of the source goes back, as when a camera behind a server is started anew, the file goes on.
    remark: says what sound is left out, once the first packet was added.

    Raises:
        OutputError: the format cannot hold the stream, or the file cannot be written.
    """

    def __init__(self, final: Path) -> None:
        self.final, self.remark = final, ""
        self._stack = ExitStack()
        self._output: OutputContainer | None = None
        self._streams: dict[int, Stream] = {}
        self._start: float | None = None
        """The file's, in seconds of the source's clock as it was set last; a stream that was not told has its own."""
        self._starts: dict[int, float] = {}
        self._came: dict[int, int] = {}
        self._written: dict[int, int] = {}

    def add(self, packet: Packet, source: InputContainer) -> None:
        """Write one packet of `source`."""
        assert packet.dts is not None and packet.time_base is not None
        is_picture, index = packet.stream.type == "video", packet.stream.index
        if self._start is None:
            if not (is_picture and packet.is_keyframe):
                return
            self._open(source)
            self._start = float(packet.dts * packet.time_base)
        if index not in self._streams:
            return
        shift = self._shift(packet, self._start)
        if packet.dts - shift <= self._came.get(index, -1):
            return  # late: the times of a file must not go back
        self._came[index] = packet.dts - shift
        copy = _copied(packet, shift, self._streams[index], self._written.get(index, -1) + 1)
        assert self._output is not None and copy.dts is not None
        self._written[index] = copy.dts
        with self._said("recorded"):
            self._output.mux(copy)

    def _shift(self, packet: Packet, start: float) -> int:
        """Start of the file in the packet's stream and time base.

        When pictures and sound begin anew, one after the other, the second takes the first one's new start, so that
        they stay together.
        """
        assert packet.dts is not None and packet.time_base is not None
        index, now = packet.stream.index, float(packet.dts * packet.time_base)
        own = self._starts.setdefault(index, start)
        written = float(self._came.get(index, 0) * packet.time_base)
        if now - own < written - BACK_SECONDS and index in self._came:
            if abs(now - start - written) > BACK_SECONDS:
                start = self._start = now - written - float((packet.duration or 0) * packet.time_base)
            own = self._starts[index] = start
        return round(own / packet.time_base)

    def close(self) -> None:
        """Finish the file; more than once does no harm. One that cannot be finished plays as far as it was written."""
        output, self._output = self._output, None
        try:
            with self._said("finished"):
                if output is not None:
                    output.close()
        finally:
            self._stack.close()

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        from av.error import FFmpegError

        try:
            yield
        except (FFmpegError, OSError) as error:
            raise OutputError(f"{self.final}: cannot be {what}: {getattr(error, 'strerror', error)}") from error

    def _open(self, source: InputContainer) -> None:
        import av

        temporary = self._stack.enter_context(atomic_path(self.final))
        self._output = output = av.open(str(temporary.absolute()), "w", options=container_options(self.final))
        form, pictures, sound = output.format.name, source.streams.video[0], source.streams.audio
        try:
            self._streams[pictures.index] = output.add_stream_from_template(pictures)
        except ValueError as error:
            raise OutputError(f"{self.final}: cannot hold this stream ({error}); name the recording .mkv") from error
        for stream in (held := [stream for stream in sound if holds(form, [stream])]):
            self._streams[stream.index] = output.add_stream_from_template(stream)
        if refused := [stream for stream in sound if stream not in held]:
            self.remark = left_out(self.final, form, refused)
        with self._said("recorded"):
            output.start_encoding()  # which settles how fine the file's times are


def _copied(packet: Packet, shift: int, stream: Stream, least: int) -> Packet:
    """Another packet of the same bytes: muxing changes the one that is yet to be decoded.

    shift: its time base's start of the file. least: of its time in `stream`, whose steps may be too coarse to tell it
    from the one before.
    """
    from av.packet import Packet

    assert packet.dts is not None and packet.time_base is not None and stream.time_base is not None
    steps = packet.time_base / stream.time_base
    pts = packet.dts if packet.pts is None else packet.pts
    copy = Packet(bytes(packet))
    copy.dts = max(round((packet.dts - shift) * steps), least)
    copy.pts = max(round((pts - shift) * steps), copy.dts)
    copy.stream, copy.time_base = stream, stream.time_base
    copy.duration, copy.is_keyframe = round((packet.duration or 0) * steps), packet.is_keyframe
    return copy
