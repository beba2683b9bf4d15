"""A stream's figures: rate, latency, what was dropped; in the summary and on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from run_fakes import CROP, NO_PROCESS, face, picture

from fsr.runtime.media.images import read_image
from fsr.runtime.media.source import Source, VideoFrame
from fsr.runtime.pipeline import RestoredFrame, enlarge
from fsr.runtime.runs.crops import into_crops
from fsr.runtime.runs.effort import Effort
from fsr.runtime.runs.frame_work import FrameResult, FrameWork
from fsr.runtime.runs.stats import RECENT_FRAMES, RECENT_SECONDS, StatsSnapshot, StreamStats
from fsr.runtime.runs.summary import Summary
from fsr.runtime.runs.view import KEYS, View


class Silent(Source):
    size_wh, rate, live, dropped, reconnects = (12, 10), Fraction(30), True, 7, 2

    def __iter__(self) -> Iterator[VideoFrame]:
        return iter(())

    def close(self) -> None: ...


def result(number: int = 0, captured: float | None = None, size_wh: tuple[int, int] = (12, 10)) -> FrameResult:
    pixels = picture(number, size_wh)
    frame = VideoFrame(pixels, number, Fraction(1, 30), number / 30, captured)
    return FrameResult(frame, RestoredFrame(enlarge(pixels, 2), [face(), face(restored=False)], {}))


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_rate_latency_and_counts() -> None:
    clock = Clock()
    stats = StreamStats(Silent(), clock)
    with stats.sink() as show:
        for number in range(100):
            clock.now += 0.1
            assert show(result(number, captured=clock.now - (0.5 if number % 10 == 0 else 0.04))) is not False
    shown = stats.snapshot()
    assert (shown.frames, shown.dropped, shown.reconnects, shown.faces) == (100, 7, 2, 2)
    assert shown.fps == pytest.approx(10, abs=0.4)
    assert shown.latency_ms_median == pytest.approx(40) and shown.latency_ms_p95 == pytest.approx(500)
    assert shown.seconds_since_frame == 0
    assert shown.run_latency_ms == pytest.approx((40, 500), rel=0.011)
    clock.now += 1.5
    assert stats.snapshot().fps == pytest.approx(5, abs=0.4) and stats.snapshot().seconds_since_frame == 1.5
    clock.now += RECENT_SECONDS
    assert stats.snapshot().fps == 0, "a source that is silent has no rate"


def test_the_latency_of_a_run_is_that_of_all_of_it() -> None:
    clock = Clock()
    stats = StreamStats(Silent(), clock)
    for number in range(2 * RECENT_FRAMES):
        stats.add(result(captured=clock.now - (0.2 if number < RECENT_FRAMES + 50 else 0.05)))
    stats.add(result(captured=clock.now))
    stats.add(result(captured=clock.now - 1e4))
    assert stats.snapshot().latency_ms_median == pytest.approx(50)
    assert stats.snapshot().run_latency_ms == pytest.approx((200, 200), rel=0.011)


def test_a_file_has_no_latency_and_nothing_is_divided_by_nothing() -> None:
    stats = StreamStats(Silent(), Clock())
    empty = stats.snapshot()
    assert (empty.frames, empty.fps, empty.latency_ms_median, empty.seconds_since_frame) == (0, 0, None, None)
    stats.add(result())
    assert stats.snapshot().latency_ms_p95 is None and "behind" not in stats.snapshot().sentence()


def test_snapshots_may_be_asked_from_any_thread() -> None:
    stats, one = StreamStats(Silent()), result(captured=0.0)

    def ask() -> list[int]:
        return [stats.snapshot().frames for _ in range(100)]

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask) for _ in range(3)]
        for _ in range(300):
            stats.add(one)
    assert all(future.result() == sorted(future.result()) for future in asked) and stats.snapshot().frames == 300


def test_the_window_says_what_is_done_less() -> None:
    stats = StreamStats(Silent(), Clock())
    assert (
        stats.snapshot().effort.level == 0
        and stats.snapshot().sentence() == "0.0 frames/s, 7 dropped, found again 2 times"
    )
    stats.tell(Effort(4, "faces are restored by tier S"))
    assert stats.snapshot().sentence().endswith(", faces are restored by tier S")


FIGURES = StatsSnapshot(9, 3, 24.96, 31.0, 40.0, 2, 1, 0.1, run_latency_ms=(51.4, 80.2))


def test_the_summary_says_what_was_dropped_and_how_late_frames_were() -> None:
    summary = Summary("frame", None, None, done=9)
    summary.count_stream(3, 1, FIGURES)
    said = summary.sentence()
    assert "3 dropped" in said and "51 ms from camera to output (95%: 80 ms)" in said and "again 1 time" in said
    as_json = summary.to_json()
    assert (as_json["dropped"], as_json["reconnects"], as_json["latency_ms"]) == (3, 1, [51.4, 80.2])
    assert "dropped" not in Summary("frame", None, None).sentence()


@pytest.mark.parametrize(("unit", "named"), [("frame", 100), ("picture", 250)])
def test_failed_frames_are_counted_for_ever_and_named_no_further(unit: str, named: int) -> None:
    summary = Summary(unit, None, None)
    for number in range(250):
        summary.add(f"frame {number}", {"error": "a bug"})
    assert (len(summary.failed), summary.failures, summary.finished, summary.exit_code) == (named, 250, 250, 1)
    assert "250 failed" in summary.sentence() and summary.to_json()["failures"] == 250


# The window's picture


def view(compare: bool = False) -> View:
    return View(FrameWork(lambda frame: None, 2), lambda: FIGURES, compare=compare)  # pyright: ignore[reportArgumentType]


def test_keys_turn_the_parts_of_the_view_on_and_off() -> None:
    shown, one = view(), result(90, size_wh=(320, 180))
    plain = shown.draw(one)
    assert plain.shape == (360, 640, 3) and (plain != one.restored.image).any(), "the figures"
    shown.press("i")
    np.testing.assert_array_equal(shown.draw(one), one.restored.image)
    shown.press("c")
    assert shown.draw(one).shape[1] == 1280
    shown.press("c")
    shown.press("f")
    with_faces = shown.draw(one)
    assert with_faces.shape[0] > 360 + 100 and (with_faces[360:, :112] == CROP[0, 0]).all(-1).any()
    shown.press("f")
    shown.press("x")
    helped = shown.draw(one)
    assert helped.shape == (360, 640, 3) and (helped[:60] != one.restored.image[:60]).any() and "h" in KEYS
    shown.press("h")
    np.testing.assert_array_equal(shown.draw(one), one.restored.image)


def test_drawing_changes_nothing_that_other_outputs_get() -> None:
    one = result(90, size_wh=(320, 180))
    before = one.restored.image.copy()
    view().draw(one)
    np.testing.assert_array_equal(one.restored.image, before)


def test_the_strip_keeps_its_height_and_any_size_can_be_drawn() -> None:
    shown = view()
    shown.press("f")
    with_faces, without = result(size_wh=(320, 180)), result(size_wh=(320, 180))
    high = shown.draw(with_faces).shape
    without.restored.faces.clear()
    assert shown.draw(without).shape == high
    shown.press("h")
    for size_wh in ((4, 4), (16, 500), (900, 8)):
        assert shown.draw(result(size_wh=size_wh)).dtype == np.uint8


# Crops


def test_the_faces_of_each_track_are_a_folder(tmp_path: Path) -> None:
    with into_crops(tmp_path / "faces") as show:
        for number in range(3):
            assert show(result(number)) is None
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert files == [f"faces/000000/{number:08}.png" for number in range(3)], "of the face that was restored"
    np.testing.assert_array_equal(read_image(tmp_path / files[0]), CROP)


@pytest.mark.parametrize(("first", "left"), [(0, []), (2, [0, 1])])
def test_a_run_clears_the_crops_that_are_made_again(tmp_path: Path, first: int, left: list[int]) -> None:
    with into_crops(tmp_path) as show:
        for number in range(3):
            show(result(number))
    (tmp_path / f"000000/.00000002.{NO_PROCESS}.partial.png").touch()
    mine = [tmp_path / "000000/anna.png", tmp_path / "anna/00000002.png"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with into_crops(tmp_path, first):
        files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and path not in mine)
        assert files == [f"{number:08}.png" for number in left] and all(path.is_file() for path in mine)
