"""A video goes through with its times, its sound and its colours, or leaves nothing half-done."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.error import FFmpegError

from fsr.runtime.errors import InputError, OutputError, UsageError
from fsr.runtime.media.network import NetworkStream
from fsr.runtime.media.test_scene import TestScene
from fsr.runtime.media.uri import parse_uri
from fsr.runtime.media.video import VideoFrame, VideoReader, VideoWriter, is_video
from fsr.runtime.pixels import RgbImage

NTSC = Fraction(30000, 1001)
NINE_TILES = np.ones((8, 8, 1), np.uint8)
SIZE = (96, 64)
FRAMES = 45


def pattern(index: int, size_wh: tuple[int, int] = SIZE) -> RgbImage:
    """A bright square that moves 2 px a frame over four coloured quarters, none like another."""
    width, height = size_wh
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (200, 60, 40)
    picture[: height // 2, width // 2 :] = (50, 180, 70)
    picture[height // 2 :, : width // 2] = (40, 70, 190)
    picture[height // 2 :, width // 2 :] = (190, 180, 60)
    left = 2 * index % (width - 8)
    picture[height // 2 - 4 : height // 2 + 4, left : left + 8] = 250
    return picture


def sine(start: int, samples: int, rate: int = 48_000) -> np.ndarray:
    """(1, samples) float32: a tone of 440 Hz."""
    return (0.4 * np.sin(2 * np.pi * 440 * (start + np.arange(samples)) / rate)).astype(np.float32)[None]


def make_video(
    path: Path,
    *,
    size_wh: tuple[int, int] = SIZE,
    pts: Sequence[int] = range(FRAMES),
    time_base: Fraction = 1 / NTSC,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    sound: str | None = "aac",
    sound_seconds: float = 1.5,
    options: dict[str, str] | None = None,
    matrix: int | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A video made by PyAV alone, with nothing of this package."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        video = container.add_stream(codec, rate=NTSC, options=options or {"crf": "12"})
        assert video.type == "video"
        video.width, video.height = size_wh
        video.pix_fmt = pixel_format
        video.codec_context.time_base = time_base
        if matrix is not None:
            video.codec_context.colorspace, video.codec_context.color_range = matrix, 1
        audio = container.add_stream(sound, rate=48_000) if sound else None
        for index, time in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(pattern(index, size_wh), "rgb24")
            if pixel_format != "rgb24":
                sws = 1 if matrix == 1 or (matrix is None and size_wh[0] >= 1280) else 5
                frame = frame.reformat(
                    format=pixel_format, src_colorspace=sws, dst_colorspace=sws, src_color_range=2, dst_color_range=1
                )
            frame.pts, frame.time_base = time, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            assert audio.type == "audio"
            for start in range(0, int(sound_seconds * 48_000), 1024):
                samples = sine(start, 1024)
                if sound == "pcm_mulaw":
                    tone = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16), "s16", "mono")
                else:
                    tone = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
                tone.sample_rate, tone.pts, tone.time_base = 48_000, start, Fraction(1, 48_000)
                container.mux(audio.encode(tone))
            container.mux(audio.encode(None))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 frames at 30000/1001 with 1.5 s of sound; to be read, never changed."""
    return make_video(tmp_path_factory.mktemp("video") / "source.mp4")


def copy(source: Path, final: Path, **options: object) -> Path:
    with VideoReader(source) as reader, VideoWriter(final, reader.size_wh, reader, **options) as writer:  # pyright: ignore
        for frame in reader:
            writer.write(frame.pixels, frame)
    return final


