"""Streams from a server on this machine: read, lost and found again, damaged, silent, recorded; no secret is said."""

from __future__ import annotations

import io
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from network_fakes import HASTE, SIZE_WH, WAIT, QuietFiles, address, encoded, levels, serving, until

from fsr.runtime.errors import InputError, OutputError
from fsr.runtime.media.capture import Capture
from fsr.runtime.media.network import NetworkStream
from fsr.runtime.media.recording import PacketRecording
from fsr.runtime.media.uri import parse_uri

av = pytest.importorskip("av", reason="streams need PyAV")

PARTS = "multipart/x-mixed-replace; boundary=frame"


def test_a_stream_gives_its_frames_with_their_times_until_it_ends() -> None:
    frames = []
    with serving(encoded(30)) as port, pytest.raises(InputError, match=r"the stream (ended|was lost)") as caught:
        with NetworkStream(parse_uri(address(port))) as stream:
            assert (stream.size_wh, stream.rate, stream.live) == (SIZE_WH, 25, True)
            frames.extend(stream)
            assert levels(frames) == list(range(30))
        raise AssertionError
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(30) / 25, atol=1e-6)
    assert "secret" not in str(caught.value) and "hidden" not in str(caught.value)


def test_motion_jpeg_is_read() -> None:
    parts, got = [part(jpeg) for jpeg in jpegs(40)], []
    with (
        serving(b"".join(parts), kind=PARTS) as port,
        suppress(InputError),
        NetworkStream(parse_uri(address(port))) as stream,
    ):
        got.extend(levels(stream))
    assert got[:8] == list(range(8))


def test_a_run_of_pictures_that_are_none_is_left_out() -> None:
    """The decoder refuses each of them; what comes next is whole."""
    pictures = jpegs(40)
    pictures[10:14] = [picture[:20] + bytes(len(picture) - 20) for picture in pictures[10:14]]
    parts, got = [part(picture) for picture in pictures], []
    with (
        serving(b"".join(parts), kind=PARTS) as port,
        suppress(InputError),
        NetworkStream(parse_uri(address(port))) as stream,
    ):
        got.extend(levels(stream))
    assert got == [*range(10), *range(14, 14 + len(got) - 10)] and len(got) > 20


def jpegs(count: int) -> list[bytes]:
    data = encoded(count, format_name="mjpeg", codec="mjpeg")
    return [b"\xff\xd8" + rest for rest in data.split(b"\xff\xd8")[1:]]


def part(jpeg: bytes, header: str = "") -> bytes:
    return f"--frame\r\nContent-Type: image/jpeg\r\n{header}\r\n".encode() + jpeg + b"\r\n"


def test_frames_without_times_have_those_of_their_arrival(tmp_path: Path) -> None:
    """A part is sent once the one before is here, and the clock goes on from one to the next."""
    pace, now, may_go = [0.0, 0.1, 0.5, 0.6, 1.1], 1000.0, threading.Semaphore(1)
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)  # FFmpeg waits for the first 2 kB
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()

    def parts() -> Iterator[bytes]:
        for _ in pace:
            assert may_go.acquire(timeout=WAIT)
            yield part(jpeg, f"Content-Length: {len(jpeg)}\r\n")

    seconds, recording = [], PacketRecording(tmp_path / "raw.mkv")
    with (
        serving(parts(), kind=PARTS) as port,
        NetworkStream(parse_uri(address(port)), recording, clock=lambda: now) as stream,
    ):
        frames = iter(stream)
        for at in pace:
            now = 1000 + at
            seconds.append(next(frames).seconds)
            may_go.release()
    assert seconds == pytest.approx(pace)
    with av.open(str(tmp_path / "raw.mkv")) as kept:
        assert [packet.pts * packet.time_base for packet in kept.demux(video=0) if packet.size] == pytest.approx(
            pace, abs=0.001
        )


def test_a_run_of_damaged_packets_is_left_out_and_the_stream_goes_on() -> None:
    body = bytearray(encoded(60))
    start = len(body) * 2 // 5 // 188 * 188
    rng, got = np.random.default_rng(0), []
    body[start : start + 20 * 188] = rng.integers(0, 256, 20 * 188, dtype=np.uint8).tobytes()
    with serving(bytes(body)) as port, suppress(InputError), NetworkStream(parse_uri(address(port))) as stream:
        got.extend(levels(stream))
    assert 30 < len(got) < 60 or got != [n % 40 for n in range(60)]
    assert got[:10] == list(range(10)) and got[-5:] == [15, 16, 17, 18, 19], "whole again after the next key frame"


def test_nothing_there_is_one_sentence_without_the_password() -> None:
    with pytest.raises(InputError) as caught:
        NetworkStream(parse_uri("rtsp://user:secret@127.0.0.1:9/a?key=hidden"))
    assert "rtsp://***@127.0.0.1:9/a?***: cannot be opened: Connection refused" in str(caught.value)
    assert caught.value.__cause__ is None, "which names the address in full"


def test_what_is_no_video_is_one_sentence() -> None:
    sentence = r"127\.0\.0\.1:\d+/live\?\*\*\*: cannot be opened: [IO]n"
    with serving(b"<html>no video</html>" * 50, kind="text/html") as port, pytest.raises(InputError, match=sentence):
        NetworkStream(parse_uri(address(port)))


