"""What goes wrong costs what it must and no more: nothing lost, nothing half-written, one sentence each."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack

import cv2
import numpy as np
import pytest
from run_fakes import FakeRestorer, face, files_below, make_pictures, picture, read_records, run_folder

from fsr.runtime.errors import InputError, OutputError
from fsr.runtime.files import require_writable
from fsr.runtime.media.images import read_image, write_image
from fsr.runtime.pixels import RgbImage
from fsr.runtime.runs.picture_work import files_of
from fsr.runtime.runs.summary import Summary

TESTS = Path(__file__).parent
PATIENCE = 60.0
"""Seconds that a test waits for a program."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five good pictures, 00.png to 04.png."""
    make_pictures(tmp_path / "in", 5)
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def at(number: int, act: Callable[[], object]) -> FakeRestorer:
    """A restorer that does something when it comes to a picture."""

    def before(frame: RgbImage) -> None:
        if frame[0, 0, 0] == number:
            act()

    return FakeRestorer(face(), before=before)


def fail(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def assert_only(bad: str, summary: Summary, out: Path, *parts: str) -> None:
    """One picture failed, named in one line, and the other five are whole."""
    assert (list(summary.failed), summary.exit_code) == ([bad], 1)
    reason = summary.failed[bad]
    assert "\n" not in reason and bad in reason
    for part in parts:
        assert part in reason
    assert_whole(out, 5)
    assert sum("error" in record for record in read_records(out / "results.jsonl")[1]) == 1


def assert_whole(out: Path, count: int) -> None:
    """So many pictures restored and recorded, each once; every file whole, and none that was begun only.

    A run that ends early may have finished files of pictures that it did not come to record.
    """
    records = [record for record in read_records(out / "results.jsonl")[1] if "error" not in record]
    assert sorted(record["picture"] for record in records) == [f"{n:02}.png" for n in range(count)]
    names = [name for record in records for name in (record["output"], record["faces"][0]["crop"])]
    unrecorded = set(files_below(out)) - {*names, "results.jsonl"}
    assert not unrecorded or count < len(files_below(out.parent / "in"))
    for name in unrecorded:
        assert ".partial" not in name and read_image(out / name).any()
    for record in records:
        restored = read_image(out / record["output"])
        assert restored.shape[1::-1] == tuple(2 * side for side in record["size_wh"])
        assert (restored == int(record["picture"][:2])).all()


# Bad pictures


def png(width: int, height: int) -> bytes:
    """A whole black PNG of 1 bit a pixel, a thousandth of its size."""
    rows = zlib.compress(bytes((1 + -(-width // 8)) * height), 9)
    chunks = {b"IHDR": pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0), b"IDAT": rows, b"IEND": b""}
    made = [pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data)) for kind, data in chunks.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def half(name: str, folder: Path) -> bytes:
    write_image(folder / name, np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    whole = (folder / name).read_bytes()
    return whole[: len(whole) // 2]


@pytest.mark.parametrize(
    ("name", "make", "part"),
    [
        ("truncated.jpg", lambda folder: half("truncated.jpg", folder), "cannot be read as a picture"),
        ("truncated.png", lambda folder: half("truncated.png", folder), "cannot be read as a picture"),
        ("zero.png", lambda _: b"", "empty"),
        ("text.png", lambda _: b"this is no picture", "cannot be read as a picture"),
        ("video.jpg", lambda _: b"\0\0\0 ftypisom" + bytes(100), "cannot be read as a picture"),
        ("huge.png", lambda _: png(20_000, 20_000), "20000"),
    ],
)
def test_a_bad_picture_is_named_and_the_others_are_done(
    source: Path, out: Path, name: str, make: Callable[[Path], bytes], part: str
) -> None:
    (source / name).write_bytes(make(source))
    assert_only(name, run_folder(source, out), out, part)


def test_the_maker_of_the_huge_picture_makes_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(33, 17))
    assert read_image(tmp_path / "a.png").shape == (17, 33, 3)


def test_a_picture_too_large_once_enlarged_is_named(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.runtime.runs.picture_work.MAX_ENLARGED", 4000)
    write_image(source / "large.png", picture(9, (50, 21)))
    restorer = FakeRestorer(face(), before=lambda f: f.shape == (10, 12, 3) or pytest.fail("it was restored"))
    assert_only("large.png", run_folder(source, out, restorer), out, "50 x 21", "smaller --scale")


def test_a_wrong_extension_is_read_by_content_and_written_by_name(tmp_path: Path, out: Path) -> None:
    write_image(tmp_path / "a.png", picture(7))
    (tmp_path / "in").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "in" / "a.jpg")
    assert run_folder(tmp_path / "in", out).exit_code == 0
    assert (out / "restored/a.jpg").read_bytes().startswith(b"\xff\xd8\xff"), "a .jpg is a JPEG afterwards"


def test_a_picture_that_may_not_be_read_is_named(source: Path, out: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything; simulated in the next test")
    write_image(source / "secret.png", picture(9))
    (source / "secret.png").chmod(0)
    assert_only("secret.png", run_folder(source, out), out, "Permission denied")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ENOENT])
def test_a_picture_that_fails_to_open_is_named(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    write_image(source / "bad.png", picture(9))
    usual = Path.open

    def picky(self: Path, *arguments, **keywords):
        if self.name == "bad.png":
            raise OSError(code, os.strerror(code), str(self))
        return usual(self, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", picky)
    assert_only("bad.png", run_folder(source, out), out, os.strerror(code))


def test_a_picture_that_goes_away_is_named(source: Path, out: Path) -> None:
    write_image(source / "05.png", picture(5))
    assert_only("05.png", run_folder(source, out, at(0, (source / "05.png").unlink), workers=1), out, "No such file")


def test_the_longest_name_is_done_with_all_that_lies_beside_it(source: Path, out: Path) -> None:
    """Of 255 bytes, as many as the picture's own name may have; that of its faces has more."""
    names = ["x" * 250 + f"{end}.png" for end in "ab"]
    for name in names:
        shutil.copy(source / "00.png", source / name)
    assert run_folder(source, out, compare=True).done == 7
    records = {record["picture"]: record for record in read_records(out / "results.jsonl")[1]}
    made = [file for name in names for file in files_of(records[name])]
    assert len(set(made)) == 6 and set(made) <= set(files_below(out))
    assert all((out / "restored" / name).is_file() for name in names)
    assert run_folder(source, out, compare=True, resume=True).skipped == 7


def test_a_name_too_long_to_write_is_named(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that takes shorter names than the one with the pictures."""
    name = "x" * 200 + ".png"
    shutil.copy(source / "00.png", source / name)
    usual = Path.replace

    def narrow(self: Path, target: Path) -> Path:
        if len(target.name) > 143:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return usual(self, target)

    monkeypatch.setattr(Path, "replace", narrow)
    assert_only(name, run_folder(source, out), out, "File name too long")


def test_a_name_that_is_not_text_is_done(source: Path, out: Path) -> None:
    name = os.fsdecode(b"\xff[red].png")
    shutil.copy(source / "00.png", source / name)
    assert run_folder(source, out).done == 6
    assert (out / "restored" / name).is_file()


# Bugs, and a lack of memory


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (ValueError("three\nlines\nof text"), "ValueError: three lines of text (test_run_faults.py, line "),
        (MemoryError(), "not enough memory; choose fewer --workers"),
        (cv2.error("OpenCV(5.0) error"), "OpenCV(5.0) error"),
        (RecursionError("deep"), "deep"),
        (InputError("05.png: no good"), "05.png: no good"),
        (OSError("odd"), "odd"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_worker_that_dies_costs_its_picture_alone(source: Path, out: Path, error: Exception, part: str) -> None:
    write_image(source / "05.png", picture(5))
    assert_only("05.png", run_folder(source, out, at(5, fail(error))), out, part)


# Input and output that go away


def test_an_input_folder_that_vanishes_ends_the_run_in_a_sentence(source: Path, out: Path) -> None:
    away = source.with_name("away")
    with pytest.raises(InputError, match=r"in: the folder is gone; 2 of 5 pictures are done and recorded: --resume"):
        run_folder(source, out, at(1, lambda: source.rename(away)), workers=1)
    assert_whole(out, 2)
    away.rename(source)
    assert run_folder(source, out, resume=True).skipped == 2
    assert_whole(out, 5)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no folder that even root cannot write into")
def test_an_output_that_cannot_be_written_is_a_sentence() -> None:
    with pytest.raises(OutputError, match="/proc/fsr-out"):
        require_writable(Path("/proc/fsr-out"))


def test_an_output_that_goes_away_ends_the_run_in_a_sentence(source: Path, out: Path) -> None:
    def spoil() -> None:
        (out / "faces").rename(out / "gone")
        (out / "faces").touch()

    with pytest.raises(OutputError, match=r"cannot be written: .*; 2 of 5 pictures are done and recorded: --resume"):
        run_folder(source, out, at(2, spoil), workers=1)
    (out / "faces").unlink()
    (out / "gone").rename(out / "faces")
    assert_whole(out, 2)


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps what is open")
def test_an_output_that_is_deleted_ends_the_run_in_a_sentence(source: Path, out: Path) -> None:
    with pytest.raises(OutputError) as caught:
        run_folder(source, out, at(2, lambda: shutil.rmtree(out)), workers=1)
    assert str(caught.value).endswith("was deleted or moved while the run was under way; 2 of 5 pictures are done")
    assert caught.value.exit_code == 2


def full_disk(out: Path, *names: str) -> None:
    """From now on these files cannot be written: what goes to their temporary names goes to a full device."""
    for name in names:
        final = out / name
        final.parent.mkdir(parents=True, exist_ok=True)
        final.with_name(f".{final.stem}.{os.getpid()}.partial{final.suffix}").symlink_to("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("name", ["restored/02.png", "faces/02.png.0.png"])
def test_a_full_disk_ends_the_run_and_keeps_what_is_done(source: Path, out: Path, name: str) -> None:
    restorer = at(2, lambda: full_disk(out, name))
    with pytest.raises(
        OutputError, match=r"02\.png.*: No space left on device; .*; 2 of 5 pictures are done"
    ) as caught:
        run_folder(source, out, restorer, workers=1)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert [record["picture"] for record in read_records(out / "results.jsonl")[1]] == ["00.png", "01.png"]
    assert run_folder(source, out, resume=True).done == 3
    assert_whole(out, 5)


def test_a_disk_too_full_for_the_record_ends_the_run(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, left = os.fsync, [1, 1]

    def fsync(number: int) -> None:
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left.pop()
        usual(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match=r"results\.jsonl: cannot be written: No space left .*2 of 5 pictures"):
        run_folder(source, out, workers=1)


# Stopped and killed


def test_ctrl_c_while_a_picture_is_restored_ends_cleanly(source: Path, out: Path) -> None:
    """A second one, that is; the first is caught before it gets here."""
    summary = run_folder(source, out, at(2, fail(KeyboardInterrupt())), workers=1)
    assert (summary.stopped, summary.done, summary.exit_code) == (True, 2, 130)
    assert "2 pictures done" in summary.sentence() and "--resume goes on" in summary.sentence()
    assert_whole(out, 2)


def test_ctrl_c_lets_what_is_under_way_finish(source: Path, out: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    summary = run_folder(source, out, at(1, lambda: os.kill(os.getpid(), signal.SIGINT)), workers=1)
    assert summary.stopped and summary.exit_code == 130
    assert 2 <= summary.done <= 4, "the one under way and those that waited, no more"
    assert_whole(out, summary.done)
    assert signal.getsignal(signal.SIGINT) is before
    run_folder(source, out, resume=True)
    assert_whole(out, 5)


PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from run_fakes import FakeRestorer, face, run_folder
slow = FakeRestorer(face(), before=lambda _: time.sleep(0.01))
summary = run_folder(Path(sys.argv[2]), Path(sys.argv[3]), slow, resume=True)
print(summary.sentence())
sys.exit(summary.exit_code)
"""


def start(source: Path, out: Path, until: int) -> subprocess.Popen[str]:
    """A real run in a process of its own, once so many pictures are recorded."""
    command = [sys.executable, "-c", PROGRAM, str(TESTS), str(source), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while len(read_records(out / "results.jsonl")[1]) < until:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return process


@pytest.fixture
def long_source(tmp_path: Path) -> Path:
    """40 pictures large enough that some are being written at any moment."""
    for number in range(40):
        write_image(tmp_path / "in" / f"{number:02}.png", picture(number, (400, 300)))
    return tmp_path / "in"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_run_loses_nothing_and_is_resumed(long_source: Path, out: Path) -> None:
    recorded = 0
    for _ in range(2):
        process = start(long_source, out, recorded + 6)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it had to be killed while it ran"
        recorded = len(read_records(out / "results.jsonl")[1])
        for name in files_below(out):
            assert ".partial" in name or name == "results.jsonl" or read_image(out / name).size
    summary = run_folder(long_source, out, resume=True)
    assert summary.skipped == recorded and summary.done == 40 - recorded > 0
    assert_whole(out, 40)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_real_run_with_exit_code_130(long_source: Path, out: Path, number: signal.Signals) -> None:
    process = start(long_source, out, 3)
    process.send_signal(number)
    said, trouble = process.communicate(timeout=PATIENCE)
    assert (process.returncode, trouble) == (130, "")
    assert "stopped before the end; --resume goes on from here" in said
    done = len(read_records(out / "results.jsonl")[1])
    assert 3 <= done < 40
    assert_whole(out, done)
    assert run_folder(long_source, out, resume=True).done == 40 - done
    assert_whole(out, 40)
