"""The graphics chip's encoder where it works, else x264; a recording that cannot be written says so."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from contextlib import suppress
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


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    encoders.best_encoder.cache_clear()
    yield
    encoders.best_encoder.cache_clear()


def test_the_first_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"h264_of_no_chip": {}, "h264_v4l2m2m": {}, "libx264rgb": {}, "libx264": {}}
    monkeypatch.setattr(encoders, "HARDWARE", table)
    assert [encoders.works(name) for name in table] == [False, False, False, True], "the third takes no yuv420p"
    assert encoders.best_encoder() == "libx264"
    monkeypatch.setattr(encoders, "HARDWARE", {"h264_of_no_chip": {}})
    encoders.best_encoder.cache_clear()
    assert encoders.best_encoder() == encoders.SOFTWARE


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
