"""A video becomes a restored video with its times and sound, whatever happens on the way."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from rich.console import Console
from run_fakes import FakeRestorer, add_tone, face, read_records

from fsr.runtime.cli import main
from fsr.runtime.errors import FsrError, InputError, OutputError, UsageError
from fsr.runtime.media.source import Source, VideoFrame
from fsr.runtime.media.uri import SourceUri
from fsr.runtime.media.video import VideoReader
from fsr.runtime.pixels import RgbImage
from fsr.runtime.runs.folder import Found
from fsr.runtime.runs.frame_work import FrameWork
from fsr.runtime.runs.records import PIXELS
from fsr.runtime.runs.stream import restore_stream
from fsr.runtime.runs.summary import Summary
from fsr.runtime.runs.video import restore_video, video_files
from fsr.runtime.runs.video_folder import restore_videos

av = pytest.importorskip("av", reason="videos need PyAV")

RUN: dict[str, Any] = {PIXELS: {}}
SIZE_WH = (64, 48)
RATE = Fraction(30000, 1001)
PATIENCE = 60.0
"""Seconds that a test waits for a program."""


def level(number: int) -> int:
    """Of the frame of that number: coarse enough to survive the codec."""
    return 40 + 20 * (number % 9)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """24 frames at 29.97 a second, each of another grey, and a tone."""
    return make_film(tmp_path / "film.mp4", 24)


def make_film(path: Path, frames: int, sound: bool = True) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "10", "g": "6"})
        video.width, video.height, video.pix_fmt = *SIZE_WH, "yuv420p"
        audio = container.add_stream("aac", rate=8000) if sound else None
        for number in range(frames):
            pixels = np.full((SIZE_WH[1], SIZE_WH[0], 3), level(number), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            add_tone(container, audio, int(frames / RATE * 8000))
    return path


def levels(path: Path) -> list[int]:
    """The grey of every frame: also the proof that a file plays."""
    with VideoReader(path) as reader:
        return [round(float(frame.pixels.mean())) for frame in reader]


def assert_levels(path: Path, numbers: list[int]) -> None:
    assert np.abs(np.array(levels(path)) - [level(number) for number in numbers]).max(initial=0) <= 4


def times(path: Path) -> list[float]:
    with VideoReader(path) as reader:
        return [frame.seconds for frame in reader]


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def restore(path: Path, output: Path, restorer: FakeRestorer | None = None, **options: Any) -> Summary:
    """As `fsr-run` does, with the stand-in."""
    files = video_files(path.stem, ".mp4", output, options.pop("compare", False))
    work = FrameWork(restorer or FakeRestorer(face()), 2)
    with closing(VideoReader(path)) as reader:
        return restore_video(reader, work, files, Console(quiet=True), run=RUN, **{"workers": 2, **options})


def test_frames_times_and_sound_are_kept(film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = restore(film, out)
    video = out / "restored/film.mp4"
    assert_levels(video, list(range(24)))
    assert times(video) == pytest.approx(times(film), abs=1e-4)
    assert sound_packets(video) == sound_packets(film) != []
    with VideoReader(video) as reader:
        assert (reader.size_wh, reader.rate) == ((128, 96), RATE)
    assert (summary.done, summary.exit_code, summary.faces) == (24, 0, {"restored by tiny": 24})
    assert sorted(path.name for path in out.iterdir()) == ["film.frames.jsonl", "restored"]


def test_every_frame_has_its_line(film: Path, tmp_path: Path) -> None:
    restore(film, tmp_path / "out")
    header, records = read_records(tmp_path / "out/film.frames.jsonl")
    assert header == {**RUN, "named": {"restored/film.mp4": [0, 0]}}
    assert [record["frame"] for record in records] == list(range(24))
    assert records[23]["seconds"] == pytest.approx(23 / RATE, abs=1e-3)
    assert records[0]["faces"][0]["model"] == "tiny" and records[0]["milliseconds"]["detect"] == 1.235


def test_compare_is_a_second_video(film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"

    class Whitener(FakeRestorer):
        def __call__(self, frame: RgbImage):
            made = super().__call__(frame)
            made.image[:] = 250
            return made

    restore(film, out, Whitener(), compare=True)
    assert min(levels(out)) > 240
    with VideoReader(tmp_path / "out.compare.mp4") as reader:
        width, height = reader.size_wh
        assert width == 256 and height > 96
        first: NDArray[np.uint8] = next(iter(reader)).pixels
        bar = height - 96
        assert abs(first[bar:, :120].mean() - level(0)) < 5 and first[bar:, 136:].mean() > 240


def test_a_frame_that_fails_is_enlarged_and_named(film: Path, tmp_path: Path) -> None:
    def before(frame: RgbImage) -> None:
        if abs(float(frame.mean()) - level(2)) < 4:
            raise ValueError("a bug")

    out = tmp_path / "out.mp4"
    summary = restore(film, out, FakeRestorer(face(), before=before))
    assert_levels(out, list(range(24)))
    assert list(summary.failed) == ["frame 2", "frame 11", "frame 20"] and summary.exit_code == 1
    assert "ValueError: a bug (test_video_run.py, line " in summary.failed["frame 2"]
    assert "error" in read_records(tmp_path / "out.frames.jsonl")[1][2]


def test_a_damaged_end_keeps_what_came_before(film: Path, tmp_path: Path) -> None:
    """Matroska: the table of an MP4 is at its end, and without it nothing can be read."""
    long = make_film(tmp_path / "long.mkv", 120, sound=False)
    whole = long.read_bytes()
    long.write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out.mp4"
    summary = restore(long, out)
    assert summary.cut is not None and "long.mkv" in summary.cut and summary.exit_code == 1
    assert "ended early" in summary.sentence()
    assert 10 < summary.done < 110
    assert_levels(out, list(range(summary.done)))


def test_ctrl_c_in_the_middle_leaves_a_video_that_plays(film: Path, tmp_path: Path) -> None:
    def before(frame: RgbImage) -> None:
        if abs(float(frame.mean()) - level(8)) < 4:
            signal.raise_signal(signal.SIGINT)

    out = tmp_path / "out.mp4"
    handler = signal.getsignal(signal.SIGINT)
    summary = restore(film, out, FakeRestorer(face(), before=before), workers=1)
    assert summary.stopped and summary.exit_code == 130
    assert 9 <= summary.done <= 13, "what was under way, no more"
    assert_levels(out, list(range(summary.done)))
    assert 0 < len(sound_packets(out)) < len(sound_packets(film))
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_output_that_cannot_be_written_is_a_sentence(film: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        restore(film, tmp_path / "file" / "out.mp4")


def test_too_large_once_enlarged_is_a_sentence(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.runtime.runs.picture_work.MAX_ENLARGED", 100)
    with pytest.raises(InputError, match=r"64 x 48.*smaller --scale"):
        restore(film, tmp_path / "out.mp4")


# Files


def test_a_folder_or_a_name_can_be_given(tmp_path: Path) -> None:
    into = video_files("a", ".mkv", tmp_path / "out", compare=True)
    assert into.video == tmp_path / "out/restored/a.mkv" and into.compare == tmp_path / "out/compare/a.mkv"
    assert into.records == tmp_path / "out/a.frames.jsonl"
    named = video_files("a", ".mkv", tmp_path / "b.mp4", compare=True)
    assert named.video == tmp_path / "b.mp4" and named.compare == tmp_path / "b.compare.mp4"
    assert video_files("a", ".mp4", tmp_path / "b.mp4").compare is None


def test_the_input_is_never_written_over(film: Path) -> None:
    before = film.read_bytes()
    for output in (film, film.parent / "sub" / ".." / film.name):
        with pytest.raises(UsageError, match="the input itself"):
            video_files("film", ".mp4", output).require_apart(film)
    same = film.with_name("FILM.mp4")  # as a disk has it where case does not count
    same.hardlink_to(film)
    with pytest.raises(UsageError, match="the input itself"):
        video_files("film", ".mp4", same).require_apart(film)
    result = CliRunner().invoke(main, ["-i", str(film), "-o", str(film)])
    assert result.exit_code == 2 and "the input itself" in result.stderr
    assert film.read_bytes() == before


@pytest.mark.parametrize(
    ("folder", "arguments"),
    [
        ("d.mp4", ["-i", "film.mp4", "-o", "d.mp4"]),
        ("d.mp4", ["-i", "film.mp4", "-o", "d.mp4", "--resume"]),
        ("d.compare.mp4", ["-i", "film.mp4", "-o", "d.mp4", "--compare"]),
        ("d.frames.jsonl", ["-i", "film.mp4", "-o", "d.mp4"]),
        ("d/restored/film.mp4", ["-i", "film.mp4", "-o", "d"]),
        ("d.mp4", ["-i", "test://?seconds=1", "-o", "d.mp4"]),
        ("raw.mkv", ["-i", "test://?seconds=1", "-o", "d.mp4", "--record", "raw.mkv"]),
        ("d.json", ["--bench", "-o", "d.json"]),
    ],
)
def test_a_folder_where_a_file_belongs_is_refused_before_any_work(
    film: Path, monkeypatch: pytest.MonkeyPatch, folder: str, arguments: list[str]
) -> None:
    monkeypatch.chdir(film.parent)
    monkeypatch.setattr("fsr.runtime.runs.run.Restorer.open", lambda *_, **__: pytest.fail("models were opened"))
    Path(folder).mkdir(parents=True)
    before = sorted(Path().rglob("*"))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1, result.output
    assert f"{folder}: got a folder, expected the name of a file" in result.stderr.replace("\\", "/")
    assert sorted(Path().rglob("*")) == before


# A folder


def test_a_video_that_cannot_be_written_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    errors: list[FsrError | None] = [OutputError("a.mp4: refused"), UsageError("b.mp4: of another encoder"), None]

    def one(path: Path, name: str) -> Summary:
        if error := errors.pop(0):
            raise error
        return Summary("frame", None, None, done=3)

    found = Found([], Counter(), [tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")])
    summary = restore_videos(found, tmp_path, tmp_path / "out", one, lambda _: None)
    assert summary.failed == {"a": "a.mp4: refused", "b": "b.mp4: of another encoder"} and summary.done == 1


def test_a_full_disk_ends_a_folder_of_videos(tmp_path: Path) -> None:
    def one(path: Path, name: str) -> Summary:
        raise OutputError("full") from OSError(errno.ENOSPC, "full")

    with pytest.raises(OutputError, match="full"):
        restore_videos(Found([], Counter(), [tmp_path / "a.mp4"]), tmp_path, tmp_path / "out", one, lambda _: None)


# Any source, any sink


class Endless(Source):
    """A camera's stand-in: grey frames without an end."""

    size_wh, rate = SIZE_WH, Fraction(30)

    def __init__(self) -> None:
        self.open = True

    def __iter__(self) -> Iterator[VideoFrame]:
        number = 0
        while True:
            pixels = np.full((SIZE_WH[1], SIZE_WH[0], 3), level(number), np.uint8)
            yield VideoFrame(pixels, number, Fraction(1, 30), number / 30)
            number += 1

    def close(self) -> None:
        self.open = False


