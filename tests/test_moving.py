"""The chain of a moving picture: tracked, fused, finished by workers in order; and its measurement."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from fractions import Fraction
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from fsr.runtime import RestoreOptions, Restorer
from fsr.runtime.align import RESTORED
from fsr.runtime.bench import moving as moving_bench
from fsr.runtime.bench.moving_figures import render
from fsr.runtime.interrupt import is_stopping
from fsr.runtime.media.source import Source, VideoFrame
from fsr.runtime.media.test_scene import TestScene
from fsr.runtime.pixels import RgbImage
from fsr.runtime.runs.frame_work import FrameResult, FrameWork
from fsr.runtime.runs.records import face_record
from fsr.runtime.runs.stream import restore_stream
from fsr.runtime.runs.summary import Summary

SIZE_WH = (320, 200)


class Moving(Source):
    """A small scene as a source."""

    size_wh, rate = SIZE_WH, Fraction(30)

    def __init__(self, frames: list[RgbImage], *, live: bool = False) -> None:
        self._frames, self.live = frames, live

    def __iter__(self) -> Iterator[VideoFrame]:
        for number, pixels in enumerate(self._frames):
            yield VideoFrame(pixels, number, Fraction(1, 30), number / 30)

    def close(self) -> None: ...


class Kept:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.results: list[FrameResult] = []

    def __enter__(self):
        return self.results.append

    def __exit__(self, *_) -> None: ...


@pytest.fixture(scope="module")
def frames() -> list[RgbImage]:
    return list(TestScene(faces=2, size_wh=SIZE_WH, seconds=20 / 30, cuts=0, crf=0, seed=3).frames())


@pytest.fixture(scope="module")
def restorer() -> Iterator[Restorer]:
    with Restorer.open(tier="S", precision="fp32", options=RestoreOptions(scale=1, min_face=24)) as opened:
        yield opened


def streamed(work: FrameWork, source: Source, workers: int = 2) -> list[FrameResult]:
    kept = Kept()
    restore_stream(source, work, [kept], Summary("frame", None, None), Console(quiet=True), workers=workers)
    return kept.results


@pytest.mark.parametrize("live", [False, True])
def test_frames_come_in_order_with_tracked_faces(restorer: Restorer, frames: list[RgbImage], live: bool) -> None:
    results = streamed(FrameWork(restorer, 1), Moving(frames, live=live))
    assert [result.frame.pts for result in results] == list(range(len(frames)))
    assert all(result.error is None for result in results)
    tracks = [[face.track for face in result.restored.faces] for result in results]
    assert tracks[0] == [1, 2] and tracks[-1] == [2]  # the first one leaves
    assert all(own in ([1, 2], [2]) for own in tracks)
    leaving = [face.opacity for result in results for face in result.restored.faces if face.track == 1]
    assert leaving[0] == 1 and leaving[-1] < 0.5
    assert any(face.decision == RESTORED for face in results[-1].restored.faces)


def test_one_worker_makes_the_same_pictures_as_three(restorer: Restorer, frames: list[RgbImage]) -> None:
    one, three = (streamed(FrameWork(restorer, 1), Moving(frames[:8]), workers) for workers in (1, 3))
    assert all((a.restored.image == b.restored.image).all() for a, b in zip(one, three, strict=True))


@pytest.mark.parametrize("live", [False, True])
def test_a_live_run_is_warm_before_its_first_frame(
    restorer: Restorer, frames: list[RgbImage], monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    happened: list[object] = []

    class Watched(Moving):
        def __iter__(self) -> Iterator[VideoFrame]:
            happened.append("first frame")
            yield from super().__iter__()

    monkeypatch.setattr(restorer, "_search", lambda frame: happened.append(frame.shape))
    engines = {name: lambda batch, name=name: happened.append(name) for name in restorer._engines}
    for name, engine in restorer._engines.items():
        monkeypatch.setattr(engines[name], "input_size", engine.input_size, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(restorer, "_engines", engines)
        streamed(FrameWork(restorer, 1), Watched(frames[:1], live=live))
    warm = [(200, 320, 3), *engines]
    assert happened[: happened.index("first frame")] == (warm if live else [])


def test_a_sink_ends_a_run_while_no_frame_comes(restorer: Restorer, frames: list[RgbImage]) -> None:
    """As q in the window does while a camera is unplugged."""

    class Lost(Moving):
        def __iter__(self) -> Iterator[VideoFrame]:
            yield from super().__iter__()
            while not is_stopping():
                time.sleep(0.01)

    class Quits(Kept):
        asked = 0

        def idle(self) -> bool:
            self.asked += 1
            return self.asked < 3

    sink, summary = Quits(), Summary("frame", None, None)
    restore_stream(Lost(frames[:1], live=True), FrameWork(restorer, 1), [sink], summary, Console(quiet=True))
    assert (sink.asked, len(sink.results), summary.stopped) == (3, 1, True)


def test_options_are_asked_for_every_frame(restorer: Restorer, frames: list[RgbImage]) -> None:
    strengths = iter(np.linspace(0, 1, 6).tolist())
    work = FrameWork(restorer, 1, lambda: RestoreOptions(scale=1, strength=next(strengths)))
    first, *_, last = streamed(work, Moving(frames[:6]))
    assert (first.restored.image == frames[0]).all() and (last.restored.image != frames[5]).any()


def test_a_frame_that_cannot_be_tracked_is_enlarged_and_told(
    restorer: Restorer, frames: list[RgbImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("too little")

    monkeypatch.setattr("fsr.runtime.moving.MovingChain._cut", broken)
    (result,) = streamed(FrameWork(restorer, 1), Moving(frames[:1]))
    assert result.error is not None and "too little" in result.error
    assert (result.restored.image == frames[0]).all()


def test_records_tell_track_and_opacity_of_moving_faces_only(restorer: Restorer, frames: list[RgbImage]) -> None:
    (result, *_) = streamed(FrameWork(restorer, 1), Moving(frames[:2]))
    assert {"track", "opacity"} <= result.record(0)["faces"][0].keys()
    assert "track" not in face_record(restorer(frames[0]).faces[0])


def test_the_measurement_measures_and_is_shown(restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving_bench, "STEADY_FRAMES", range(1, 4))
    report = moving_bench.run_moving_bench(
        lambda options: Restorer.open(tier="S", precision="fp32", options=options),
        RestoreOptions(),
        2,
        faces=(1,),
        frames=6,
        rounds=1,
    )
    (load,) = report.loads
    assert load.milliseconds.median > 0 and load.cpu_milliseconds > 0 and load.recall_of_truth == 1
    assert sum(load.stages.values()) <= load.one_thread.median
    assert report.steadiness.tracked.looks == report.steadiness.frame_by_frame.looks > 0
    assert json.loads(report.to_json())["loads"][0]["frames"] == 6
    console = Console(record=True, width=200, file=StringIO())
    console.print(render(report))
    assert "tracked" in console.export_text()
