"""The graphics chip's encoder where it works, else x264; a recording that cannot be written says so."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsr.runtime.errors import OutputError
from fsr.runtime.media import encoders
from fsr.runtime.media.recording import PacketRecording
from fsr.runtime.media.video import VideoFrame, VideoWriter

av = pytest.importorskip("av", reason="videos need PyAV")


SMALL = (320, 192), Fraction(30)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    encoders.best_encoder.cache_clear()
    yield
    encoders.best_encoder.cache_clear()


def test_the_first_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"h264_of_no_chip": {}, "h264_v4l2m2m": {}, "libx264rgb": {}, "libx264": {}}
    monkeypatch.setattr(encoders, "HARDWARE", table)
    assert [encoders.works(name, *SMALL) for name in table] == [False, False, False, True], "the third takes no yuv420p"
    assert encoders.best_encoder(*SMALL) == "libx264"
    monkeypatch.setattr(encoders, "HARDWARE", {"h264_of_no_chip": {}})
    encoders.best_encoder.cache_clear()
    assert encoders.best_encoder(*SMALL) == encoders.SOFTWARE


def test_an_encoder_that_cannot_take_the_size_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chips end at 1080p to 4096 px a side; x264, that stands for one, at 16384."""
    assert encoders.works("libx264", (64, 48), Fraction(25)) and not encoders.works(
        "libx264", (16400, 16), Fraction(25)
    )
    seen: list[tuple[tuple[int, int], Fraction]] = []

    def works(name: str, size_wh: tuple[int, int], rate: Fraction) -> bool:
        seen.append((size_wh, rate))
        return size_wh[0] <= 4096

    monkeypatch.setattr(encoders, "HARDWARE", {"h264_of_a_chip": {}})
    monkeypatch.setattr(encoders, "works", works)
    assert encoders.best_encoder((4096, 16), Fraction(25)) == "h264_of_a_chip"
    with VideoWriter(tmp_path / "a.mkv", (4097, 15), rate=Fraction(31)) as writer:
        assert writer.codec == encoders.SOFTWARE
        pixels = np.zeros((15, 4097, 3), np.uint8)
        writer.write(pixels, VideoFrame(pixels, 0, Fraction(1, 31), 0.0))
    assert seen == [((4096, 16), 25), ((4098, 16), 31)], "of which the last is the one that is encoded"


def test_an_encoder_without_a_quality_is_told_a_rate() -> None:
    assert encoders.bit_rate("h264_v4l2m2m", (1280, 720), Fraction(30)) == round(0.15 * 1280 * 720 * 30)
    assert encoders.bit_rate("h264_nvenc", (1280, 720), Fraction(30)) is None
    assert encoders.options("libx264", "veryfast", 18) == {"preset": "veryfast", "crf": "18"}
    assert encoders.options("h264_nvenc", "veryfast", 18)["cq"] == "21"


def test_an_encoder_that_fails_in_the_middle_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = np.full((48, 64, 3), 90, np.uint8)

    def write(writer: VideoWriter, number: int) -> None:
        writer.write(grey, VideoFrame(grey, number, Fraction(1, 25), number / 25))

    def broken(*_: object) -> None:
        raise av.error.ExternalError(1, "the chip is gone")

    with (
        pytest.raises(
            OutputError, match=r"a\.mkv: cannot be written: the chip is gone; its first \d+ frames are there"
        ),
        VideoWriter(tmp_path / "a.mkv", (64, 48), codec="libx264") as writer,
    ):
        for number in range(60):
            write(writer, number)
        monkeypatch.setattr(writer._colours.__class__, "from_rgb", broken)
        write(writer, 60)
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 30


def stream() -> io.BytesIO:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as container:
        video = container.add_stream("libx264", rate=25, options={"g": "5", "tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * number, np.uint8), "rgb24")))
        container.mux(video.encode(None))
    buffer.seek(0)
    return buffer


def test_a_recording_begins_with_a_key_frame_and_at_zero(tmp_path: Path) -> None:
    recording = PacketRecording(tmp_path / "raw.mp4")
    with av.open(stream()) as source:
        for packet in [packet for packet in source.demux(video=0) if packet.size][3:]:
            recording.add(packet, source)
    recording.close()
    with av.open(str(tmp_path / "raw.mp4")) as kept:
        frames = list(kept.decode(video=0))
    assert len(frames) == 15 and frames[0].pts == 0 and frames[0].key_frame


@dataclass
class Come:
    """A packet as `PacketRecording.add` takes it, at a time in milliseconds."""

    stream: Any
    dts: int
    is_keyframe: bool = True
    duration: int = 40
    time_base: Fraction = Fraction(1, 1000)

    @property
    def pts(self) -> int:
        return self.dts

    def __bytes__(self) -> bytes:
        return b"\0\0\0\1\x65" + bytes(20)


def test_a_recording_goes_on_when_the_clock_goes_back(tmp_path: Path) -> None:
    """Pictures and sound by the same time; one that is merely late is left out."""
    recording, buffer = PacketRecording(tmp_path / "raw.mkv"), io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        video, _ = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=48_000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(video.encode(None))
    buffer.seek(0)
    clock = [90_000, 90_040, 90_080, 89_500, 90_120, 0, 40, 80]  # late by .6 s, then anew
    with av.open(buffer) as source:
        for now in clock:
            recording.add(Come(source.streams.video[0], now), source)  # pyright: ignore[reportArgumentType]
            recording.add(Come(source.streams.audio[0], now + 10), source)  # pyright: ignore[reportArgumentType]
    recording.close()
    with av.open(str(tmp_path / "raw.mkv")) as kept:
        times: dict[str, list[int]] = {"video": [], "audio": []}
        for packet in kept.demux():
            if packet.size:
                times[packet.stream.type].append(round(1000 * float(packet.pts * packet.time_base)))
    assert times["video"] == [0, 40, 80, 120, 160, 200, 240]
    assert times["audio"] == [10, 50, 90, 130, 170, 210, 250]


def test_a_recording_that_cannot_hold_the_stream_is_a_sentence(tmp_path: Path) -> None:
    recording = PacketRecording(tmp_path / "raw.webm")
    with av.open(stream()) as source, pytest.raises(OutputError, match=r"raw\.webm: cannot .*recor|cannot hold this"):
        for packet in source.demux(video=0):
            recording.add(packet, source)
        recording.close()


def test_of_a_recording_on_a_full_disk_what_was_written_plays(tmp_path: Path, rng: np.random.Generator) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as container:
        video = container.add_stream("libx264", rate=25, options={"g": "5", "tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for _ in range(200):
            noise = np.kron(rng.integers(0, 256, (8, 12, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
            container.mux(video.encode(av.VideoFrame.from_ndarray(noise, "rgb24")))
        container.mux(video.encode(None))
    buffer.seek(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with (
            av.open(buffer) as source,
            pytest.raises(OutputError, match=r"raw\.mkv: cannot be recorded: File too large"),
        ):
            record_all(source, PacketRecording(tmp_path / "raw.mkv"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with av.open(str(tmp_path / "raw.mkv")) as kept:
        assert sum(1 for packet in kept.demux(video=0) if packet.size) > 20


def record_all(source: Any, recording: PacketRecording) -> None:
    try:
        for packet in source.demux(video=0):
            if packet.size:
                recording.add(packet, source)
    finally:
        with suppress(OutputError):  # said already
            recording.close()
