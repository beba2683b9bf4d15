"""The raw input, kept: a stream packet by packet as it came, a camera's frames encoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..files import atomic_path
from .fragments import container_options

if TYPE_CHECKING:
    from av.container.input import InputContainer
    from av.container.output import OutputContainer
    from av.packet import Packet
    from av.stream import Stream


class PacketRecording:
    """Packets into a file, from the first key frame on, undecoded; to be closed, which gives the file its name.

    Raises:
        OutputError: the format cannot hold the stream, or the file cannot be written.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        self._stack = ExitStack()
        self._output: OutputContainer | None = None
        self._streams: dict[int, Stream] = {}
        self._start: float | None = None
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
        shift = round(self._start / packet.time_base)
        if index not in self._streams or packet.dts <= self._came.get(index, shift - 1):
            return  # a stream whose clock went back; a file's must not
        self._came[index] = packet.dts
        copy = _copied(packet, shift, self._streams[index], self._written.get(index, -1) + 1)
        assert self._output is not None and copy.dts is not None
        self._written[index] = copy.dts
        with self._said("recorded"):
            self._output.mux(copy)

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
        try:
            for stream in (*source.streams.video[:1], *source.streams.audio):
                self._streams[stream.index] = output.add_stream_from_template(stream)
        except ValueError as error:
            raise OutputError(f"{self.final}: cannot hold this stream ({error}); name the recording .mkv") from error
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