def times(path: Path) -> list[Fraction]:
    """Of every frame in seconds, exactly, as another program sees them."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]  # pyright: ignore


def sound_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.stream.type == "audio"]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets if packet.pts is not None]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b).mean())


# Reading


def test_frames_come_in_order_with_their_times(video: Path) -> None:
    with VideoReader(video) as reader:
        assert (reader.size_wh, reader.rate, reader.frames) == (SIZE, NTSC, FRAMES)
        frames = list(reader)
    assert len(frames) == FRAMES
    for index, frame in enumerate(frames):
        assert frame.pts * frame.time_base == index / NTSC
        assert frame.seconds == pytest.approx(index / NTSC)
        assert distance(frame.pixels, pattern(index)) < 4  # of the frame beside it: above 5
    pixels = frames[3].pixels
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous and pixels.flags.writeable


def test_every_frame_has_pixels_of_its_own(video: Path) -> None:
    with VideoReader(video) as reader:
        frames = iter(reader)
        first = next(frames)
        kept = first.pixels.copy()
        for _ in range(5):
            next(frames)
        np.testing.assert_array_equal(first.pixels, kept)


TURNS = {  # display matrix a, b, c, d: the picture as it is to be shown
    (1, 0, 0, 1): lambda stored: stored,
    (0, -1, 1, 0): np.rot90,
    (-1, 0, 0, -1): lambda stored: np.rot90(stored, 2),
    (0, 1, -1, 0): lambda stored: np.rot90(stored, -1),
    (-1, 0, 0, 1): lambda stored: stored[:, ::-1],
    (1, 0, 0, -1): lambda stored: stored[::-1],
    (0, 1, 1, 0): lambda stored: stored.swapaxes(0, 1),
    (0, -1, -1, 0): lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
}


def turned_video(path: Path, matrix: Sequence[float]) -> Path:
    """A phone's video: upright by the track's matrix alone (ISO 14496-12, 8.3.2)."""
    data = bytearray(make_video(path, pts=range(3), sound=None).read_bytes())
    a, b, c, d = (round(65536 * value) for value in matrix)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("matrix", TURNS)
def test_a_turned_video_comes_upright(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path, expected = turned_video(tmp_path / "a.mp4", matrix), TURNS[matrix](pattern(0))
    with VideoReader(path) as reader:
        pixels = next(iter(reader)).pixels
        assert reader.size_wh == pixels.shape[1::-1] == expected.shape[1::-1]
    assert distance(pixels, expected) < 4
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("quarters", range(4))
def test_turns_are_those_of_ffmpeg(tmp_path: Path, quarters: int) -> None:
    matrix = list(TURNS)[quarters]
    with av.open(str(turned_video(tmp_path / "a.mp4", matrix))) as container:
        counterclockwise = next(container.decode(video=0)).rotation
    np.testing.assert_array_equal(TURNS[matrix](pattern(0)), np.rot90(pattern(0), counterclockwise // 90))


@pytest.mark.parametrize("matrix", [(0.99, 0.1, -0.1, 0.99), (1, 0, 1, 0), (0, 0, 0, 0)])
def test_a_matrix_that_is_no_turn_is_the_nearest_or_none(tmp_path: Path, matrix: Sequence[float]) -> None:
    with VideoReader(turned_video(tmp_path / "a.mp4", matrix)) as reader:
        assert distance(next(iter(reader)).pixels, pattern(0)) < 4


def test_an_upright_copy_is_not_turned_again(tmp_path: Path) -> None:
    source = turned_video(tmp_path / "a.mp4", (0, -1, 1, 0))
    with VideoReader(copy(source, tmp_path / "b.mp4")) as reader:
        assert reader.size_wh == (64, 96)
        assert distance(next(iter(reader)).pixels, np.rot90(pattern(0))) < 5


@pytest.mark.parametrize(
    ("codec", "pixel_format", "options"),
    [
        ("libx264", "yuv420p10le", {"crf": "8"}),
        ("libx264", "yuv444p", {"crf": "8"}),
        ("libx264rgb", "rgb24", {"crf": "8"}),
        ("mpeg4", "yuv420p", {"b": "8000000"}),
    ],
)
def test_every_depth_and_layout_comes_as_rgb(
    tmp_path: Path, codec: str, pixel_format: str, options: dict[str, str]
) -> None:
    path = make_video(tmp_path / "a.mkv", codec=codec, pixel_format=pixel_format, options=options, pts=range(4))
    with VideoReader(path) as reader:
        assert distance(next(iter(reader)).pixels, pattern(0)) < 4


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts"])
def test_every_container_keeps_rate_count_and_sound(tmp_path: Path, suffix: str) -> None:
    source = make_video(tmp_path / f"a{suffix}")
    written = copy(source, tmp_path / "b.mp4")
    got = times(written)
    assert len(got) == FRAMES
    assert got[-1] - got[0] == pytest.approx(float((FRAMES - 1) / NTSC), abs=0.001)
    assert all(abs(late - early - 1 / NTSC) < 0.001 for early, late in pairwise(got))
    assert len(sound_packets(written)) == len(sound_packets(source))


def test_pictures_that_an_avi_leaves_out_leave_a_gap(tmp_path: Path) -> None:
    """They are stored as empty chunks, and counted in its header."""
    shown = [*range(6), *range(20, 30), 33, 34]
    video = make_video(tmp_path / "a.avi", pts=shown, codec="mpeg4", options={"bf": "0"}, sound=None)
    with VideoReader(video) as reader:
        frames = list(reader)
        assert reader.frames == 35 and reader.start == 0
    assert [frame.pts * frame.time_base for frame in frames] == [each / NTSC for each in shown]
    assert all(distance(frame.pixels, pattern(index)) < 20 for index, frame in enumerate(frames))


@pytest.mark.parametrize("suffix", [".avi", ".wmv"])
def test_frames_come_in_order_out_of_containers_without_times_of_display(tmp_path: Path, suffix: str) -> None:
    """With B-frames, which libx264 makes of what moves, they would come at each other's times."""
    scene = list(TestScene(faces=2, size_wh=(192, 128), seconds=1, crf=0).frames())
    with VideoWriter(tmp_path / f"a{suffix}", (192, 128), None, Fraction(30)) as writer:
        for number, pixels in enumerate(scene):
            writer.write(pixels, VideoFrame(pixels, number, Fraction(1, 30), number / 30))
    got = times(tmp_path / f"a{suffix}")
    assert len(got) == 30
    steady = pairwise(map(float, got[:-1]))  # of the last one the decoder guesses
    assert all(late - early == pytest.approx(1 / 30, abs=0.002) for early, late in steady)


