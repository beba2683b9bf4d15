"""The sound of a video, copied packet by packet, never decoded."""

from __future__ import annotations

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


class Soundtrack:
    """Copies all audio streams of the file `source` into `output`, in step with the pictures; to be closed.

    Raises:
        OutputError: the format of `output` cannot hold this sound.
    """

    def __init__(self, source: Path, output: OutputContainer, final: Path) -> None:
        import av
        from av.bitstream import BitStreamFilterContext

        self._output = output
        self._input = av.open(str(source.absolute()), metadata_errors="replace")
        self._streams: dict[int, AudioStream] = {}
        self._filters: dict[int, BitStreamFilterContext] = {}
        streams = self._input.streams.audio
        if not _holds(output.format.name, streams):
            refusal = _refusal(final, output, streams)
            self.close()
            raise OutputError(refusal)
        for stream in streams:
            self._streams[stream.index] = copied = output.add_stream_from_template(stream)
            copied.metadata.update(stream.metadata)
            if _has_headers_between(stream) and output.format.name in _WANT_NONE:
                self._filters[stream.index] = BitStreamFilterContext("aac_adtstoasc", stream)
        self._packets = self._demux()
        self._next = next(self._packets, None)

    def copy_until(self, seconds: float) -> None:
        """Copy what starts before `seconds` of the source's clock."""
        while self._next is not None and _seconds(self._next) < seconds:
            for packet in self._filtered(self._next):
                packet.stream = self._streams[self._next.stream.index]
                self._output.mux(packet)
            self._next = next(self._packets, None)

    def close(self) -> None:
        self._input.close()

    def _filtered(self, packet: Packet) -> Sequence[Packet]:
        found = self._filters.get(packet.stream.index)
        return found.filter(packet) if found else [packet]

    def _demux(self) -> Iterator[Packet]:
        from av.error import FFmpegError

        if not self._streams:
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
    return next((suffix for suffix, format_name in _FORMATS.items() if _holds(format_name, streams)), None)


def _seconds(packet: Packet) -> float:
    assert packet.dts is not None and packet.time_base is not None
    return float(packet.dts * packet.time_base)


def _holds(format_name: str, streams: Sequence[AudioStream]) -> bool:
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


def _refusal(final: Path, output: OutputContainer, streams: Sequence[AudioStream]) -> str:
    codecs, suffix = ", ".join(stream.codec_context.name for stream in streams), suffix_for(streams)
    advice = f"choose a name that ends in {suffix}" if suffix else "convert the sound to AAC first"
    return f"{final}: {output.format.name} cannot hold the sound of the source ({codecs}); {advice}"
