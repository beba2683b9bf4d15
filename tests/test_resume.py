"""A video that was killed or stopped at any moment goes on: every frame once, at its time, with all of the sound."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from run_fakes import FakeRestorer, add_tone, face, read_records

from fsr.runtime import Restorer
from fsr.runtime.cli import main
from fsr.runtime.errors import UsageError
from fsr.runtime.files import temporaries_of
from fsr.runtime.media import video_writer
from fsr.runtime.media.salvage import Salvage, packets_of, salvaged
from fsr.runtime.media.test_scene import TestScene
from fsr.runtime.media.video import VideoFrame, VideoReader, VideoWriter
from fsr.runtime.pixels import RgbImage
from fsr.runtime.runs.records import PIXELS, Record, add_end, read_run
from fsr.runtime.runs.resume import Earlier, earlier_run

av = pytest.importorskip("av", reason="videos need PyAV")

TESTS = Path(__file__).parent
SIZE_WH = (64, 48)
FRAMES = 200
PATIENCE = 60.0
"""Seconds that a test waits for a program."""


@pytest.fixture(autouse=True)
def key_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice a second, so that little of a short film is done again."""
    monkeypatch.setattr(video_writer, "KEY_FRAME_SECONDS", 0.5)


def level(number: int) -> int:
    """Of the frame of that number: coarse enough to survive the codec."""
    return 40 + 20 * (number % 9)


