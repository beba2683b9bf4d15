"""fsr-run as a user types it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from run_fakes import files_below, read_records

from fsr.runtime.bundle import default_folder
from fsr.runtime.cli import ENGINES, SECTIONS, main
from fsr.runtime.doctor import Diagnosis
from fsr.runtime.engines import OPENERS
from fsr.runtime.errors import InputError, UsageError
from fsr.runtime.machine import this_machine
from fsr.runtime.media.images import read_image, write_image
from fsr.runtime.media.uri import parse_uri
from fsr.runtime.options import RestoreOptions
from fsr.runtime.parts import Part
from fsr.runtime.runs.request import RULES, Request
from fsr.runtime.runs.summary import Summary

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PICTURES = sorted(path.name for path in EXAMPLES.glob("*.png"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_one_sentence(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and result.stdout == ""
    for part in parts:
        assert part in line


@pytest.fixture
def wall(tmp_path: Path) -> Path:
    """A folder with one grey picture that holds no face."""
    write_image(tmp_path / "wall" / "a.png", np.full((90, 90, 3), 127, np.uint8))
    return tmp_path / "wall"


# The default bundle on the example pictures


def test_the_examples_are_restored(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("--input", EXAMPLES, "--output", out, "--compare", "--workers", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    for name in PICTURES:
        small, restored = read_image(EXAMPLES / name), read_image(out / "restored" / name)
        assert restored.shape == (2 * small.shape[0], 2 * small.shape[1], 3)
        assert read_image(out / "compare" / f"{name}.png").shape[1] == 2 * restored.shape[1]
        assert list((out / "faces").glob(f"{name}.*.png")), f"no face of {name} was restored"
    header, records = read_records(out / "results.jsonl")
    assert [record["picture"] for record in records] == PICTURES, "in order, though two worked on them"
    assert (header["bundle"], header["pixels"]["--scale"]) == ("default", 2) and len(header["manifest_sha256"]) == 64
    for face in (face for record in records for face in record["faces"] if face["decision"] == "restored"):
        assert face["model"].startswith("edge-") and (out / face["crop"]).is_file()
    assert "restored by edge-" in result.stderr and "5 pictures done in" in result.stderr
    assert "onnxruntime" in result.stderr, "what auto took"


def test_the_summary_as_json_is_all_of_stdout(tmp_path: Path) -> None:
    result = run("-i", EXAMPLES / PICTURES[0], "-o", tmp_path / "out", "--json", "--quiet", "--scale", 1)
    summary = json.loads(result.stdout)
    assert (summary["total"], summary["done"], summary["failed"], summary["unit"]) == (1, 1, {}, "picture")
    assert sum(summary["faces"].values()) >= 1 and summary["output"] == str(tmp_path / "out")
    assert result.stderr == ""
    assert read_image(tmp_path / "out/restored" / PICTURES[0]).shape == read_image(EXAMPLES / PICTURES[0]).shape


def test_the_default_output_is_fsr_out_and_is_printed(wall: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(wall.parent)
    result = run("-i", "wall")
    assert result.exit_code == 0, result.output
    assert result.stdout == "fsr-out\n"
    assert files_below(wall.parent / "fsr-out") == ["restored/a.png", "results.jsonl"]
    assert "1 picture done" in result.stderr and "1 without a face" in result.stderr


def test_resume_goes_on_and_refuses_other_options(wall: Path) -> None:
    assert run("-i", wall, "-o", wall / "out").exit_code == 0
    assert "1 done before" in run("-i", wall, "-o", wall / "out", "--resume").stderr
    refused = run("-i", wall, "-o", wall / "out", "--resume", "--scale", 3, "--quiet")
    assert_one_sentence(refused, "begun with --scale 2, this run has 3")


def test_failures_are_named_whatever_is_quiet(wall: Path) -> None:
    for number in range(12):
        (wall / f"[bold] {'long ' * 20}{number:02}.jpg").write_bytes(b"no picture")
    for options in ([], ["--quiet"]):
        result = run("-i", wall, "-o", wall / "out", *options)
        assert result.exit_code == 1
        lines = [line for line in result.stderr.splitlines() if "cannot be read as a picture" in line]
        assert len(lines) == 10 and all("[bold] long long" in line for line in lines)
        assert "and 2 more failed: see" in result.stderr
        assert result.stdout == f"{wall / 'out'}\n"
    assert "1 picture done" not in result.stderr
    assert sum("error" in record for record in read_records(wall / "out/results.jsonl")[1]) == 12


def test_a_name_that_is_not_text_can_be_shown(wall: Path) -> None:
    (wall / os.fsdecode(b"\xff.jpg")).write_bytes(b"no picture")
    program = [sys.executable, "-c", "import fsr.runtime.cli; fsr.runtime.cli.main()"]
    options = ["-i", str(wall), "-o", os.fsdecode(b"\xfe")]
    done = subprocess.run([*program, *options], cwd=wall.parent, capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    assert b"cannot be read as a picture" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("part", ["fsr.runtime.runs.run.run", "fsr.runtime.pipeline.Restorer.open"])
def test_a_stop_before_anything_is_done_is_exit_code_130(
    wall: Path, monkeypatch: pytest.MonkeyPatch, number: int, part: str
) -> None:
    monkeypatch.setattr(part, lambda *_, **__: signal.raise_signal(number))
    result = run("-i", wall, "-o", wall / "out")
    assert (result.exit_code, result.output) == (130, "") and not (wall / "out").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_is_not_there_is_not_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a camera is stopped before its first frame."""
    monkeypatch.setattr("fsr.runtime.runs.run.RUNS", {"live": lambda *_: Summary("frame", tmp_path / "a.mp4", None)})
    result = run("--camera", "0")
    assert (result.exit_code, result.stdout) == (0, "")
    (tmp_path / "a.mp4").touch()
    assert run("--camera", "0").stdout == f"{tmp_path / 'a.mp4'}\n"