class WatchedSink:
    """Wants `wanted` frames and remembers how it ended."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.shown, self.ended_by = wanted, [], "nothing"

    def __enter__(self):
        return self.show

    def __exit__(self, kind, error, trace) -> None:
        self.ended_by = kind

    def show(self, result) -> bool:
        self.shown.append(round(float(result.restored.image.mean())))
        return len(self.shown) < self.wanted


def stream(source: Source, sink: WatchedSink, restorer: FakeRestorer | None = None) -> Summary:
    work = FrameWork(restorer or FakeRestorer(), 2)
    return restore_stream(source, work, [sink], Summary("frame", None, None), Console(quiet=True), workers=2)


@pytest.mark.parametrize(("live", "code", "ended_by"), [(True, 0, None), (False, 130, KeyboardInterrupt)])
def test_a_closed_window_ends_the_run_and_a_file_is_not_whole_then(
    monkeypatch: pytest.MonkeyPatch, live: bool, code: int, ended_by: type[BaseException] | None
) -> None:
    monkeypatch.setattr(Endless, "live", live)
    source, sink = Endless(), WatchedSink(wanted=5)
    summary = stream(source, sink)
    assert sink.shown == [level(number) for number in range(5)]
    assert (summary.done, summary.exit_code, sink.ended_by) == (5, code, ended_by)
    assert ("stopped before the end" in summary.sentence()) != live and not summary.whole and not source.open


def test_ctrl_c_reaches_the_sink_once_all_is_shown() -> None:
    sink = WatchedSink(wanted=10**9)
    calls = iter(range(10**9))

    def before(_: RgbImage) -> None:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)

    summary = stream(Endless(), sink, FakeRestorer(before=before))
    assert sink.ended_by is KeyboardInterrupt and summary.stopped
    assert sink.shown == [level(number) for number in range(summary.done)] and 4 <= summary.done <= 12


def test_an_error_of_a_sink_reaches_everyone() -> None:
    class Full(WatchedSink):
        def show(self, result) -> bool:
            raise OutputError("disk full")

    source, sink, threads = Endless(), Full(1), threading.active_count()
    with pytest.raises(OutputError, match="disk full") as caught:
        stream(source, sink)
    assert caught.value.__traceback__, "which keeps what it has passed from being collected"
    assert threading.active_count() == threads
    assert sink.ended_by is OutputError and not source.open


# Cameras


class FakeCamera(Endless):
    """Twelve frames, then unplugged."""

    live = True

    def __init__(self, uri: SourceUri, **_: Any) -> None:
        super().__init__()
        self.index = uri.number

    def __iter__(self) -> Iterator[VideoFrame]:
        yield from islice(super().__iter__(), 12)
        self.failure = InputError(f"camera {self.index}: stopped delivering frames; check its cable")


class FakeWindow:
    """Is closed after three frames."""

    shapes: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self, *_) -> None: ...
    def __enter__(self):
        return self

    def __exit__(self, *_) -> None: ...
    def show(self, frame: RgbImage) -> bool:
        self.shapes.append(frame.shape)
        return len(self.shapes) < 3


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Camera 3 and no screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fsr.runtime.media.capture.Capture", FakeCamera)
    monkeypatch.setattr("fsr.runtime.media.window.has_display", lambda: (False, "there is no screen"))


@pytest.mark.usefixtures("camera")
@pytest.mark.parametrize("source", [["--camera", "3"], ["-i", "3"]])
def test_a_camera_without_a_screen_goes_into_a_video(source: list[str]) -> None:
    result = CliRunner().invoke(main, [*source, "--scale", "1"])
    assert "no window: there is no screen" in result.stderr
    assert "ended early: camera 3: stopped delivering" in result.stderr and result.exit_code == 1
    assert result.stdout == "fsr-out\n"
    (video,) = Path("fsr-out/restored").glob("camera-3-*.mp4")
    assert_levels(video, list(range(12)))


@pytest.mark.usefixtures("camera")
def test_a_camera_is_shown_where_there_is_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.runtime.media.window.has_display", lambda: (True, "on :0"))
    monkeypatch.setattr("fsr.runtime.runs.live.Window", FakeWindow)
    FakeWindow.shapes.clear()
    result = CliRunner().invoke(main, ["--camera", "3", "--compare"])
    assert result.exit_code == 0, result.output
    assert len(FakeWindow.shapes) == 3 and FakeWindow.shapes[0][1] == 4 * SIZE_WH[0]
    assert result.stdout == "" and not list(Path().iterdir())
    assert "3 frames done" in result.stderr


@pytest.mark.usefixtures("camera")
def test_the_crops_of_each_session_have_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def into_crops(folder: Path, first: int) -> Any:
        seen.append(folder)
        return nullcontext(lambda _: None)

    seen: list[Path] = []
    monkeypatch.setattr("fsr.runtime.media.window.has_display", lambda: (True, "on :0"))
    monkeypatch.setattr("fsr.runtime.runs.live.Window", FakeWindow)
    monkeypatch.setattr("fsr.runtime.runs.run.into_crops", into_crops)
    FakeWindow.shapes.clear()
    assert CliRunner().invoke(main, ["--camera", "3", "--crops"]).exit_code == 0
    assert seen[0].parent == Path("fsr-out/faces") and re.fullmatch(r"camera-3-\d{8}-\d{6}", seen[0].name)


@pytest.mark.usefixtures("camera")
def test_ctrl_c_is_how_a_recording_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(FakeCamera):
        def __iter__(self) -> Iterator[VideoFrame]:
            for number, frame in enumerate(Endless.__iter__(self)):
                if number == 6:
                    signal.raise_signal(signal.SIGINT)
                yield frame

    monkeypatch.setattr("fsr.runtime.media.capture.Capture", Interrupted)
    result = CliRunner().invoke(main, ["--camera", "3", "-o", "mine.mp4", "--scale", "1"])
    assert result.exit_code == 0 and result.stdout == "mine.mp4\n"
    written = len(levels(Path("mine.mp4")))
    assert written >= 6  # and those that were under way
    assert_levels(Path("mine.mp4"), list(range(written)))


# The program itself

PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
from fsr.runtime.cli import main
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_of_a_real_run_leaves_a_video_that_plays(tmp_path: Path) -> None:
    film, out = make_film(tmp_path / "long.mp4", 2000), tmp_path / "out.mp4"
    command = [sys.executable, "-c", PROGRAM, "-i", str(film), "-o", str(out), "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while len(read_records(tmp_path / "out.frames.jsonl")[1]) < 5:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said, trouble = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, trouble
    assert said == f"{out}\n" and "stopped before the end" in trouble and "Traceback" not in trouble
    done = len(read_records(tmp_path / "out.frames.jsonl")[1])
    assert 5 <= done < 2000
    assert_levels(out, list(range(done)))
    assert not list(tmp_path.glob(".*"))


def test_a_video_is_restored_as_typed(film: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["-i", str(film), "-o", str(tmp_path / "out"), "--scale", "1"])
    assert result.exit_code == 0, result.output
    assert_levels(tmp_path / "out/restored/film.mp4", list(range(24)))
    assert "24 frames done" in result.stderr and "24 without a face" in result.stderr


def test_a_video_that_is_none_is_one_sentence(film: Path, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as song, av.open(str(film)) as container:
        sound = song.add_stream_from_template(container.streams.audio[0])
        for packet in container.demux(audio=0):
            packet.stream = sound
            song.mux(packet)
    contents = {
        "missing.mp4": None,
        "text.mp4": b"no video",
        "zero.mp4": b"",
        "cut.mp4": film.read_bytes()[:-1000],  # its table is at the end
        "song.mp4": (tmp_path / "song.mp4").read_bytes(),
    }
    for name, content in contents.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        result = CliRunner().invoke(main, ["-i", str(tmp_path / name), "-o", str(tmp_path / "out")])
        assert result.exit_code == 2 and result.stderr.startswith("error: ") and name in result.stderr
        assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()