def test_a_recording_is_the_stream_packet_by_packet(tmp_path: Path) -> None:
    body = encoded(30)
    with serving(body) as port, suppress(InputError):
        recording = PacketRecording(tmp_path / "raw.mkv")
        with NetworkStream(parse_uri(address(port)), recording) as stream:
            list(stream)
    assert [path.name for path in tmp_path.iterdir()] == ["raw.mkv"]
    with av.open(io.BytesIO(body)) as sent, av.open(str(tmp_path / "raw.mkv")) as kept:
        theirs = [bytes(packet) for packet in sent.demux(video=0) if packet.size]
        packets = [packet for packet in kept.demux(video=0) if packet.size]
    assert [bytes(packet)[-10:] for packet in packets] == [data[-10:] for data in theirs], "not encoded again"
    assert [float(packet.pts * packet.time_base) for packet in packets] == pytest.approx(np.arange(30) / 25, abs=0.001)


@pytest.mark.parametrize("name", ["raw.mkv", "raw.mp4", "raw.avi"])
def test_what_comes_at_once_is_recorded_one_after_the_other(tmp_path: Path, name: str) -> None:
    """However coarse the times of the file are."""
    body, pts = b"".join(map(part, jpegs(40))), []
    with serving(body, kind=PARTS) as port, suppress(InputError):
        recording = PacketRecording(tmp_path / name)
        with NetworkStream(parse_uri(address(port)), recording, clock=lambda: 7.0) as stream:
            pts.extend(frame.pts for frame in stream)
    with av.open(str(tmp_path / name)) as kept:
        recorded = [packet.pts for packet in kept.demux(video=0) if packet.size]
    assert len(pts) == len(recorded) > 20
    assert pts == sorted(set(pts)) and recorded == sorted(set(recorded))


def test_pictures_without_any_number_are_recorded(tmp_path: Path) -> None:
    """FFmpeg gives those of raw H.264 over a network no times at all."""
    with (
        serving(encoded(30, format_name="h264"), kind="video/h264") as port,
        suppress(InputError),
        NetworkStream(parse_uri(address(port)), PacketRecording(tmp_path / "raw.mkv")) as stream,
    ):
        list(stream)
    with av.open(str(tmp_path / "raw.mkv")) as kept:
        assert sum(1 for _ in kept.decode(video=0)) == 30


def test_a_recording_that_would_mix_up_the_pictures_is_one_sentence(tmp_path: Path) -> None:
    body, shown = encoded(30, format_name="h264", tune="film"), []
    with serving(body, kind="video/h264") as port, pytest.raises(OutputError, match="without B-frames"):
        NetworkStream(parse_uri(address(port)), PacketRecording(tmp_path / "raw.mkv"))
    with (
        serving(body, kind="video/h264") as port,
        suppress(InputError),
        NetworkStream(parse_uri(address(port))) as stream,
    ):
        shown.extend(levels(stream))
    assert shown[:20] == list(range(20)) and not list(tmp_path.iterdir())


# In a process of its own


def test_a_server_that_stops_and_starts_is_found_again(tmp_path: Path) -> None:
    said: list[str] = []
    with serving(encoded(200), hangs_up=False) as port:
        source = Capture(parse_uri(address(port)), say=said.append, patience=HASTE, record=tmp_path / "raw.mkv")
        frames = iter(source)
        first = list(islice(frames, 5))
    until(lambda: sum("trying again" in line for line in said) >= 3)
    with serving(encoded(200, size_wh=(48, 64)), port, hangs_up=False):
        until(lambda: source.reconnects == 1)
        again = list(islice(frames, 4))
        source.close()
    assert again[-1].pixels.shape == first[0].pixels.shape == (64, 96, 3), "the size of the first connection"
    assert (again[-1].pixels[:, :20] < 20).all(), "what is narrower stands in the middle"
    assert again[0].seconds > first[-1].seconds and again[0].pts > first[-1].pts
    assert any("back, 48x64, shown in 96x64" in line for line in said)
    assert not [line for line in said if "secret" in line or "hidden" in line]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw-2.mkv", "raw.mkv"]
    for path, size in (("raw.mkv", (96, 64)), ("raw-2.mkv", (48, 64))):
        with av.open(str(tmp_path / path)) as container:
            assert next(container.decode(video=0)).width == size[0]


def test_a_server_that_falls_silent_is_left_and_asked_again() -> None:
    said: list[str] = []
    with (
        serving(encoded(60), hangs_up=False) as port,
        Capture(parse_uri(address(port)), say=said.append, patience=HASTE) as source,
    ):
        frames = iter(source)
        until(lambda: next(frames) and source.reconnects == 1)
    assert "brought no frame for 2 s; trying again" in said[0]


def test_a_file_behind_http_loses_nothing_and_ends(tmp_path: Path) -> None:
    (tmp_path / "live").write_bytes(encoded(50, format_name="mov", options={"movflags": "frag_keyframe"}))
    handler = partial(QuietFiles, directory=str(tmp_path))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        with Capture(parse_uri(address(server.server_address[1])), patience=HASTE) as source:
            assert not source.live
            got = []
            for frame in source:
                got.append(frame)
                time.sleep(0.002)  # slower than it comes
        server.shutdown()
    assert levels(got) == [n % 40 for n in range(50)] and source.dropped == 0
    assert [frame.pts * frame.time_base for frame in got] == [Fraction(n, 25) for n in range(50)]