# What is refused before any work


@pytest.fixture
def a_folder_by_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "2024").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("a_folder_by_year")
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["got no input", "--camera"]),
        (["-i", "a", "--camera", "0"], ["give one of them"]),
        (["--camera", "-1"], ["negative"]),
        (["-i", "a", "--naive"], ["needs --bench"]),
        (["-i", "a", "--moving"], ["--moving", "needs --bench"]),
        (["-i", "a", "--bench", "--moving"], ["--moving", "leave --input out"]),
        (["--doctor", "--bench"], ["give one of them"]),
        (["--bench", "--camera", "0"], ["--bench", "measures pictures"]),
        (["-i", "rtsp://a", "--resume"], ["--resume", "stream"]),
        (["-i", "0", "--window", "--headless"], ["--window", "give one of them"]),
        (["-i", "2024"], ["--input", "the number of a camera", "./2024", "--camera"]),
        (["-i", ""], ["--input: got ''", "names nothing"]),
        (["-i", "a", "--crops"], ["--crops", "moving pictures", "always written"]),
        (["-i", "2024/", "--window"], ["--window, --preview", "one video of the folder"]),
        (["-i", "rtsp://a", "--preview", "--compare"], ["--compare", "nothing is written", "--output"]),
        (["--bench", "--moving", "--scale", "3"], ["--moving", "leave --scale and --min-face out"]),
        (["-i", "a.mp4", "--record", "b.mkv"], ["--record", "a file is kept already"]),
        (["-i", "0", "--record", "b.txt"], ["--record", "the name of a video"]),
        (["-i", "0", "--record", "b.mp4", "-o", "b.mp4"], ["--record", "another than that of --output"]),
        (["-i", "gopher://a"], ["--input: got gopher://", "rtsp://"]),
        (["-i", "test://?people=3"], ["'people'", "faces"]),
        (["--camera", "0", "--resume"], ["--resume", "camera"]),
        (["-i", "0", "--resume"], ["--resume", "camera"]),
        (["-i", "a", "-o", "b.mp4"], ["--output", "expected a folder"]),
        (["-i", "a", "-o", "b.PNG"], ["--output", "the name of a picture", "expected a folder"]),
        (["-i", "a.mp4", "-o", "b.mp5"], ["--output", ".mkv, .mov, .mp4", "has to be there already"]),
        (["-i", "0", "-o", "b.jpg"], ["--output", "of no video"]),
        (["-i", "a", "--workers", "0"], ["--workers", "1 or more"]),
        (["-i", "a", "--scale", "9"], ["--scale: got 9", "1 to 8"]),
        (["-i", "a", "--min-face", "2"], ["--min-face: got 2"]),
        (["-i", "a", "--max-faces", "0"], ["--max-faces: got 0"]),
        (["-i", "a", "--strength", "1.5"], ["--strength: got 1.5"]),
    ],
)
def test_a_combination_without_sense_is_one_sentence(arguments: list[str], parts: list[str]) -> None:
    assert_one_sentence(run(*arguments), *parts)


@pytest.mark.usefixtures("a_folder_by_year")
def test_every_rule_is_tested() -> None:
    cases = test_a_combination_without_sense_is_one_sentence.pytestmark[0].args[1]  # type: ignore[attr-defined]
    said = {run(*arguments).stderr.removeprefix("error: ").rstrip() for arguments, _ in cases}
    assert {sentence for sentence, _ in RULES} <= said


def test_a_folder_may_be_called_as_it_likes(tmp_path: Path) -> None:
    there = {name: tmp_path / name for name in ("films.d", "a.png")}
    for folder in there.values():
        folder.mkdir()
    for given in (
        {"input": "a.mp4", "output": there["films.d"]},
        {"input": "a", "output": tmp_path / "pictures.d"},
        {"input": "a", "output": there["a.png"]},
    ):
        assert Request(**given).output_path == given["output"]


@pytest.mark.parametrize("option", ["--engine", "--precision", "--tier"])
def test_a_choice_that_is_none_names_those_there_are(option: str) -> None:
    result = run("-i", "a", option, "best")
    assert result.exit_code == 2 and f"'{option}'" in result.stderr and "'best' is not one of" in result.stderr


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert_one_sentence(run("-i", nowhere), f"{nowhere}: got nothing there, expected a folder")


