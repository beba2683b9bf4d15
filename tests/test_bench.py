"""The bench's report is whole and its sums are right; how fast anything is, no test says."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from run_fakes import FakeRestorer, face

from fsr.runtime.bench import chain as bench
from fsr.runtime.bench import naive
from fsr.runtime.bench import race as racing
from fsr.runtime.bench.chain import detector_input, run_bench, user_load
from fsr.runtime.bench.figures import BenchReport, found_of, recall_of, speeds_of, stages_of, times_naive
from fsr.runtime.bench.race import Contestant, Outcome, Turn
from fsr.runtime.bench.report import render
from fsr.runtime.errors import EngineUnavailableError
from fsr.runtime.geometry import resize
from fsr.runtime.media.images import write_image
from fsr.runtime.options import RestoreOptions
from fsr.runtime.pipeline import RestoredFrame
from fsr.runtime.pixels import RgbImage

BOX = np.array([[10.0, 10, 30, 40]])


class FakeOpener:
    """Opens a fake restorer of the wanted scale and remembers with which options."""

    def __init__(self) -> None:
        self.options: list[RestoreOptions] = []

    def __call__(self, options: RestoreOptions) -> AbstractContextManager[bench.AnyRestorer]:
        self.options.append(options)
        restorer = FakeRestorer(face(), face(restored=False), scale=options.scale)
        return nullcontext(Described(restorer))


class Described:
    description = "fake engine"

    def __init__(self, restorer: FakeRestorer) -> None:
        self._restorer = restorer

    def __call__(self, frame: RgbImage) -> RestoredFrame:
        return self._restorer(frame)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round of few pictures, and scenes of one face."""
    monkeypatch.setattr(racing, "MIN_ROUNDS", 1)
    monkeypatch.setattr(racing, "PICTURES", 1)
    monkeypatch.setattr(bench, "SEEDS", {1: (0,), 4: (1,)})


@pytest.fixture
def picture(tmp_path: Path, astronaut: RgbImage) -> Path:
    write_image(tmp_path / "collins.jpg", resize(astronaut, (192, 192)))
    return tmp_path / "collins.jpg"


def shown(report: BenchReport) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(render(report))
    return captured.get()


@pytest.mark.usefixtures("short")
def test_scenes_with_one_worker_and_with_several() -> None:
    report = run_bench(FakeOpener(), RestoreOptions(), 3, seconds=0)
    assert [load.name for load in report.loads] == ["1 face", "4 faces"]
    for load in report.loads:
        assert load.size_wh == (1280, 720) and load.detector_wh == (1120, 630)
        assert [(speed.chain, speed.workers) for speed in load.speeds] == [("fsr", 1), ("fsr", 3)]
        assert list(load.stages) == ["fsr"]
        assert list(load.stages["fsr"]) == ["read", "detect", "paste", "write"]
        assert load.stages["fsr"]["detect"].median == pytest.approx(1.235)
        assert all(speed.faces_a_second == pytest.approx(speed.pictures_a_second, rel=0.01) for speed in load.speeds)
        assert [(recall.of, recall.by) for recall in load.recall] == [("placed", "fsr")]
        assert load.times_naive == {}
    assert [load.recall[0].faces for load in report.loads] == [1, 4]
    assert report.rounds == 1 and report.engine == "fake engine"
    assert report.first_picture_milliseconds > 0
    assert report.peak_megabytes is None or report.peak_megabytes > 10


@pytest.mark.usefixtures("short")
def test_json_holds_all_of_it(picture: Path) -> None:
    report = run_bench(FakeOpener(), RestoreOptions(), 1, pictures=[picture], seconds=0)
    data = json.loads(report.to_json())
    assert data["machine"]["packages"]["numpy"] == np.__version__
    assert {"processor", "cores", "python"} <= data["machine"].keys()
    assert data["options"]["scale"] == 2 and data["codec"] == "JPEG of quality 90"
    (load,) = data["loads"]
    assert load["name"] == "1 picture" and load["pictures"] == 1 and load["size_wh"] == [192, 192]
    assert load["recall"] == [], "nothing was placed, and there is no other chain"
    assert load["speeds"][0].keys() == {"chain", "workers", "milliseconds", "pictures_a_second", "faces_a_second"}
    assert "1 picture" in shown(report) and "naive" not in shown(report)


