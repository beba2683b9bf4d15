"""The sound of a video, copied packet by packet, never decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.bitstream import BitStreamFilterContext
    from av.container.output import OutputContainer
    from av.packet import Packet

_FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov", ".wmv": "asf"}
"""Best first: MP4 plays everywhere."""
_WANT_NONE = frozenset({"mp4", "mov", "ipod", "3gp"})
"""Formats, by FFmpeg's names, that say once what AAC broadcasts say before every packet; `.m4v` is ipod."""


class Soundtrack(ABC):
    """Sound on its way into a file, copied in step with the pictures; to be closed."""

    @abstractmethod
    def copy_until(self, seconds: float) -> None:
        """Copy what starts before `seconds` of the source's clock."""

    @abstractmethod
    def close(self) -> None: ...


class Tracks:
    """The audio streams of `output`, made after those of a source."""

    def __init__(self, streams: Sequence[AudioStream], output: OutputContainer) -> None:
        from av.bitstream import BitStreamFilterContext

        self._output = output
        self._streams: list[AudioStream] = []
        self._filters: dict[int, BitStreamFilterContext] = {}
        for number, stream in enumerate(streams):
            copied = output.add_stream_from_template(stream)
            copied.metadata.update(stream.metadata)
            self._streams.append(copied)
            if _has_headers_between(stream) and output.format.name in _WANT_NONE:
                self._filters[number] = BitStreamFilterContext("aac_adtstoasc", stream)

    def __len__(self) -> int:
        return len(self._streams)

    def mux(self, number: int, packet: Packet) -> None:
        """Write a packet of the source's audio stream of that number."""
        found = self._filters.get(number)
        for filtered in found.filter(packet) if found else [packet]:
            filtered.stream = self._streams[number]
            self._output.mux(filtered)


class FileSound(Soundtrack):
    """All audio streams of the file `source`.

    Raises:
        OutputError: the format of `output` cannot hold this sound.
    """

    def __init__(self, source: Path, output: OutputContainer, final: Path) -> None:
        import av

        self._input = av.open(str(source.absolute()), metadata_errors="replace")
        streams = self._input.streams.audio
        if not holds(output.format.name, streams):
            refusal = f"{final}: {refused(output.format.name, streams)}"
            self.close()
            raise OutputError(refusal)
        self._tracks, self._numbers = Tracks(streams, output), {stream.index: n for n, stream in enumerate(streams)}
        self._packets = self._demux()
        self._next = next(self._packets, None)

    def copy_until(self, seconds: float) -> None:
        while self._next is not None and _seconds(self._next) < seconds:
            self._tracks.mux(self._numbers[self._next.stream.index], self._next)
            self._next = next(self._packets, None)

    def close(self) -> None:
        self._input.close()

    def _demux(self) -> Iterator[Packet]:
        from av.error import FFmpegError

        if not self._numbers:
            return
        with suppress(FFmpegError):  # damage ends the pictures too, whose reader reports it
            for packet in self._input.demux(self._input.streams.audio):
                if packet.dts is not None:
                    yield packet


def _has_headers_between(stream: AudioStream) -> bool:
    """Whether it is AAC as broadcasts send it (ADTS, ISO/IEC 13818-7), which says nothing ahead of the packets."""
    return stream.codec_context.name == "aac" and not stream.codec_context.extradata


def suffix_for(streams: Sequence[AudioStream]) -> str | None:
    """Suffix of the first of `_FORMATS` that can hold this sound untouched; None if none can."""
    return next((suffix for suffix, format_name in _FORMATS.items() if holds(format_name, streams)), None)


def _seconds(packet: Packet) -> float:
    assert packet.dts is not None and packet.time_base is not None
    return float(packet.dts * packet.time_base)


def holds(format_name: str, streams: Sequence[AudioStream]) -> bool:
    """Whether the file's beginning can be written: some formats refuse a codec, or a form of it, only then."""
    import io

    import av
    from av.error import FFmpegError

    with av.open(io.BytesIO(), "w", format=format_name) as container:
        try:
            for stream in streams:
                container.add_stream_from_template(stream)
            if streams:  # there is no file of none
                container.start_encoding()
        except (FFmpegError, ValueError):
            return False
    return True


def left_out(final: Path, format_name: str, streams: Sequence[AudioStream]) -> str:
    """Said of a file whose pictures go on without this sound."""
    return f"{final}: without sound: {refused(format_name, streams)}"


def refused(format_name: str, streams: Sequence[AudioStream]) -> str:
    """What cannot be held, and what to do."""
    codecs, suffix = ", ".join(stream.codec_context.name for stream in streams), suffix_for(streams)
    advice = f"choose a name that ends in {suffix}" if suffix else "convert the sound to AAC first"
    return f"{format_name} cannot hold the sound of the source ({codecs}); {advice}"
