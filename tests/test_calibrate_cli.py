"""fsr-calibrate from pictures and videos to a set: the same bytes for the same files, and a sentence for the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiny_data import portrait, save, save_portraits

from fsr.calibration import calibration_set, collect, duplicates
from fsr.calibration.calibration_set import open_set
from fsr.calibration.cli import main
from fsr.calibration.detector_frames import SIDE, WatchedDetector, detector_view
from fsr.calibration.moments import SourceFile, moments
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector
from fsr.runtime.engines import open_network
from fsr.runtime.pixels import RgbImage
from fsr.runtime.search import FaceSearch

FRAMES = 8
"""For the detector; as many as a real set has take seconds."""
PICTURES = [f"{number:02}.png" for number in range(20)]


@pytest.fixture
def few_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people make a set: every copy of their portraits counts as another face."""
    monkeypatch.setattr(calibration_set, "MINIMUM", 8)
    monkeypatch.setattr(collect, "MINIMUM", 8)
    monkeypatch.setattr(collect, "COUNT", FRAMES)
    monkeypatch.setattr(duplicates, "MAX_DISTANCE", -1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read, never changed."""
    return save_portraits(tmp_path_factory.mktemp("photos"), PICTURES)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def made(source: Path, output: Path, *more: object, count: int = 12) -> Path:
    result = run("collect", "-i", source, "-o", output, "--count", count, *more)
    assert result.exit_code == 0, result.output
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def assert_one_line(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert result.output.splitlines()[-1:] == errors, result.output
    for part in parts:
        assert part in errors[0]


@pytest.mark.usefixtures("few_suffice")
def test_the_same_files_and_seed_give_the_same_bytes_on_any_number_of_threads(photos: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(photos, moved)
    one = contents(made(photos, tmp_path / "one", "--workers", 1))
    assert contents(made(moved, tmp_path / "three", "--workers", 3)) == one
    assert contents(made(photos, tmp_path / "seed", "--seed", 1))["set.json"] != one["set.json"]


@pytest.mark.usefixtures("few_suffice")
def test_a_set_holds_the_faces_at_every_input_size_of_its_bundle(
    photos: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    output = made(photos, tmp_path / "set", "--bundle", tiny_bundle, "--source", "two people", "--licence", "none")
    opened = open_set(output)
    about = opened.description
    assert (about.bundle, about.framing, about.faces, about.input_sizes) == ("tiny", "runtime", 12, [16, 32])
    assert (about.source, about.licence) == ("two people", "none")
    assert opened.faces(32).shape == (12, 32, 32, 3)
    small = opened.faces(32).reshape(12, 16, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(small - opened.faces(16)).mean() < 12  # the same faces in the same order
    assert np.abs(small[::-1] - opened.faces(16)).mean() > 24
    assert opened.frames().shape[1:] == (SIDE, SIDE, 3)
    assert len(opened.frames()) == about.frames == FRAMES
    assert sum(source.faces for source in about.sources) == 12
    assert {source.name for source in about.sources} <= set(PICTURES)
    for histogram in about.coverage:
        assert sum(histogram.chosen) + histogram.unknown == 12
        assert sum(histogram.found) <= 20


@pytest.mark.usefixtures("few_suffice")
def test_what_cannot_be_used_is_named_and_the_rest_is_done(photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(photos, source)
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    save(source / "wall.png", np.full((90, 90, 3), 128, np.uint8))
    shutil.copy(source / "00.png", source / "zz.png")
    result = run("collect", "-i", source, "-o", tmp_path / "set", "--count", 200)
    assert result.exit_code == 1, result.output
    assert f"{source / 'broken.jpg'}: cannot be read as a picture" in result.stderr
    assert "no usable face in wall.png" in result.stderr
    assert "got 20 different faces, --count asked for 200: all were taken" in result.stderr
    assert "got 20 faces, 500 or more are advised" in result.stderr
    assert result.stdout == f"{tmp_path / 'set'}\n"
    about = open_set(tmp_path / "set").description
    assert about.counts["unreadable"] == 1
    assert about.counts["without_face"] == 1
    assert "zz.png" not in {entry.name for entry in about.sources}


def test_copies_of_a_face_count_once(photos: Path, tmp_path: Path) -> None:
    result = run("collect", "-i", photos, "-o", tmp_path / "sets" / "set", "--count", 200)
    assert_one_line(result, "different faces, expected at least 200, better 500", "give more pictures with --input")
    got = int(result.output.split(" got ")[1].split()[0])
    assert 2 <= got < 20  # lit and turned copies of two people
    assert list((tmp_path / "sets").iterdir()) == []


def test_no_face_at_all(tmp_path: Path) -> None:
    source = save(tmp_path / "in" / "wall.png", np.full((90, 90, 3), 128, np.uint8)).parent
    assert_one_line(run("collect", "-i", source, "-o", tmp_path / "set"), "got 0 different faces")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", 199], "--count: got 199, expected at least 200"),
        (["--seed", -1], "--seed: got -1"),
        (["--workers", -1], "--workers: got -1"),
        (["--bundle", "nowhere"], "not a bundle"),
    ],
)
def test_wrong_options(photos: Path, tmp_path: Path, options: list[object], message: str) -> None:
    assert_one_line(run("collect", "-i", photos, "-o", tmp_path / "set", *options), message)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists_and_an_input_that_does_not(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "set").write_text("mine")
    assert_one_line(run("collect", "-i", photos, "-o", tmp_path / "set"), "exists already; choose another --output")
    assert (tmp_path / "set").read_text() == "mine"
    assert_one_line(run("collect", "-i", tmp_path / "nowhere", "-o", tmp_path / "new"), "got nothing there")


@pytest.mark.usefixtures("few_suffice")
def test_inspect_shows_the_coverage_and_finds_damage(photos: Path, tmp_path: Path) -> None:
    output = made(photos, tmp_path / "set", "--source", "two [bold]people")
    shown = run("inspect", output).output
    for part in (
        open_set(output).id,
        "two [bold]people",
        "roll, degrees",
        "30 and more",
        "█",
        "500 or more are advised",
    ):
        assert part in shown
    described = json.loads(run("inspect", output, "--json").output)
    assert described["faces"] == 12
    assert described["warning"].startswith("got 12 faces")
    data = (output / "faces-16.npy").read_bytes()
    (output / "faces-16.npy").write_bytes(data[:-1])
    assert_one_line(run("inspect", output), "faces-16.npy: got sha256", "collect the set again")
    assert_one_line(run("inspect", tmp_path), "not a calibration set")


@pytest.mark.usefixtures("few_suffice")
def test_a_video_gives_one_frame_a_second(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", seconds=10, rate=2)
    found = list(moments(iter([SourceFile(film, "film.mp4", "0" * 64)]), lambda path, error: pytest.fail(str(error))))
    assert [moment.second for moment in found] == list(range(10))
    opened = open_set(made(film, tmp_path / "set", count=8))
    assert [(source.name, source.faces) for source in opened.description.sources] == [("film.mp4", 8)]
    assert opened.description.counts["moments"] == 10


def make_film(path: Path, seconds: int, rate: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 178, 218, "yuv420p"
        for index in range(seconds * rate):
            frame = av.VideoFrame.from_ndarray(portrait(index % 24), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_detector_frames_are_what_the_search_hands_to_the_detector(astronaut: RgbImage) -> None:
    network = open_network("onnxruntime", default_detector())
    watched = WatchedDetector(network)
    found = FaceSearch(watched, 16.0)(astronaut)
    assert [f.face.score for f in found] == [f.face.score for f in FaceSearch(Detector(network), 16.0)(astronaut)]
    frame = detector_view(network, astronaut)
    assert any(
        np.array_equal(frame, view[top : top + SIDE, left : left + SIDE])
        for view, _ in watched.views
        for top in range(view.shape[0] - SIDE + 1)
        for left in range(view.shape[1] - SIDE + 1)
        if np.array_equal(frame[0, :4], view[top, left : left + 4])
    )
    (face,) = Detector(network)(frame)
    assert face.score > 0.9
    assert face.box_xyxy.min() > 0  # the whole face is in
    assert face.box_xyxy.max() < SIDE


def test_a_tight_crop_full_of_a_face_is_found_and_fills_a_frame() -> None:
    network = open_network("onnxruntime", default_detector())
    tight = portrait(0)[30:190]
    frame = detector_view(network, tight)
    assert frame[:, -32:].any(2).mean() > 0.9
    assert frame[-32:].any(2).mean() > 0.9
    assert Detector(network)(frame)[0].score > 0.8
