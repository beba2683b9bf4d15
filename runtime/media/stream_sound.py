"""The sound of a stream, undecoded, on its way from the process that reads it into the files of another."""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from .soundtrack import Soundtrack, Tracks, holds

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container.input import InputContainer
    from av.container.output import OutputContainer
    from av.packet import Packet

LONGEST = 2048
"""Packets that wait for a file: 20 s of two tracks, of 20 ms each."""
APART = 0.001
"""Seconds from one packet of a track to the next, at least: the step of Matroska's clock."""
_DESCRIBED = "nut"
"""A format that holds any sound as it is, and its time base."""


@dataclass(frozen=True)
class SoundPacket:
    """A piece of the sound of one track."""

    track: int
    """Number among the audio streams of its source."""
    data: bytes
    dts: int
    pts: int
    duration: int
    time_base: Fraction

    @classmethod
    def of(cls, packet: Packet, track: int) -> SoundPacket | None:
        """None of one without bytes or times."""
        if packet.dts is None or packet.time_base is None or not packet.size:
            return None
        pts = packet.dts if packet.pts is None else packet.pts
        return cls(track, bytes(packet), packet.dts, pts, packet.duration or 0, packet.time_base)

    @property
    def seconds(self) -> float:
        """Of its clock, at which it starts."""
        return float(self.dts * self.time_base)

    def shifted(self, seconds: float) -> SoundPacket:
        """Later by so much, in whole steps of its clock."""
        steps = round(seconds / self.time_base)
        return replace(self, dts=self.dts + steps, pts=self.pts + steps)

    def to_packet(self) -> Packet:
        from av.packet import Packet

        packet = Packet(self.data)
        packet.dts, packet.pts, packet.duration, packet.time_base = self.dts, self.pts, self.duration, self.time_base
        packet.is_keyframe = True
        return packet


def described(streams: Sequence[AudioStream]) -> bytes:
    """What another process needs to know of some streams; empty of none."""
    import av
    from av.packet import Packet

    if not streams or not holds(_DESCRIBED, streams):
        return b""
    description = io.BytesIO()
    with av.open(description, "w", format=_DESCRIBED) as container:
        for track in [container.add_stream_from_template(stream) for stream in streams]:
            packet = Packet(b"\0")  # of a file without any, the streams are not found
            packet.dts = packet.pts = 0
            packet.stream = track
            container.mux(packet)
    return description.getvalue()


def opened(description: bytes) -> InputContainer:
    """A container whose audio streams are those that were `described`."""
    import av

    return av.open(io.BytesIO(description), "r", format=_DESCRIBED)


class SoundLog:
    """The latest packets of a stream in the order in which they came; several files take them, each at its own pace."""

    def __init__(self) -> None:
        self.came = 0
        self._packets: deque[SoundPacket] = deque(maxlen=LONGEST)
        self._lock = threading.Lock()

    def add(self, packet: SoundPacket) -> None:
        with self._lock:
            self._packets.append(packet)
            self.came += 1

    def take(self, first: int, until: float) -> tuple[list[SoundPacket], int]:
        """From packet number `first` on what starts before `until` seconds, and the number of the next."""
        taken: list[SoundPacket] = []
        with self._lock:
            first = max(first, gone := self.came - len(self._packets))
            for packet in islice(self._packets, first - gone, None):
                if packet.seconds >= until:
                    break
                taken.append(packet)
        return taken, first + len(taken)


class StreamSound(Soundtrack):
    """What is added to `log`, from its packet number `first` on; what comes too late is left out."""

    def __init__(self, log: SoundLog, description: bytes, output: OutputContainer, first: int = 0) -> None:
        self._log, self._next = log, first
        self._described = opened(description)
        self._tracks = Tracks(self._described.streams.audio, output)
        self._last: dict[int, float] = {}

    def copy_until(self, seconds: float) -> None:
        packets, self._next = self._log.take(self._next, seconds)
        for packet in packets:
            if packet.track < len(self._tracks) and packet.seconds >= self._last.get(packet.track, -inf):
                self._last[packet.track] = packet.seconds + APART
                self._tracks.mux(packet.track, packet.to_packet())

    def close(self) -> None:
        self._described.close()
