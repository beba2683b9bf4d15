"""The sound of a stream: untouched, beside its pictures, through losses; a format that cannot hold it is said."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from network_fakes import HASTE, PACE, QuietFiles, address, encoded, serving, until

from fsr.runtime.media.capture import Capture, _Clock
from fsr.runtime.media.capture_child import Delivered
from fsr.runtime.media.stream_sound import LONGEST, SoundLog, SoundPacket
from fsr.runtime.media.uri import parse_uri
from fsr.runtime.media.video_writer import VideoWriter

av = pytest.importorskip("av", reason="streams need PyAV")

RATE = 48_000
AAC, G711 = ("aac", RATE), ("pcm_mulaw", 8000)
ADTS = 7
"""Bytes before every packet of AAC in a transport stream."""
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def sound_of(path: Path) -> list[tuple[float, bytes]]:
    """Seconds and bytes of every packet."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.stream.type == "audio" and packet.size]
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]


def pictures_of(path: Path) -> list[tuple[float, int]]:
    """Seconds and number of every frame of `encoded`."""
    with av.open(str(path)) as container:
        decoded = [(float(f.pts * f.time_base), f.to_ndarray(format="gray").mean()) for f in container.decode(video=0)]
    return [(seconds, round((level - 30) / 5)) for seconds, level in decoded]


def write(source: Capture, *finals: Path, frames: int | None = None) -> None:
    """The first `frames` of `source` into files."""
    with ExitStack() as stack:
        made = [VideoWriter(final, source.size_wh, None, source.rate, sound=source) for final in finals]
        writers = [stack.enter_context(writer) for writer in made]
        for frame in islice(source, frames):
            for writer in writers:
                writer.write(frame.pixels, frame)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder behind HTTP, and the address of the file `live` in it."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(QuietFiles, directory=str(folder))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield folder / "live", address(server.server_address[1])
        server.shutdown()


def test_a_film_behind_http_keeps_its_sound_whole_in_every_output(served: tuple[Path, str], tmp_path: Path) -> None:
    film, where = served
    film.write_bytes(encoded(50, format_name="mov", options=FRAGMENTS, sound=AAC))
    finals = tmp_path / "a.mp4", tmp_path / "b.mkv"
    with Capture(parse_uri(where), patience=HASTE) as source:
        time.sleep(0.3)  # what comes before a file is open is not lost
        write(source, *finals)
    for final, fineness in zip(finals, (1e-6, 1e-3), strict=True):
        assert [data for _, data in sound_of(final)] == [data for _, data in sound_of(film)]
        seconds = np.array([[seconds for seconds, _ in sound_of(path)] for path in (final, film)])
        assert np.ptp(seconds[0] - seconds[1]) <= fineness
        assert len(pictures_of(final)) == 50


def in_time(stream: bytes, seconds: float) -> list[bytes]:
    """In pieces that last so long at the pace of the server."""
    return [bytes(piece) for piece in np.array_split(np.frombuffer(stream, np.uint8), round(seconds / PACE))]


def test_the_sound_of_a_live_stream_stays_beside_its_pictures_through_a_loss(tmp_path: Path) -> None:
    stream, sent, final = encoded(40, sound=AAC), tmp_path / "sent.ts", tmp_path / "out.mp4"
    sent.write_bytes(stream)
    with (
        serving(in_time(stream, 1.6)) as port,
        Capture(parse_uri(address(port)), patience=HASTE) as source,
    ):
        write(source, final, frames=70)
        assert source.reconnects
    pictures, sound = pictures_of(final), sound_of(final)
    assert np.diff([seconds for seconds, _ in sound]).min() > 0
    sent_pictures = {number: seconds for seconds, number in pictures_of(sent)}
    sent_sound = {data[ADTS:]: seconds for seconds, data in sound_of(sent)}
    assert len(sent_sound) > 60
    begun = [0.0, *(late for (_, n), (late, m) in pairwise(pictures) if m < n), np.inf]
    for begin, end in list(pairwise(begun))[:2]:
        shown = [seconds - sent_pictures[number] for seconds, number in pictures if begin <= seconds < end]
        heard = [seconds - sent_sound[data] for seconds, data in sound if begin <= seconds < end]
        assert len(heard) > len(shown) > 10
        assert abs(np.median(heard) - np.median(shown)) < 0.002


def test_sound_that_a_format_cannot_hold_is_left_out_and_said(served: tuple[Path, str], tmp_path: Path) -> None:
    film, where = served
    film.write_bytes(encoded(20, format_name="mov", options=FRAGMENTS, sound=G711))
    said: list[str] = []
    raw, silent, whole = tmp_path / "raw.mkv", tmp_path / "a.mp4", tmp_path / "a.mov"
    with Capture(parse_uri(where), record=raw, say=said.append, patience=HASTE) as source:
        assert source.suffix == ".mov"
        write(source, silent, whole)
    refusal = "without sound: {} cannot hold the sound of the source (pcm_mulaw); choose a name that ends in .mov"
    assert sorted(said) == [f"{silent}: {refusal.format('mp4')}", f"{raw}: {refusal.format('matroska')}"]
    assert [len(pictures_of(path)) for path in (raw, silent, whole)] == [20, 20, 20]
    sounds = [b"".join(data for _, data in sound_of(path)) for path in (raw, silent, whole, film)]
    assert sounds[:2] == [b"", b""]
    assert sounds[2] == sounds[3] != b""


def test_sound_alone_does_not_keep_a_source_that_shows_nothing(tmp_path: Path) -> None:
    stream = encoded(5, sound=AAC, sound_frames=500)
    with (
        serving(in_time(stream, 20.0)) as port,
        Capture(parse_uri(address(port)), say=(said := []).append, patience=replace(HASTE, frame=1.0)) as source,
    ):
        frames = iter(source)
        until(lambda: next(frames) and said)
    assert "brought no frame for 1 s; trying again" in said[0]


def packet(number: int, track: int = 0) -> SoundPacket:
    """Of 20 ms."""
    return SoundPacket(track, bytes([number % 256]), 160 * number, 160 * number, 160, Fraction(1, 8000))


def test_every_file_takes_the_sound_at_its_own_pace() -> None:
    log = SoundLog()
    for number in range(10):
        log.add(packet(number))
    taken, after = log.take(0, 0.1)
    assert ([p.dts // 160 for p in taken], after) == ([0, 1, 2, 3, 4], 5)
    assert log.take(after, 0.1) == ([], 5)
    assert [p.dts // 160 for p in log.take(8, 1.0)[0]] == [8, 9]
    for number in range(10, LONGEST + 5):
        log.add(packet(number))
    late, after = log.take(2, 1e9)
    assert (late[0].dts // 160, len(late), after) == (5, LONGEST, LONGEST + 5)


def test_sound_is_heard_at_the_time_of_its_pictures_or_not_at_all() -> None:
    now, clock = time.monotonic(), _Clock()
    assert clock.timed(packet(0), live=False) == packet(0)
    assert clock.timed(packet(0), live=True) is None, "before the first picture"
    clock.times(Delivered(0, 90_000 * 7, Fraction(1, 90_000), 0.0, now, 0), live=True)
    timed = clock.timed(packet(350 + 5), live=True)  # 7.1 seconds of the source's clock
    assert timed is not None
    assert timed.seconds == pytest.approx(0.1)
    assert clock.timed(packet(350 + 500), live=True) is None, "10 s ahead of what arrives"
    clock.start_life()
    assert clock.timed(packet(355), live=True) is None, "of a clock that is not known yet"