def make_film(path: Path, pictures: Sequence[RgbImage] = (), sound: bool = True, begin: int = 4500) -> Path:
    """Frames at uneven times from `begin` / 90 000 s on, each of another grey unless there are `pictures`; a tone."""
    rng, ticks = np.random.default_rng(0), begin
    pictures = pictures or [np.full((SIZE_WH[1], SIZE_WH[0], 3), level(number), np.uint8) for number in range(FRAMES)]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30, options={"crf": "8", "g": "25"})
        video.width, video.height, video.pix_fmt = *pictures[0].shape[1::-1], "yuv420p"
        video.codec_context.time_base = Fraction(1, 90_000)
        audio = container.add_stream("aac", rate=8000) if sound else None
        for pixels in pictures:
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = ticks, Fraction(1, 90_000)
            ticks += int(rng.choice([2700, 3000, 3300]))
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            add_tone(container, audio, ticks * 8000 // 90_000)
    return path


def read_end(records: Path) -> Record | None:
    return read_run(records, {PIXELS: {}})[2]


def times_of(path: Path) -> list[Fraction]:
    """Of every frame, exactly, each decoded."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(audio=0) if packet.size]


def levels_of(path: Path) -> list[int]:
    with VideoReader(path) as reader:
        return [round(float(frame.pixels.mean())) for frame in reader]


def assert_whole(out: Path, film: Path, frames: int = FRAMES) -> None:
    """Every frame once, at its time and in its place, all of the sound, a line each, and nothing half-written."""
    assert times_of(out) == times_of(film) and len(times_of(film)) == frames
    assert sound_of(out) == sound_of(film) != []
    if frames == FRAMES:
        assert np.abs(np.array(levels_of(out)) - [level(number) for number in range(frames)]).max() <= 4
    _, records = read_records(out.with_name(f"{out.stem}.frames.jsonl"))
    assert [record["frame"] for record in records] == list(range(frames))
    assert read_end(out.with_name(f"{out.stem}.frames.jsonl")) == {"whole": True, "cut": None}
    assert not [path for path in out.parent.rglob(".*") if path.is_file()]


# Killed and stopped

PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
sys.path.insert(0, sys.argv.pop(1))
from contextlib import nullcontext
from run_fakes import FakeRestorer, face
from fsr.runtime.media import video_writer
from fsr.runtime.runs import run

slow = FakeRestorer(face(), before=lambda _: time.sleep(0.003))
slow.description = "fake"
video_writer.KEY_FRAME_SECONDS = 0.5
run.open_restorer = lambda *_: nullcontext(slow)
from fsr.runtime.cli import main
main(sys.argv[1:])
"""


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(TESTS), *map(str, arguments), "--workers", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def frames_kept(out: Path, compare: bool) -> int:
    """At which frame the next run with the same options would go on."""
    records, finals = out.with_name("out.frames.jsonl"), [out, out.with_name(f"out.compare{out.suffix}")]
    return earlier_run(records, finals[: 1 + compare], read_records(records)[0]).frames if records.exists() else 0


def wait_for(process: subprocess.Popen[str], records: Path, begun: int, count: int) -> None:
    """Until the file that a run before had `begun` was begun anew and holds so many frames, or the run has ended."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and (inode(records) == begun or lines(records) < count):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def inode(path: Path) -> int:
    return path.stat().st_ino if path.exists() else 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(("seed", "suffix"), [(1, ".mp4"), (2, ".mkv")])
def test_signals_at_random_moments_cost_nothing(tmp_path: Path, seed: int, suffix: str) -> None:
    """While models are opened, what there is is copied, frames are written, or the file is finished."""
    rng, film, out = random.Random(seed), make_film(tmp_path / f"film{suffix}"), tmp_path / f"out{suffix}"
    records, finals = tmp_path / "out.frames.jsonl", [out, tmp_path / f"out.compare{suffix}"]
    kept = [0]
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        begun, process = inode(records), start("-i", film, "-o", out, "--compare", "--resume")
        if rng.random() < 0.7:
            wait_for(process, records, begun, kept[-1] + rng.randrange(5, 90))
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(number)
        _, trouble = process.communicate(timeout=PATIENCE)
        assert process.returncode in (0, 130, -number) and "error" not in trouble, trouble
        kept.append(frames_kept(out, compare=True))
    assert kept == sorted(kept) and kept[-1] > 30, "it gets on"
    said, trouble = start("-i", film, "-o", out, "--compare", "--resume").communicate(timeout=PATIENCE)
    assert said == f"{out}\n", trouble
    assert_whole(out, film)
    assert times_of(finals[1]) == times_of(film)


# In this process


class Opened(FakeRestorer):
    """What `open_restorer` gives."""

    description = "fake"

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Opened]:
    """A stand-in for the models, as often as they were opened."""
    times: list[Opened] = []

    def open_restorer(*_: object) -> Opened:
        times.append(Opened(face()))
        return times[-1]

    monkeypatch.setattr("fsr.runtime.runs.run.open_restorer", open_restorer)
    return times


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--workers", "1"])


def stopped_at(monkeypatch: pytest.MonkeyPatch, number: int, act: Any = None) -> None:
    """SIGTERM, or another act, when that frame is restored; once."""
    calls = iter(range(10**9))

    def before(restorer: FakeRestorer, frame: RgbImage) -> Any:
        if next(calls) == number:
            (act or (lambda: signal.raise_signal(signal.SIGTERM)))()
        return usual(restorer, frame)

    usual = FakeRestorer.__call__
    monkeypatch.setattr(FakeRestorer, "__call__", before)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be read, never changed."""
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4")


def test_what_is_done_is_not_done_again(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, seen = tmp_path / "out.mp4", list[int]()
    stopped_at(monkeypatch, 100)
    stopped = run("-i", film, "-o", out)
    assert stopped.exit_code == 130 and "stopped before the end; --resume goes on from here" in stopped.stderr
    done = len(times_of(out))
    assert 100 < done < 110 and sound_of(out) == sound_of(film)[: len(sound_of(out))]
    stopped_at(monkeypatch, -1, seen.append)
    resumed = run("-i", film, "-o", out, "--resume")
    assert resumed.exit_code == 0 and f"film: goes on at frame {done}" in resumed.stderr
    assert f"{FRAMES - done} frames done" in resumed.stderr and f"{done} done before" in resumed.stderr
    assert_whole(out, film)
    again = run("-i", film, "-o", out, "--resume", "--json")
    assert (json.loads(again.stdout)["done"], json.loads(again.stdout)["skipped"]) == (0, FRAMES)
    assert again.exit_code == 0 and len(opened) == 2, "no model is opened for what is done"


def test_the_frames_that_were_there_are_not_encoded_again(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.mp4"
    stopped_at(monkeypatch, 60)
    run("-i", film, "-o", out)
    with av.open(str(out)) as container:
        first = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    run("-i", film, "-o", out, "--resume")
    with av.open(str(out)) as container:
        assert [bytes(packet) for packet in container.demux(video=0)][: len(first)] == first


@pytest.mark.parametrize(("suffix", "final"), [(".mp4", ".mkv"), (".ts", ".mkv"), (".ts", ".mp4")])
def test_what_a_format_moves_it_moves_once(
    tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch, suffix: str, final: str
) -> None:
    """Matroska holds no times below 0, where the sound of an MP4 begins; both begin at a full millisecond."""
    film, whole, out = (tmp_path / name for name in (f"film{suffix}", f"whole{final}", f"out{final}"))
    run("-i", make_film(film, begin=4563), "-o", whole)
    assert (sound_of(film)[0][0] < 0) == (suffix == ".mp4") and len(times_of(whole)) == FRAMES
    for more in ([], ["--resume"]):
        stopped_at(monkeypatch, 60)
        assert run("-i", film, "-o", out, *more).exit_code == 130
        done = len(times_of(out))
        assert times_of(out) == times_of(whole)[:done]
    assert f"goes on at frame {done}" in run("-i", film, "-o", out, "--resume").stderr and done > 80
    assert times_of(out) == times_of(whole) and sound_of(out) == sound_of(whole)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--scale", "3"], "begun with --scale 2, this run has 3"),
        (["--compare"], "begun with --compare False, this run has True"),
        (["--crops"], "begun with --crops False, this run has True"),
    ],
)
def test_other_options_are_refused(
    film: Path,
    tmp_path: Path,
    opened: list[Opened],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    sentence: str,
) -> None:
    stopped_at(monkeypatch, 40)
    run("-i", film, "-o", tmp_path / "out.mp4")
    left = (tmp_path / "out.mp4").read_bytes()
    refused = run("-i", film, "-o", tmp_path / "out.mp4", "--resume", *options)
    assert refused.exit_code == 2 and sentence in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert (tmp_path / "out.mp4").read_bytes() == left


def test_another_input_is_refused(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / film.name
    mine.write_bytes(film.read_bytes())
    stopped_at(monkeypatch, 40)
    run("-i", mine, "-o", tmp_path / "out.mp4")
    os.utime(mine, (1e9, 1e9))
    refused = run("-i", mine, "-o", tmp_path / "out.mp4", "--resume")
    assert refused.exit_code == 2 and "begun with --input film.mp4 (" in refused.stderr


def test_nothing_to_go_on_from_starts_anew(film: Path, tmp_path: Path, opened: list[Opened]) -> None:
    out = tmp_path / "out.mp4"
    assert run("-i", film, "-o", out, "--resume").exit_code == 0
    assert_whole(out, film)
    out.unlink()
    anew = run("-i", film, "-o", out, "--resume")
    assert "film: starts anew: too little was there" in anew.stderr and f"{FRAMES} frames done" in anew.stderr


def test_an_older_video_of_that_name_is_no_part_of_the_run(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished with other options, and then begun anew and killed before a frame was on the disk."""
    out, records = tmp_path / "out.mp4", tmp_path / "out.frames.jsonl"
    run("-i", film, "-o", out, "--scale", "1")
    run("-i", film, "-o", tmp_path / "other.mp4")
    records.write_text("".join((tmp_path / "other.frames.jsonl").read_text().splitlines(keepends=True)[:50]))
    assert f"{FRAMES} frames done" in run("-i", film, "-o", out, "--resume").stderr
    with VideoReader(out) as reader:
        assert reader.size_wh == (2 * SIZE_WH[0], 2 * SIZE_WH[1])


def test_frames_that_failed_before_are_still_told(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ValueError("a bug")

    stopped_at(monkeypatch, 30, fail)
    stopped_at(monkeypatch, 60)
    run("-i", film, "-o", tmp_path / "out.mp4")
    resumed = run("-i", film, "-o", tmp_path / "out.mp4", "--resume", "--json")
    assert resumed.exit_code == 1 and [*json.loads(resumed.stdout)["failed"]] == ["frame 30"]


def last_key(path: Path) -> int:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return max(number for number, packet in enumerate(packets) if packet.is_keyframe)


def test_a_full_disk_is_gone_on_from(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.mp4"

    def full() -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        usual, calls = VideoWriter._encode, iter(range(10**9))
        patch.setattr(VideoWriter, "_encode", lambda *given: full() if next(calls) == 150 else usual(*given))
        failed = run("-i", film, "-o", out)
    assert failed.exit_code == 2 and "No space left on device; its first" in failed.stderr
    assert f"goes on at frame {last_key(out)}" in run("-i", film, "-o", out, "--resume").stderr
    assert_whole(out, film)


def test_what_was_kept_is_there_until_more_is(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in a container has the same number each time: its temporary file is not the one it reads."""
    out, records = tmp_path / "out.mp4", tmp_path / "out.frames.jsonl"
    stopped_at(monkeypatch, 100)
    run("-i", film, "-o", out)
    left, seen = out.with_name(f".out.{os.getpid()}.partial.mp4"), list[tuple[int, int]]()
    out.rename(left)
    records.write_text("".join(lines_of(records)[:-1]))
    before = salvaged([left])
    assert before is not None and 70 < before.frames < 100

    def look(restorer: FakeRestorer, frame: RgbImage) -> Any:
        there = [*temporaries_of(out)]
        best = salvaged(there)
        seen.append((best.frames if best else 0, len(there)))
        return usual(restorer, frame)

    usual = FakeRestorer.__call__
    monkeypatch.setattr(FakeRestorer, "__call__", look)
    assert f"film: goes on at frame {before.frames}" in run("-i", film, "-o", out, "--resume").stderr
    assert seen[0] == (before.frames, 2) and seen[-1][0] > before.frames and seen[-1][1] == 1
    assert min(seen)[0] == before.frames, "a kill costs nothing of it at any moment"
    assert_whole(out, film)


def test_a_run_that_is_still_at_work_is_not_gone_on_from(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch, sleeper: int
) -> None:
    out = tmp_path / "out.mp4"
    stopped_at(monkeypatch, 60)
    run("-i", film, "-o", out)
    (tmp_path / "out.frames.jsonl").write_text("".join(lines_of(tmp_path / "out.frames.jsonl")[:-1]))
    at_work = out.rename(tmp_path / f".out.{sleeper}.partial.mp4")
    before = at_work.read_bytes()
    refused = run("-i", film, "-o", out, "--resume")
    assert refused.exit_code == 2 and len(refused.stderr.splitlines()) == 1
    assert f"is being made by process {sleeper}; stop that or wait for its end" in refused.stderr
    assert at_work.read_bytes() == before and not out.exists()
    assert run("-i", film, "-o", out).exit_code == 0 and at_work.read_bytes() == before, "nor cleared away"
    at_work.rename(tmp_path / ".out.0.partial.mp4")
    out.unlink()
    (tmp_path / "out.frames.jsonl").write_text("".join(lines_of(tmp_path / "out.frames.jsonl")[:-1]))
    assert "film: goes on at frame" in run("-i", film, "-o", out, "--resume").stderr


@pytest.mark.parametrize("compare", [[], ["--compare"]])
def test_kills_cost_nothing_of_what_a_stopped_run_finished(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch, compare: list[str]
) -> None:
    """Whichever holds the most counts: the video that bears the name, or what a killed run was writing."""
    folder, usual, seen = tmp_path / "run", FakeRestorer.__call__, list[int]()
    stopped_at(monkeypatch, 100)
    run("-i", film, "-o", folder / "out.mp4", *compare)
    done = len(times_of(folder / "out.mp4"))

    calls = count()

    def killed(restorer: FakeRestorer, frame: RgbImage) -> Any:
        if next(calls) % 8 == 0:
            left = Path(shutil.copytree(folder, tmp_path / f"killed-{len(seen)}"))
            seen.append(frames_kept(left / "out.mp4", bool(compare)))
        return usual(restorer, frame)

    with monkeypatch.context() as patch:
        patch.setattr(FakeRestorer, "__call__", killed)
        run("-i", film, "-o", folder / "out.mp4", *compare, "--resume")
    assert seen == sorted(seen) and seen[0] == done < seen[-1]
    for moment in (0, len(seen) - 1):
        out = tmp_path / f"killed-{moment}/out.mp4"
        assert f"goes on at frame {seen[moment]}" in run("-i", film, "-o", out, *compare, "--resume").stderr
        assert_whole(out, film)


@pytest.mark.parametrize("compare", [[], ["--compare"]])
def test_a_kill_between_the_name_and_the_last_line_costs_little(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch, compare: list[str]
) -> None:
    """Of two videos where only one has its name, too."""
    out, usual, moments = tmp_path / "run/out.mp4", Path.replace, list[Path]()

    def look(temporary: Path, final: Path) -> Path:
        named = usual(temporary, final)
        if final.suffix == ".mp4":
            moments.append(Path(shutil.copytree(out.parent, tmp_path / f"killed-{len(moments)}")))
        return named

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", look)
        run("-i", film, "-o", out, *compare)
    assert len(moments) == 1 + len(compare)
    for left in moments:
        assert FRAMES - 60 < frames_kept(left / "out.mp4", bool(compare)) < FRAMES
        run("-i", film, "-o", left / "out.mp4", *compare, "--resume")
        assert_whole(left / "out.mp4", film)


def test_a_disk_that_is_full_before_anything_new_keeps_what_was_there(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.mp4"
    stopped_at(monkeypatch, 100)
    run("-i", film, "-o", out)
    before, done = out.read_bytes(), len(times_of(out))

    def full(*given: Any) -> Iterator[Any]:
        yield from islice(packets_of(*given), 50)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(video_writer, "packets_of", full)
        failed = run("-i", film, "-o", out, "--resume")
    assert failed.exit_code == 2 and "No space left on device; what was there before is kept" in failed.stderr
    assert out.read_bytes() == before
    assert f"goes on at frame {done}" in run("-i", film, "-o", out, "--resume").stderr
    assert_whole(out, film)


def test_a_format_that_cannot_be_gone_on_with_starts_anew(
    tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_film(tmp_path / "film.mp4", sound=False)
    stopped_at(monkeypatch, 60)
    run("-i", film, "-o", tmp_path / "out.avi")
    assert "starts anew" in run("-i", film, "-o", tmp_path / "out.avi", "--resume").stderr
    assert len(times_of(tmp_path / "out.avi")) == FRAMES


# Faces


def test_faces_keep_their_numbers_and_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = TestScene(faces=2, size_wh=(320, 200), seconds=64 / 30, cuts=0, crf=0, noise=1, seed=3)
    film, out = make_film(tmp_path / "film.mp4", list(scene.frames())), tmp_path / "out.mp4"
    calls, usual = iter(range(10**9)), Restorer.finish
    stop = lambda: next(calls) == 36 and signal.raise_signal(signal.SIGTERM)  # noqa: E731
    monkeypatch.setattr(Restorer, "finish", lambda *given: (stop(), usual(*given))[1])
    options = ["-i", film, "-o", out, "--crops", "--tier", "S", "--scale", "1", "--engine", "onnxruntime"]
    run(*options)
    stray = tmp_path / "out.faces/000099/00000063.png"
    stray.parent.mkdir()
    stray.touch()
    done = len(times_of(out))
    assert f"goes on at frame {done}" in run(*options, "--resume").stderr and 36 < done < 60
    assert_whole(out, film, 64)
    _, records = read_records(tmp_path / "out.frames.jsonl")
    tracks = [{face["track"]: face for face in record["faces"]} for record in records]
    assert {*tracks[done - 1]} == {*tracks[done]} == {*tracks[-1]} != set()
    for before, after in pairwise(tracks[done - 3 : done + 3]):
        for number in before:
            assert abs(before[number]["opacity"] - after[number]["opacity"]) < 0.25
            steps = np.subtract(before[number]["box_xyxy"], after[number]["box_xyxy"])
            assert np.abs(steps).max() < 12, "a number stays with its face"
    restored = {
        f"{face['track']:06}/{number:08}.png"
        for number, faces in enumerate(tracks)
        for face in faces.values()
        if face["decision"] == "restored"
    }
    assert {
        path.relative_to(tmp_path / "out.faces").as_posix() for path in stray.parent.parent.rglob("*.png")
    } == restored


# A folder


def test_a_folder_of_videos_is_done_one_by_one_and_gone_on_with(
    film: Path, tmp_path: Path, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.mp4", "b.mp4", "b.mkv", "sub/c.mp4"):
        (source / name).parent.mkdir(exist_ok=True, parents=True)
        (source / name).write_bytes(film.read_bytes())
    (source / "d.mp4").write_bytes(b"no video")
    stopped_at(monkeypatch, FRAMES + 60)
    stopped = run("-i", source, "-o", out)
    assert stopped.exit_code == 130 and "1 video done" in stopped.stderr and "--resume goes on" in stopped.stderr
    resumed = run("-i", source, "-o", out, "--resume")
    assert resumed.exit_code == 1 and "d.mp4: cannot be read as a video" in resumed.stderr
    assert "3 videos done" in resumed.stderr and "1 done before" in resumed.stderr
    assert "b.mkv: goes on at frame" in resumed.stderr and resumed.stdout == f"{out}\n"
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.mp4"))
    assert made == ["restored/a.mp4", "restored/b.mkv.mp4", "restored/b.mp4.mp4", "restored/sub/c.mp4"]
    for path in made:
        assert times_of(out / path) == times_of(film) and sound_of(out / path) == sound_of(film)
    assert len(opened) == 2, "once a run"


# Parts


def written(path: Path, frames: int, **options: Any) -> Path:
    grey = np.full((48, 64, 3), 90, np.uint8)
    with VideoWriter(path, (64, 48), **options) as writer:
        for number in range(frames):
            writer.write(grey, VideoFrame(grey, number, Fraction(1, 30), number / 30))
    return path


def test_an_unfinished_video_counts_up_to_its_last_key_frame_and_a_finished_one_whole(tmp_path: Path) -> None:
    video = written(tmp_path / "a.mp4", 40)
    assert salvaged([video]) == Salvage(video, 30)
    assert salvaged([video], video) == Salvage(video, 40)
    short, text = written(tmp_path / "b.mp4", 10), tmp_path / "c.mp4"
    text.write_text("no video")
    assert salvaged([short, text, tmp_path / "none.mp4"]) is None
    assert salvaged([short, video]) == Salvage(video, 30)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_first_packets_come_back_in_order_with_their_times(tmp_path: Path, suffix: str) -> None:
    video = written(tmp_path / f"a{suffix}", 40)
    packets = list(packets_of(Salvage(video, 30), parameter_sets(video)))
    shown = sorted(packet.pts * packet.time_base for packet in packets if packet.pts is not None and packet.time_base)
    assert shown == pytest.approx([number / 30 for number in range(30)], abs=0.001)
    moments = [(packet.dts or 0, packet.pts or 0) for packet in packets]
    assert all(early < late for (early, _), (late, _) in pairwise(moments)) and all(dts <= pts for dts, pts in moments)
    assert all(bytes(packet).startswith(b"\0\0\0\1") for packet in packets)


def parameter_sets(video: Path) -> bytes:
    """As an encoder has them."""
    from av.bitstream import BitStreamFilterContext

    with av.open(str(video)) as container:
        packet = next(container.demux(video=0))
        (first,) = BitStreamFilterContext("h264_mp4toannexb", packet.stream).filter(packet)
        return bytes(first)


def test_a_pause_after_what_was_kept_does_not_stop_the_file(tmp_path: Path) -> None:
    """An encoder that begins anew counts back from its first frame by the distance to its third."""
    grey, pts = np.full((48, 64, 3), 90, np.uint8), [*range(30), 300, 600, 601, 602, 603, 604]
    kept = Salvage(written(tmp_path / "a.mp4", 40), 30)
    with VideoWriter(tmp_path / "b.mp4", SIZE_WH, kept=kept, first=30) as writer:
        for number in pts[30:]:
            writer.write(grey, VideoFrame(grey, 3000 * number, video_writer.CAMERA_TIME_BASE, number / 30))
    assert times_of(tmp_path / "b.mp4") == [Fraction(number, 30) for number in pts]


def test_what_another_encoder_made_is_refused(tmp_path: Path) -> None:
    video = written(tmp_path / "a.mp4", 40, codec="libx264", preset="ultrafast")
    kept = Salvage(video, 30)
    with pytest.raises(UsageError, match=r"a\.mp4 was begun with another encoder.*leave --resume out"):
        written(tmp_path / "b.mp4", 40, codec="libx264", kept=kept)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"], "nothing is lost"


def test_the_end_is_told_behind_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "a.frames.jsonl"
    path.write_text('{"run": {}}\n{"frame": 0}\n{"fra')
    assert read_end(path) is None
    add_end(path, {"whole": False, "cut": None})
    assert read_records(path) == ({}, [{"frame": 0}]) and read_end(path) == {"whole": False, "cut": None}


def test_nothing_is_known_of_no_earlier_run() -> None:
    none = Earlier()
    assert (none.frames, none.skip(Fraction(30)), none.known(0).next_number) == (0, 0, 1)
    records = [
        {"frame": n, "faces": [{"track": 7, "box_xyxy": [0] * 4, "landmarks": [], "score": 1}]} for n in range(50)
    ]
    some = Earlier(records)
    assert some.skip(Fraction(30)) == 20 and [*some.known(20).faces[0]] == [7] and some.known(20).next_number == 8
