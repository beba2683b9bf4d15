"""The raw input, kept: a stream packet by packet as it came, a camera's frames encoded."""

from __future__ import annotations

from contextlib import ExitStack
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
        self._written: dict[int, int] = {}

    def add(self, packet: Packet, source: InputContainer) -> None:
        """Write one packet of `source`."""
        from av.error import FFmpegError

        assert packet.dts is not None and packet.time_base is not None
        is_picture, index = packet.stream.type == "video", packet.stream.index
        if self._start is None:
            if not (is_picture and packet.is_keyframe):
                return
            self._open(source)
            self._start = float(packet.dts * packet.time_base)
        shift = round(self._start / packet.time_base)
        dts = packet.dts - shift
        if index not in self._streams or dts <= self._written.get(index, -1):
            return  # a stream whose clock went back; a file's must not
        self._written[index] = dts
        copy = _copied(packet, dts, shift)
        copy.stream = self._streams[index]
        try:
            assert self._output is not None
            self._output.mux(copy)
        except (FFmpegError, OSError) as error:
            raise OutputError(f"{self.final}: cannot be recorded: {getattr(error, 'strerror', error)}") from error

    def close(self) -> None:
        """Finish the file; more than once does no harm. One that cannot be finished plays as far as it was written."""
        from av.error import FFmpegError

        output, self._output = self._output, None
        try:
            if output is not None:
                output.close()
        except (FFmpegError, OSError) as error:
            raise OutputError(f"{self.final}: cannot be finished: {getattr(error, 'strerror', error)}") from error
        finally:
            self._stack.close()

    def _open(self, source: InputContainer) -> None:
        import av

        temporary = self._stack.enter_context(atomic_path(self.final))
        self._output = output = av.open(str(temporary.absolute()), "w", options=container_options(self.final))
        try:
            for stream in (*source.streams.video[:1], *source.streams.audio):
                self._streams[stream.index] = output.add_stream_from_template(stream)
        except ValueError as error:
            raise OutputError(f"{self.final}: cannot hold this stream ({error}); name the recording .mkv") from error


def _copied(packet: Packet, dts: int, shift: int) -> Packet:
    """Another packet of the same bytes: muxing changes the one that is yet to be decoded."""
    from av.packet import Packet

    copy = Packet(bytes(packet))
    copy.dts, copy.pts, copy.time_base = dts, (packet.pts or packet.dts or 0) - shift, packet.time_base
    copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
    return copy