@pytest.mark.usefixtures("short")
def test_beside_the_naive_chain(picture: Path) -> None:
    opener = FakeOpener()
    report = run_bench(
        opener, RestoreOptions(scale=3, min_face=12, strength=0.5), 2, naive=True, pictures=[picture], seconds=0
    )
    assert opener.options == [RestoreOptions(scale=1, min_face=24, strength=0.5)], "the same work for both"
    (load,) = report.loads
    assert load.detector_wh == (112, 112), "192 px, at the size where its smallest faces can be suspected"
    assert [(speed.chain, speed.workers) for speed in load.speeds] == [
        ("fsr", 1),
        ("fsr", 2),
        ("naive", 1),
        ("naive", 2),
    ]
    assert load.times_naive.keys() == {1, 2}
    assert list(load.stages) == ["fsr", "naive"] and "super-resolve" in load.stages["naive"]
    counts = [(recall.of, recall.by, recall.faces, recall.found) for recall in load.recall]
    assert counts == [("fsr", "naive", 2, 0), ("naive", "fsr", 1, 0)], "the fake finds two faces in the corner"
    text = shown(report)
    for part in ("x naive", "by naive", "1 worker: one process", "faces from 24 px on", "torch"):
        assert part in text


def test_a_missing_torch_is_said_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naive, "find_spec", lambda name: None)
    opener = FakeOpener()
    with pytest.raises(EngineUnavailableError, match="torch and onnx"):
        run_bench(opener, RestoreOptions(), 1, naive=True)
    assert not opener.options


def test_of_many_pictures_some_are_taken_from_everywhere() -> None:
    load = user_load([Path(str(number)) for number in range(101)])
    assert load.name == "8 pictures of 101"
    assert load.pictures[0] == Path("0") and load.pictures[-1] == Path("100")
    assert len(set(load.pictures)) == len(load.pictures) == 8
    assert user_load([Path("a")]).name == "1 picture"


def test_the_detector_sees_what_the_smallest_face_asks_for() -> None:
    assert detector_input((1280, 720), RestoreOptions(min_face=14)) == (1280, 720)
    assert detector_input((1280, 720), RestoreOptions(min_face=28)) == (640, 360)


def test_a_face_is_found_at_an_overlap_of_half() -> None:
    half, less = BOX.copy(), BOX.copy()
    half[0, 2], less[0, 2] = 50, 51  # twice as wide, and a little more
    assert found_of(BOX, half) == 1 and found_of(BOX, less) == 0
    assert found_of(np.vstack([BOX, BOX + 100]), BOX) == 1
    assert found_of(BOX, np.empty((0, 4))) == 0
    assert found_of(np.empty((0, 4)), BOX) == 0


def test_recall_counts_each_picture_once_and_in_both_directions() -> None:
    ours = [outcome(np.vstack([BOX, BOX + 100])), outcome(BOX)] * 2  # two pictures, restored twice
    theirs = [outcome(BOX), outcome(np.vstack([BOX + 100, BOX]))] * 2
    found = recall_of(sides(1, 1), [[Turn(1, ours)], [Turn(1, theirs)]], 2, [BOX, BOX])
    counts = {(recall.of, recall.by): (recall.found, recall.faces) for recall in found}
    assert counts == {
        ("placed", "fsr"): (2, 2),
        ("placed", "naive"): (2, 2),
        ("fsr", "naive"): (2, 3),
        ("naive", "fsr"): (2, 3),
    }


def test_the_ratio_is_taken_round_by_round_at_equal_workers() -> None:
    ours, theirs = [turn(10), turn(40), turn(10)], [turn(20), turn(120), turn(50)]
    assert times_naive(sides(2, 2), [ours, theirs]) == {2: 3}
    assert times_naive(sides(2, 1), [ours, theirs]) == {}


def test_speed_and_stages_are_medians() -> None:
    rounds = [turn(10, faces=3), turn(20, faces=3), turn(1000, faces=3)]
    (speed,) = speeds_of(sides(1), [rounds])
    assert (speed.milliseconds.median, speed.milliseconds.p5) == (20, 11)
    assert (speed.pictures_a_second, speed.faces_a_second) == (50, 150)
    assert stages_of(sides(1), [rounds])["fsr"]["detect"].median == 20
    assert stages_of(sides(2), [rounds]) == {}, "with several workers a stage waits for its turn"


def sides(*workers: int) -> list[Contestant]:
    def unused(source: Path, target: Path) -> Outcome:
        raise NotImplementedError

    return [Contestant(name, unused, count, 1) for name, count in zip(("fsr", "naive"), workers, strict=False)]


def outcome(boxes: np.ndarray) -> Outcome:
    return Outcome(boxes, len(boxes), {})


def turn(milliseconds: float, faces: int = 1) -> Turn:
    return Turn(milliseconds, [Outcome(BOX, faces, {"detect": milliseconds})])