@pytest.mark.parametrize("name", ["12:30 名前.mp4", "concat:a.mp4", "%03d.mp4", "-i.mp4"])
def test_a_name_is_a_file_whatever_ffmpeg_reads_in_it(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(video.read_bytes())
    (tmp_path / "out").mkdir()
    assert times(copy(Path(name), Path("out") / name).absolute()) == times(video)


def test_a_closed_reader_has_nothing_more(video: Path) -> None:
    with VideoReader(video) as reader:
        frames = iter(reader)
        next(frames)
    assert list(frames) == []
    reader.close()


def test_suffixes() -> None:
    assert is_video(Path("A.MP4")) and is_video(Path("b.mkv"))
    assert not is_video(Path("a.jpg")) and not is_video(Path("mp4"))


# Writing


def test_times_are_kept_exactly(tmp_path: Path, video: Path) -> None:
    written = copy(video, tmp_path / "b.mp4")
    assert times(written) == times(video) == [index / NTSC for index in range(FRAMES)]
    with VideoReader(written) as reader:
        assert reader.rate == NTSC


def test_a_last_frame_that_begins_another_second_is_shown(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", pts=range(31), sound=None)
    assert times(copy(source, tmp_path / "b.mp4")) == times(source) and len(times(source)) == 31


def test_a_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    pts = [0, 40, 45, 120, 500, 501, 777, 1500]
    source = make_video(tmp_path / "a.mkv", pts=pts, time_base=Fraction(1, 1000), sound=None)
    assert times(copy(source, tmp_path / "b.mp4")) == [Fraction(time, 1000) for time in pts]


def test_a_late_start_is_kept(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mkv", pts=range(500, 600, 33), time_base=Fraction(1, 1000))
    written = copy(source, tmp_path / "b.mp4")
    assert times(written)[0] == Fraction(1, 2)
    with VideoReader(written) as reader:
        assert next(iter(reader)).seconds == 0


def test_sound_is_copied_untouched(tmp_path: Path, video: Path) -> None:
    assert sound_packets(copy(video, tmp_path / "b.mp4")) == sound_packets(video) != []


@pytest.mark.parametrize("seconds", [0.3, 4.0])
def test_sound_may_be_shorter_or_longer_than_the_pictures(tmp_path: Path, seconds: float) -> None:
    source = make_video(tmp_path / "a.mp4", sound_seconds=seconds)
    written = copy(source, tmp_path / "b.mp4")
    assert sound_packets(written) == sound_packets(source)
    assert len(times(written)) == FRAMES


def test_sound_lies_beside_its_pictures_in_the_file(tmp_path: Path, video: Path) -> None:
    with av.open(str(copy(video, tmp_path / "b.mkv"))) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    assert "audio" in kinds[: len(kinds) // 4] and "video" in kinds[-len(kinds) // 4 :]


def test_a_silent_video_stays_silent(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", sound=None)
    assert sound_packets(copy(source, tmp_path / "b.mp4")) == []


def test_sound_that_mp4_cannot_hold_asks_for_another_format(tmp_path: Path, video: Path) -> None:
    source = make_video(tmp_path / "a.avi", sound="pcm_mulaw", pts=range(5))
    with pytest.raises(OutputError, match=r"mp4 cannot hold the sound of the source \(pcm_mulaw\); .* ends in \.mov"):
        copy(source, tmp_path / "b.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi"]
    with VideoReader(source) as reader:
        assert reader.suffix == ".mov"
    assert [data for _, data in sound_packets(copy(source, tmp_path / "b.mov"))] == [
        data for _, data in sound_packets(source)
    ]
    with VideoReader(video) as reader:
        assert reader.suffix == ".mp4"


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With AAC as broadcasts send it."""
    return make_video(tmp_path_factory.mktemp("broadcast") / "source.ts", pts=range(5), sound_seconds=0.2)


@pytest.mark.parametrize("suffix", [".m4v", ".3gp", ".mov"])
def test_the_sound_of_a_broadcast_goes_into_all_that_is_like_mp4(tmp_path: Path, broadcast: Path, suffix: str) -> None:
    sound = sound_packets(copy(broadcast, tmp_path / f"b{suffix}"))
    assert len(sound) == len(sound_packets(broadcast)) > 5


@pytest.mark.parametrize(("suffix", "name"), [(".avi", "avi"), (".wmv", "asf"), (".mpg", "mpeg")])
def test_what_cannot_hold_the_sound_of_a_broadcast_says_so(
    tmp_path: Path, broadcast: Path, suffix: str, name: str
) -> None:
    with pytest.raises(OutputError, match=rf"{name} cannot hold the sound of the source \(aac\); .* ends in \.mp4"):
        copy(broadcast, tmp_path / f"b{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size_wh", [(97, 65), (97, 64), (96, 65)])
def test_an_odd_side_is_filled_up_by_repetition(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    picture = pattern(0, size_wh)
    with VideoWriter(tmp_path / "a.mp4", size_wh, crf=8) as writer:
        for index in range(3):
            writer.write(picture, stamped(index))
    with VideoReader(tmp_path / "a.mp4") as reader:
        pixels = next(iter(reader)).pixels
    assert pixels.shape == (66 if size_wh[1] == 65 else 64, 98 if size_wh[0] == 97 else 96, 3)
    assert distance(pixels[: size_wh[1], : size_wh[0]], picture) < 4
    assert distance(pixels[-1:, :90], picture[-1:, :90]) < 4 and distance(pixels[:60, -1:], picture[:60, -1:]) < 4


@pytest.mark.parametrize("matrix", [1, 6, None])
@pytest.mark.parametrize("size_wh", [(96, 64), (1280, 64)])
def test_flat_colours_do_not_shift(tmp_path: Path, matrix: int | None, size_wh: tuple[int, int]) -> None:
    guess = 1 if size_wh[0] == 1280 else 6
    source = make_video(tmp_path / "a.mp4", matrix=matrix, size_wh=size_wh, pts=range(3), sound=None)
    written = copy(source, tmp_path / "b.mp4", crf=10)
    expected = pattern(0, size_wh)
    for path in (source, written):
        with VideoReader(path) as reader:
            assert reader.colours.matrix == (matrix or guess)
            pixels = next(iter(reader)).pixels
        for x in (0.25, 0.75):  # the other matrix would shift them by 10
            for y in (0.25, 0.75):
                patch = np.s_[int(y * 64) - 4 : int(y * 64) + 4, int(x * size_wh[0]) - 4 : int(x * size_wh[0]) + 4]
                shift = np.abs(pixels[patch].reshape(-1, 3).mean(0) - expected[patch].reshape(-1, 3).mean(0))
                assert shift.max() < 3


def test_a_full_range_source_keeps_its_colours(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        assert stream.type == "video"
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p"
        frame = av.VideoFrame.from_ndarray(pattern(0), "rgb24").reformat(
            format="yuvj420p", src_color_range=2, dst_color_range=2, src_colorspace=5, dst_colorspace=5
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(copy(tmp_path / "a.mkv", tmp_path / "b.mp4", crf=8)) as reader:
        assert distance(next(iter(reader)).pixels[:20], pattern(0)[:20]) < 4
        assert not reader.colours.is_full


def stamped(index: int, rate: int = 25) -> VideoFrame:
    return VideoFrame(pattern(index), index, Fraction(1, rate), index / rate)


def test_a_video_without_a_source_keeps_the_times_of_its_frames(tmp_path: Path) -> None:
    pts = [0, 3000, 3100, 9000]
    with VideoWriter(tmp_path / "a.mp4", SIZE, rate=Fraction(30)) as writer:
        for index, time in enumerate(pts):
            writer.write(pattern(index), VideoFrame(pattern(index), time, Fraction(1, 90_000), time / 90_000))
    assert times(tmp_path / "a.mp4") == [Fraction(time, 90_000) for time in pts]


def test_two_frames_at_one_time_do_not_stop_the_encoder(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", SIZE) as writer:
        for time in (0, 1, 1, 0, 5):
            writer.write(pattern(time), stamped(time))
    got = times(tmp_path / "a.mp4")
    assert len(got) == 5 and got == sorted(set(got)) and got[-1] == Fraction(5, 25)


def test_the_preset_is_chosen_by_the_caller(tmp_path: Path, video: Path) -> None:
    copy(video, tmp_path / "fast.mp4", preset="ultrafast", crf=18)
    copy(video, tmp_path / "small.mp4", preset="veryfast", crf=40)
    pictures = [(tmp_path / name).read_bytes() for name in ("fast.mp4", "small.mp4")]
    assert [b"crf=18.0" in data for data in pictures] == [True, False]
    assert [b"cabac=0" in data for data in pictures] == [True, False]  # ultrafast goes without


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"got \(10, 8\), expected \(96, 64\)"),
        VideoWriter(tmp_path / "a.mp4", SIZE) as writer,
    ):
        writer.write(np.zeros((8, 10, 3), np.uint8), stamped(0))
    assert list(tmp_path.iterdir()) == []


# Interruption and faults


def test_ctrl_c_keeps_what_was_written(tmp_path: Path, video: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        VideoReader(video) as reader,
        VideoWriter(tmp_path / "b.mp4", SIZE, reader) as writer,
    ):
        for index, frame in enumerate(reader):
            if index == 30:
                raise KeyboardInterrupt
            writer.write(frame.pixels, frame)
    assert [path.name for path in tmp_path.iterdir()] == ["b.mp4"]
    assert times(tmp_path / "b.mp4") == [index / NTSC for index in range(30)]
    assert sound_packets(tmp_path / "b.mp4") == sound_packets(video)[: len(sound_packets(tmp_path / "b.mp4"))]
    assert 0.9 < sound_packets(tmp_path / "b.mp4")[-1][0] < 1.0


@pytest.mark.parametrize(("task", "call", "kept"), [("_encode", 30, 30), ("_finish", 1, 31)])
def test_an_impatient_ctrl_c_keeps_what_was_written(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch, task: str, call: int, kept: int
) -> None:
    """The second one, which the encoder's thread cannot be stopped by."""
    usual, calls = getattr(VideoWriter, task), count(1)

    def interrupted(*given: Any, **named: Any) -> None:
        if next(calls) == call:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.02)  # while the main thread waits for this one
        usual(*given, **named)

    monkeypatch.setattr(VideoWriter, task, interrupted)
    with (
        pytest.raises(KeyboardInterrupt),
        VideoReader(video) as reader,
        VideoWriter(tmp_path / "b.mp4", SIZE, reader) as writer,
    ):
        for index, frame in enumerate(reader):
            writer.write(frame.pixels, frame)
            if index == 30:
                raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["b.mp4"]
    assert times(tmp_path / "b.mp4") == [index / NTSC for index in range(kept)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_before_the_first_frame_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "b.mp4", SIZE):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_nothing_and_an_older_file_alone(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").write_bytes(b"older")
    with pytest.raises(InputError, match="half-way"), VideoWriter(tmp_path / "b.mp4", SIZE) as writer:
        writer.write(pattern(0), stamped(0))
        raise InputError("half-way")
    assert [path.name for path in tmp_path.iterdir()] == ["b.mp4"]
    assert (tmp_path / "b.mp4").read_bytes() == b"older"


def test_no_frame_is_no_video(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"b\.mp4: got no frame, expected at least one"),
        VideoWriter(tmp_path / "b.mp4", SIZE),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_codec_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"cannot be encoded as 'nonsense'.*; name the output"),
        VideoWriter(tmp_path / "b.mp4", SIZE, codec="nonsense"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), VideoWriter(tmp_path / "file" / "b.mp4", SIZE):
        pass


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files of at most 100 kB: as a full disk, writing fails in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_of_a_full_disk_what_was_written_plays(tmp_path: Path, rng: np.random.Generator, suffix: str) -> None:
    with (
        pytest.raises(
            OutputError, match=rf"b\{suffix}: cannot be written: .*File too large; its first \d+ frames are there and"
        ) as caught,
        VideoWriter(tmp_path / f"b{suffix}", SIZE, codec="libx264") as writer,
    ):
        for index in range(400):
            writer.write(np.kron(rng.integers(0, 256, (8, 12, 3), np.uint8), NINE_TILES), stamped(index))
    assert [path.name for path in tmp_path.iterdir()] == [f"b{suffix}"]
    announced = int(str(caught.value).split("first ")[1].split()[0])
    played = decoded_frames(tmp_path / f"b{suffix}")
    assert 20 < announced < writer.frames and abs(played - announced) <= 1


def test_a_disk_full_from_the_start_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with (
            pytest.raises(OutputError, match=r"b\.mp4: cannot be written: .*File too large; nothing was left"),
            VideoWriter(tmp_path / "b.mp4", SIZE) as writer,
        ):
            writer.write(pattern(0), stamped(0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_for_another_file_of_the_run_finishes_this_one(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="another"), VideoWriter(tmp_path / "b.mp4", SIZE) as writer:
        for index in range(5):
            writer.write(pattern(index), stamped(index))
        raise OutputError("another file: disk full")
    assert len(times(tmp_path / "b.mp4")) == 5


def test_a_killed_writer_leaves_a_file_that_plays(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from fsr.runtime.media.video import VideoFrame, VideoWriter
grey = np.full((64, 96, 3), 99, np.uint8)
with VideoWriter(Path(sys.argv[1]), (96, 64), codec="libx264") as writer:
    for number in range(200):
        writer.write(grey, VideoFrame(grey, number, Fraction(1, 25), number / 25))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "b.mp4")], check=False)
    (temporary,) = tmp_path.iterdir()
    assert temporary.name.startswith(".b.") and decoded_frames(temporary) > 100


def decoded_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        count = 0
        for packet in container.demux(video=0):
            with suppress(FFmpegError):
                count += len(packet.decode())
        return count


def test_a_finished_video_is_an_ordinary_one(tmp_path: Path, video: Path) -> None:
    data = copy(video, tmp_path / "b.mp4").read_bytes()
    boxes, position = [], 0
    while position < len(data):
        boxes.append(data[position + 4 : position + 8])
        position += int.from_bytes(data[position : position + 4], "big")
    assert boxes == [b"ftyp", b"free", b"mdat", b"moov"], "no fragment is left that a player would see"


def test_one_sentence_for_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video, " * 100)
    (tmp_path / "folder.mp4").mkdir()
    make_sound(tmp_path / "song.mp4")
    for name, reason in (
        ("empty.mp4", "Invalid data found"),
        ("text.mp4", "Invalid data found"),
        ("folder.mp4", "Is a directory"),
        ("gone.mp4", "No such file or directory"),
        ("song.mp4", "holds no video that can be decoded, expected one"),
    ):
        with pytest.raises(InputError, match=rf"{name}: .*{reason}"):
            VideoReader(tmp_path / name)


def make_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=48_000)
        assert audio.type == "audio"
        tone = av.AudioFrame.from_ndarray(sine(0, 4096), "fltp", "mono")
        tone.sample_rate = 48_000
        container.mux(audio.encode(tone))
        container.mux(audio.encode(None))


def test_a_video_cut_before_its_index_cannot_be_read(tmp_path: Path, video: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(video.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"a\.mp4: cannot be read as a video: Invalid data"):
        VideoReader(tmp_path / "a.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_of_a_truncated_video_what_was_decoded_is_kept_and_the_error_named(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else None
    whole = make_video(tmp_path / f"whole{suffix}", pts=range(150), sound_seconds=5, container_options=options)
    data = whole.read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(
        InputError, match=rf"cut{suffix}: is (damaged|truncated): .*; what could be read of it was used"
    ):
        copy(tmp_path / f"cut{suffix}", tmp_path / "out" / "b.mp4")
    assert 30 < len(times(tmp_path / "out" / "b.mp4")) < 130


class Pipe:
    """What cannot be gone back in: a recording's length is never written."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, part: bytes) -> int:
        self.data += part
        return len(part)


@pytest.fixture(scope="module")
def recording() -> bytes:
    """A Matroska file of 150 frames in five clusters or more that says nowhere how long it is."""
    pipe = Pipe()
    with av.open(pipe, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "15"})
        assert stream.type == "video"
        stream.width, stream.height = SIZE
        for index in range(150):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pattern(index), "rgb24")))
        container.mux(stream.encode(None))
    return bytes(pipe.data)


def without_lengths(recording: bytes) -> bytes:
    """As browsers record: clusters end where the next begins (RFC 8794, 6.2)."""
    cluster = b"\x1f\x43\xb6\x75"
    parts = recording.split(cluster)
    assert len(parts) > 5 and all(part[0] >> 6 == 1 for part in parts[1:]), "lengths of two bytes"
    return cluster.join([parts[0], *(b"\x7f\xff" + part[2:] for part in parts[1:])])


@pytest.mark.parametrize("change", [bytes, without_lengths])
@pytest.mark.parametrize("share", [0.4, 0.6, 0.99])
def test_a_recording_without_a_length_that_was_cut_off_is_truncated(
    tmp_path: Path, recording: bytes, change: Callable[[bytes], bytes], share: float
) -> None:
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    whole.write_bytes(change(recording))
    with VideoReader(whole) as reader:
        assert reader.frames is None and len(list(reader)) == 150
    cut.write_bytes(whole.read_bytes()[: int(len(recording) * share)])
    frames = []
    with (
        pytest.raises(InputError, match=r"cut\.mkv: is (truncated|damaged): .*; what could be read of it was used"),
        VideoReader(cut) as reader,
    ):
        frames.extend(reader)
    assert 10 < len(frames) <= 150


def test_a_cut_of_less_than_the_announced_second_is_noticed(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mkv", sound=None)
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(InputError, match="is truncated"), VideoReader(tmp_path / "cut.mkv") as reader:
        list(reader)


@pytest.mark.parametrize("missing", [1, 60])
def test_a_cut_through_the_table_of_an_mp4_is_noticed(tmp_path: Path, video: Path, missing: int) -> None:
    """FFmpeg reads the pictures all the same, and of the sound nothing where enough is missing."""
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:-missing])
    frames = []
    with pytest.raises(InputError, match="is truncated"), VideoReader(tmp_path / "cut.mp4") as reader:
        frames.extend(reader)
    assert len(frames) == FRAMES


def test_what_follows_an_mp4_and_is_no_part_of_it_is_no_damage(tmp_path: Path, video: Path) -> None:
    for tail in (b"\0" * 100, b"\1\2\3", b"\0\0\0\x08free", b"\0\0\0\0skip and more", bytes(range(1, 20))):
        (tmp_path / "a.mp4").write_bytes(video.read_bytes() + tail)
        with VideoReader(tmp_path / "a.mp4") as reader:
            assert len(list(reader)) == FRAMES


def test_damage_in_the_middle_leaves_frames_out_and_is_named(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mkv", codec="mjpeg", pixel_format="yuvj420p", options={}, sound=None)
    data = bytearray(source.read_bytes())
    start = data.index(b"\xff\xd8", len(data) // 2)
    end = data.index(b"\xff\xd9", start)
    data[start:end] = bytes(end - start)  # all of one frame: of a part, decoders guess the rest
    source.write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        copy(source, tmp_path / "b.mp4")
    got = times(tmp_path / "b.mp4")
    assert FRAMES - 3 <= len(got) < FRAMES and float(got[-1]) == pytest.approx((FRAMES - 1) / NTSC, abs=0.001)


def test_missing_pyav_says_how_to_get_it(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.runtime.media.pyav.find_spec", lambda name: None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "av"]:
        monkeypatch.setitem(sys.modules, name, None)
    for opened in (lambda: VideoReader(video), lambda: NetworkStream(parse_uri("rtsp://127.0.0.1:9/1"))):
        with pytest.raises(UsageError, match=r'pip install "fsr-edge\[video\]"'):
            opened()
    with pytest.raises(UsageError, match="PyAV"), VideoWriter(tmp_path / "a.mp4", SIZE):
        pass


def test_ffmpeg_says_nothing_by_itself(tmp_path: Path, video: Path, capfd: pytest.CaptureFixture[str]) -> None:
    copy(video, tmp_path / "b.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(InputError):
        VideoReader(tmp_path / "text.mp4")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", [0, 5])
def test_damage_that_the_decoder_covers_up_is_told(tmp_path: Path, number: int) -> None:
    source, rng = tmp_path / "a.mp4", np.random.default_rng(0)
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0"})
        assert video.type == "video"
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        for pts in range(12):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (96, 128, 3)).astype(np.uint8), "rgb24")
            frame.pts = pts
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux() if packet.size][number]
    data, middle = bytearray(source.read_bytes()), (packet.pos or 0) + packet.size // 2
    data[middle : middle + 40] = b"U" * 40
    source.write_bytes(data)
    with pytest.raises(InputError, match="some pictures lack parts"), VideoReader(source) as reader:
        assert len(list(reader)) == 12


@pytest.mark.parametrize("frames", range(30, 34))
def test_a_short_film_says_its_rate_and_shows_its_last_frame(tmp_path: Path, frames: int) -> None:
    """However many frames wait in the encoder at the end; of 30 and 31 one that is decoded before it is shown."""
    final = tmp_path / "a.mp4"
    with VideoWriter(final, (64, 48), None, Fraction(30)) as writer:
        for number in range(frames):
            pixels = np.full((48, 64, 3), 2 * number, np.uint8)
            writer.write(pixels, VideoFrame(pixels, 3000 * number, Fraction(1, 90_000), number / 30))
    assert times(final) == [Fraction(number, 30) for number in range(frames)]
    with av.open(str(final)) as container:
        assert container.streams.video[0].average_rate == 30
