"""A source that is killed, hangs, vanishes or changes goes on; a live one keeps up, and another loses nothing."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from capture_fakes import SIZE_WH, faulty, levels, open_faulty
from run_fakes import NO_PROCESS

from fsr.runtime.errors import InputError, OutputError, UsageError
from fsr.runtime.interrupt import stop_on_interrupt
from fsr.runtime.media.capture import Capture, Patience, _Clock
from fsr.runtime.media.capture_child import Delivered
from fsr.runtime.media.frame_ring import fitted
from fsr.runtime.media.recording_names import free_name, numbered

HASTE = Patience(open=30.0, frame=2.0, first_pause=0.01, longest_pause=0.05, finish=5.0)
WAIT = 30.0
"""Seconds that a test waits for what must come."""


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def capture(name: str, said: list[str] | None = None, lives: Path | None = None, **options: Any) -> Capture:
    say = (said if said is not None else []).append
    options = {"patience": HASTE, **options}
    return Capture(faulty(name, lives), open_source=open_faulty, say=say, **options)


def test_what_is_not_live_loses_nothing_however_slow_it_is_taken() -> None:
    with capture("finite") as source:
        assert (source.size_wh, source.rate, source.live, source.frames) == (SIZE_WH, 25, False, 40)
        frames = iter(source)
        first = next(frames)
        until(lambda: len(source._frames) == 3)  # as many as may wait: memory does not grow
        got = [first, *frames]
    assert levels(got) == list(range(40)) and source.dropped == 0
    assert [frame.pts * frame.time_base for frame in got] == [Fraction(number, 25) for number in range(40)]
    assert got[0].captured is None and source.failure is None


def test_a_source_cut_short_gives_what_it_had_and_says_so() -> None:
    frames = []
    with pytest.raises(InputError, match="Connection reset"), capture("finite cut") as source:
        frames = levels(source)
    assert frames == list(range(7))


def test_a_live_source_drops_the_oldest_and_counts_them() -> None:
    with capture("endless") as source:
        frames = iter(source)
        first = next(frames)
        until(lambda: source.dropped > 20)
        second, third = next(frames), next(frames)
    assert second.pts > first.pts and levels([second])[0] - levels([first])[0] > 10, "none of those that waited longest"
    assert third.captured is not None and 0 <= time.monotonic() - third.captured < WAIT
    assert source.reconnects == 0


def test_what_came_before_anyone_asked_is_not_counted_as_dropped() -> None:
    with capture("endless") as source:
        until(lambda: len(source._frames) == 3 and source._frames[0].seconds > 0.1)
        assert source.dropped == 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hangs", "brought no frame for 2 s"),
        ("killed", "ended without a word"),
        ("breaks", "IndexError in capture_fakes.py"),
        ("lost", "the stream was lost: Connection reset by peer"),
    ],
)
def test_a_source_that_fails_is_found_again(tmp_path: Path, name: str, why: str) -> None:
    said: list[str] = []
    with capture(name, said, tmp_path / "lives") as source:
        frames = list(islice(source, 24))
        last = levels(frames)[-1]
        assert source.failure is None
    assert {level // 10 for level in levels(frames)} == ({1, 2, 3, 4} if name == "lost" else {1, 2})
    assert last // 10 > 1 and all(late.pts > early.pts for early, late in pairwise(frames))
    assert source.reconnects == (3 if name == "lost" else 1)
    assert why in said[0] and "trying again in 0.0" in said[0] and said[1].endswith("back, 64x48")
    assert "secret" not in "".join(said)


def test_a_process_killed_from_outside_is_replaced() -> None:
    with capture("endless") as source:
        frames = iter(source)
        next(frames)
        before = source.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        until(lambda: next(frames) and source.reconnects)
        assert source.pid != before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere shared memory is as large as the memory")
def test_shared_memory_without_room_is_a_sentence_and_no_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        assert os.fstat(descriptor).st_size >= size == 3 * SIZE_WH[0] * SIZE_WH[1] * 3
        taken.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    taken: list[Path] = []
    monkeypatch.setattr(os, "posix_fallocate", full)
    said: list[str] = []
    sentence = (
        r"\*\*\*@host/endless: no room in shared memory for 3 frames of 64 x 48, 0 MB: No space left .*--shm-size"
    )
    with pytest.raises(OutputError, match=sentence), capture("endless", said) as source:
        next(iter(source))
    assert not said and taken and not any(path.exists() for path in taken)


def test_attempts_go_on_until_the_source_is_back(tmp_path: Path) -> None:
    said: list[str] = []
    with capture("late", said, tmp_path / "lives") as source:
        got = levels(islice(source, 10))
    assert got[-1] // 10 == 4 and source.reconnects == 1
    assert sum("Connection refused; trying again" in line for line in said) == 2


def test_another_size_is_shown_in_the_first(tmp_path: Path) -> None:
    said: list[str] = []
    with capture("resized", said, tmp_path / "lives") as source:
        last = list(islice(source, 12))[-1]
    assert last.pixels.shape == (48, 64, 3)
    assert (last.pixels[:, :16] == 0).all() and (last.pixels[:, 48:] == 0).all() and (last.pixels[:, 16:48] >= 20).all()
    assert said[-1].endswith("back, 32x48, shown in 64x48")


def test_the_first_opening_must_succeed() -> None:
    with pytest.raises(
        InputError, match=re.escape("rtsp://***@host/never: RuntimeError in capture_fakes.py")
    ) as caught:
        capture("never")
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match=r"nothing came for 1\.5 s"):
        capture("opening hangs", patience=Patience(open=1.5))


def test_pauses_grow_up_to_the_longest_and_are_never_quite_the_same() -> None:
    patience = Patience(first_pause=0.5, longest_pause=30.0)
    for attempt in range(40):
        middle = min(30.0, 0.5 * 2**attempt)
        drawn = [patience.pause(attempt) for _ in range(20)]
        assert all(0.75 * middle <= pause <= 1.25 * middle for pause in drawn) and len(set(drawn)) > 10


def test_a_wish_to_stop_ends_the_wait_for_a_silent_source() -> None:
    with stop_on_interrupt() as stop, capture("silent", patience=Patience(frame=1000.0)) as source:
        threading.Timer(0.2, stop.set).start()
        assert list(source) == []
    assert source.failure is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_process_ends_with_the_program_that_is_killed() -> None:
    script = """