def test_a_folder_without_a_picture_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    assert_one_sentence(run("-i", tmp_path), f"{tmp_path}: no picture in it", ".jpg")


def test_a_damaged_bundle_is_one_sentence_and_leaves_nothing(wall: Path) -> None:
    broken, out = wall.parent / "broken", wall.parent / "out"
    shutil.copytree(default_folder(), broken)
    model = next(broken.glob("*.fp32.onnx"))
    model.write_bytes(model.read_bytes()[:-1])
    assert_one_sentence(run("-i", wall, "-o", out, "--bundle", broken), f"{model}: got sha256", "get the bundle again")
    assert_one_sentence(run("-i", wall, "-o", out, "--bundle", wall), f"{wall}: not a bundle")
    assert not out.exists()


def test_a_file_where_the_output_should_be_is_one_sentence(wall: Path) -> None:
    (wall.parent / "out").write_text("mine")
    assert_one_sentence(run("-i", wall, "-o", wall.parent / "out", "--quiet"), f"{wall.parent / 'out'}")
    assert (wall.parent / "out").read_text() == "mine"


# This machine


def test_the_doctor_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = Diagnosis(this_machine(), {"engines": [Part("onnxruntime", True, "1.2.3")]})
    monkeypatch.setattr("fsr.runtime.doctor.examine", lambda: diagnosis)
    assert "1.2.3" in run("--doctor").stdout
    assert json.loads(run("--doctor", "--json").stdout)["parts"]["engines"][0]["detail"] == "1.2.3"


def test_the_bench_is_given_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def fake(open_restorer: Callable, options: RestoreOptions, workers: int, **more: Any) -> None:
        with open_restorer(options) as restorer:
            asked.update(more, options=options, workers=workers, engine=restorer.description)
        raise InputError("seen enough")

    monkeypatch.setattr("fsr.runtime.bench.chain.run_bench", fake)
    arguments = ["--bench", "--naive", "-i", EXAMPLES, "--workers", 3, "--scale", 1, "--engine", "onnxruntime"]
    assert_one_sentence(run(*arguments), "seen enough")
    assert (asked["naive"], asked["workers"], asked["options"].scale) == (True, 3, 1)
    assert [path.name for path in asked["pictures"]] == PICTURES
    assert "onnxruntime" in asked["engine"]
    assert_one_sentence(run("--bench"), "seen enough")
    assert asked["pictures"] == []


# The request


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"input": "photos"}, "pictures"),
        ({"input": "a.JPG"}, "pictures"),
        ({"input": "film.MP4"}, "video"),
        ({"input": "0"}, "live"),
        ({"camera": 2}, "live"),
        ({"input": "/dev/video0"}, "live"),
        ({"input": "rtsp://camera/1"}, "live"),
        ({"input": "test://?faces=1"}, "live"),
        ({"input": "file:///tmp/a%20b.mp4"}, "video"),
    ],
)
def test_the_kind_of_input_is_told_by_its_name(given: dict, kind: str) -> None:
    assert Request(**given).kind == kind


def test_camera_and_input_by_number_are_the_same() -> None:
    assert Request(input="3").source == Request(camera=3).source == parse_uri("/dev/video3")


@pytest.mark.usefixtures("a_folder_by_year")
def test_a_folder_and_a_camera_of_one_number_are_told_apart() -> None:
    assert Request(input="./2024").kind == "pictures"
    assert Request(camera=2024).kind == Request(input="/dev/video2024").kind == "live"


@pytest.mark.usefixtures("a_folder_by_year")
def test_crops_are_for_a_folder_of_videos_too() -> None:
    Path("2024/a.mp4").touch()
    assert Request(input="2024/", crops=True).crops
    Path("2024/a.jpg").touch()
    with pytest.raises(UsageError, match="--crops: is for moving pictures"):
        Request(input="2024/", crops=True)


def test_one_worker_a_core_that_may_be_used() -> None:
    assert Request(input="a").worker_count == len(os.sched_getaffinity(0))
    assert Request(input="a", workers=7).worker_count == 7


# Help


def test_every_engine_can_be_asked_for() -> None:
    assert set(ENGINES) == {"auto", *OPENERS}


def test_help_lists_every_option_once_under_its_heading() -> None:
    shown = run("--help").stdout
    for heading in (*SECTIONS, "More"):
        assert shown.count(f"\n{heading}:\n") == 1
    for parameter in main.params:
        assert isinstance(parameter, click.Option)
        assert sum(line.strip().startswith(parameter.opts[0]) for line in shown.splitlines()) >= 1, parameter.name


def test_the_examples_of_the_help_are_accepted() -> None:
    lines = [line.strip() for line in run("--help").stdout.splitlines() if line.strip().startswith("fsr-run --")]
    assert len(lines) >= 5
    for line in lines:
        arguments = line.split("  ")[0].split()[1:]
        with main.make_context("fsr-run", arguments) as context:
            Request(**context.params)