import sys
from capture_fakes import faulty, open_faulty
from fsr.runtime.media.capture import Capture
if __name__ == "__main__":
    with Capture(faulty("silent"), open_source=open_faulty) as source:
        print(source.pid, flush=True)
        list(source)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    program = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert program.stdout is not None
    child = int(program.stdout.readline())
    program.kill()
    program.communicate(timeout=WAIT)
    until(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    """Whether it does more than wait to be counted out."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_close_ends_the_process_and_the_thread() -> None:
    threads = threading.active_count()
    source = capture("endless")
    pid = source.pid
    assert pid is not None
    source.close()
    source.close()
    assert threading.active_count() == threads
    until(lambda: not is_running(pid))


# Parts


def delivered(seconds: float, captured: float) -> Delivered:
    return Delivered(0, round(seconds * 25), Fraction(1, 25), seconds, captured, 0)


def test_times_are_the_sources_own_until_they_drift_and_go_on_after_a_loss() -> None:
    clock = _Clock()
    clock.start_life()
    assert [clock.times(delivered(n / 25, 100 + n / 25 + 0.01 * (n % 2)), True)[2] for n in range(3)] == pytest.approx(
        [0, 0.04, 0.08]
    )
    assert clock.times(delivered(50.0, 103.0), True)[2] == pytest.approx(3.0), "it jumped: the arrival counts"
    clock.start_life()
    assert clock.times(delivered(0.0, 110.0), True)[2] == pytest.approx(10.0)
    assert clock.times(delivered(-5.0, 110.0), True)[0] == 10 * 90_000 + 1, "never back"


@pytest.mark.parametrize("size_wh", [(32, 48), (128, 96), (640, 10), (10, 640)])
def test_a_picture_is_fitted_into_the_middle(size_wh: tuple[int, int]) -> None:
    made = fitted(np.full((size_wh[1], size_wh[0], 3), 200, np.uint8), SIZE_WH)
    rows, columns = np.nonzero(made[..., 0])
    share = min(64 / size_wh[0], 48 / size_wh[1])
    assert made.shape == (48, 64, 3) and (made[made > 0] == 200).all()
    assert abs(np.ptp(columns) + 1 - share * size_wh[0]) <= 1 and abs(np.ptp(rows) + 1 - share * size_wh[1]) <= 1
    assert abs(columns.min() + columns.max() - 63) <= 1 and abs(rows.min() + rows.max() - 47) <= 1


def test_recordings_after_a_loss_are_numbered() -> None:
    assert [numbered(Path("a/cam.mkv"), n).name for n in (1, 2, 11)] == ["cam.mkv", "cam-2.mkv", "cam-11.mkv"]


def test_a_recording_replaces_nothing(tmp_path: Path, sleeper: int) -> None:
    record = tmp_path / "cam.mkv"
    assert free_name(record) == record
    record.write_bytes(b"yesterday's")
    assert free_name(record) == tmp_path / "cam-2.mkv"
    for name in (f"cam-2.{sleeper}", f"cam-3.{os.getpid()}"):
        (tmp_path / f".{name}.partial.mkv").write_bytes(b"being written")
    assert free_name(record) == tmp_path / "cam-4.mkv"
    (tmp_path / f".cam.{NO_PROCESS}.partial.mkv").write_bytes(b"of an older program, under a name that is taken")
    for number in (0, 1):
        (tmp_path / f".cam-{4 + number}.{NO_PROCESS + number}.partial.mkv").write_bytes(b"killed")
    (tmp_path / f".cam-6.{NO_PROCESS}.partial.mkv").touch()
    assert free_name(record) == tmp_path / "cam-6.mkv"
    assert [(tmp_path / f"cam-{number}.mkv").read_bytes() for number in (4, 5)] == [b"killed"] * 2
    assert record.read_bytes() == b"yesterday's" and len(list(tmp_path.glob(".*.partial.mkv"))) == 4


def test_what_was_recorded_before_stays_and_a_killed_life_keeps_what_it_has(tmp_path: Path) -> None:
    record, said = tmp_path / "cam.mkv", list[str]()
    record.write_bytes(b"yesterday's")
    (tmp_path / f".cam.{NO_PROCESS}.partial.mkv").write_bytes(b"killed before")
    with capture("killed", said, tmp_path / "lives", record=record) as source:
        assert levels(islice(source, 12))[-1] >= 20
    assert record.read_bytes() == b"yesterday's"
    assert {path.name for path in tmp_path.glob("*.mkv")} > {"cam.mkv", "cam-2.mkv"}
    assert said[0].endswith(f"recorded into {tmp_path / 'cam-2.mkv'}, for {record} is there already")


def test_at_the_end_what_a_killed_life_has_recorded_gets_a_name(tmp_path: Path) -> None:
    with capture("finite", record=tmp_path / "cam.mkv") as source:
        (tmp_path / f".cam-2.{NO_PROCESS}.partial.mkv").write_bytes(b"killed")
        assert len(list(source)) == 40
    assert (tmp_path / "cam-2.mkv").read_bytes() == b"killed"
    assert {path.name for path in tmp_path.iterdir()} == {"cam.mkv", "cam-2.mkv"}


def test_a_missing_package_is_not_waited_for() -> None:
    with pytest.raises(UsageError, match=r'pip install "fsr-edge\[video\]"'), capture("unequipped") as source:
        list(islice(source, 12))
