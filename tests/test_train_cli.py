"""fsr-train: what a user can get wrong ends with exit code 2 and one sentence, never with a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_data import make_pack, save_portraits, touch

from fsr.train.checkpoint import load_checkpoint
from fsr.train.cli import main
from fsr.train.pack import open_pack
from fsr.train.recipes.edge import EdgeRecipe

PREPARE = ["prepare", "-i", "IN", "-o", "OUTPACK", "--source", "x", "--licence", "y", "--workers", "1"]
EDGE = ["edge", "-p", "PACK", "-o", "OUT", "--tier", "S", "--input-size", "16", "--scale", "8", "--threads", "1"]
ONE_STEP = [*EDGE, "--steps", "1", "--batch", "2", "--precision", "fp32"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """in/ with three portraits, empty/, text.txt and a pack."""
    save_portraits(tmp_path / "in", ["train/a.png", "val/b.png", "test/c.png"])
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "texts", ["a.jpg", "000001.jpg"])
    make_pack(tmp_path / "pack.safetensors", train=2, val=1, test=1)
    make_pack(tmp_path / "small.safetensors", train=2, val=1, test=0, size=64)
    (tmp_path / "text.txt").write_text("a text")
    return tmp_path


def fsr_train(folder: Path, arguments: list[str]) -> Result:
    """IN, PACK, OUT and DIR/... stand for paths in `folder`."""
    known = {"IN": "in", "PACK": "pack.safetensors", "OUT": "out", "OUTPACK": "out.safetensors"}
    placed = [str(folder / known[a]) if a in known else a.replace("DIR/", f"{folder}/") for a in arguments]
    return CliRunner().invoke(main, placed)


def check_sentence(result: Result, expected: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    errors = [line for line in lines if line.lower().startswith("error:")]
    assert len(errors) == 1, result.stderr
    assert lines[-1] == errors[0], "the error is the last line, and one line"
    assert expected in errors[0]
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (PREPARE[:-6], "Missing option '--source'"),
        ([*PREPARE, "-i", "DIR/none"], "got nothing there, expected a folder"),
        ([*PREPARE, "-i", "DIR/text.txt"], "got a file, expected a folder"),
        ([*PREPARE, "-i", "DIR/empty"], "no picture in it"),
        ([*PREPARE, "-i", "DIR/texts"], "no face could be prepared from 2 pictures"),
        ([*PREPARE, "-o", "PACK"], "exists already"),
        ([*PREPARE, "-o", "DIR/text.txt/out.safetensors"], "got a file, expected a folder"),
        ([*PREPARE, "-o", "DIR/pack.npz"], "expected a name that ends in .safetensors"),
        ([*PREPARE, "--licence", " "], "--source, --licence: got an empty text"),
        ([*PREPARE, "--layout", "celeba"], "no file named as in img_align_celeba"),
        ([*PREPARE, "--layout", "celeba", "-i", "DIR/texts"], "identity_CelebA.txt is not there"),
        ([*PREPARE, "--layout", "tar"], "'tar' is not one of"),
        ([*PREPARE, "--size", "100"], "--size: got 100"),
        ([*PREPARE, "--copies", "0"], "--copies: got 0"),
        ([*PREPARE, "--val-share", "2"], "--val-share, --test-share: got 2.0"),
        ([*PREPARE, "--workers", "-2"], "--workers: got -2"),
        ([*PREPARE, "--priors"], "--priors: got no --landmarker"),
        ([*PREPARE, "--landmarker", "DIR/text.txt"], "--landmarker: got no --priors"),
        ([*PREPARE, "--priors", "--landmarker", "DIR/none"], "expected MediaPipe's face_landmarker.task"),
        ([*PREPARE, "--priors", "--landmarker", "DIR/text.txt"], "not MediaPipe's face_landmarker.task"),
    ],
)
def test_prepare_names_what_is_wrong(folder: Path, arguments: list[str], expected: str) -> None:
    check_sentence(fsr_train(folder, arguments), expected)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (EDGE, "--minutes and --steps, expected one of them"),
        ([*ONE_STEP, "--minutes", "1"], "--minutes and --steps, expected one of them"),
        ([*EDGE, "--minutes", "-1"], "--minutes: got -1"),
        ([*EDGE, "--minutes", "soon"], "'soon' is not a valid float"),
        ([*EDGE, "--steps", "0"], "--steps: got 0"),
        (["edge", "-o", "OUT"], "Missing option '-p'"),
        ([*ONE_STEP, "-p", "DIR/none"], "no such file"),
        ([*ONE_STEP, "-p", "DIR/empty"], "got a folder, expected a .safetensors file"),
        ([*ONE_STEP, "-p", "DIR/text.txt"], "damaged"),
        ([*ONE_STEP, "-p", "DIR/small.safetensors"], "got crops of 64 px, expected 128"),
        ([*EDGE, "--steps", "1", "--input-size", "32"], "got crops of 128 px, expected 256 px"),
        ([*ONE_STEP, "--tier", "XXL"], "--tier: got 'XXL'"),
        ([*ONE_STEP, "--input-size", "20"], "--input-size: got 20"),
        ([*ONE_STEP, "--scale", "3"], "--scale: got 3, expected 4 or 8"),
        ([*ONE_STEP, "--scale", "16"], "--scale: got 16"),
        ([*ONE_STEP, "-p", "PACK"], "--pack: got the same faces twice"),
        ([*ONE_STEP, "--seed", str(2**64)], "--seed: got 18446744073709551616, expected 0 to"),
        ([*ONE_STEP, "--qat-method", "minmax"], "--qat-method: got it without --qat"),
        ([*ONE_STEP, "--distill", "features"], "--distill: got it without --teacher"),
        ([*ONE_STEP, "--feature-layers", "2"], "--feature-layers: got it without --teacher"),
        ([*ONE_STEP, "--live-teacher"], "--live-teacher: got it without --teacher"),
        ([*ONE_STEP, "--teacher", "DIR/none", "--feature-weight", "1"], "got it without features in --distill"),
        ([*ONE_STEP, "--teacher", "DIR/none", "--distill-share", ".1"], "got it without features in --distill"),
        (
            [*ONE_STEP, "--teacher", "DIR/none", "--distill", "features", "--distill-weight", ".1"],
            "--distill-weight: got it without output in --distill",
        ),
        (
            [*ONE_STEP, "--teacher", "DIR/none", "--distill", "features", "--feature-weight", "nan"],
            "--feature-weight: got nan, expected a number of 0 or more",
        ),
        ([*ONE_STEP, "--batch", "0"], "--batch: got 0"),
        ([*ONE_STEP, "--lr", "0"], "--lr: got 0"),
        ([*ONE_STEP, "--seed", "-1"], "--seed: got -1"),
        ([*ONE_STEP, "--init", "DIR/none"], "no such file"),
        ([*ONE_STEP, "--init", "PACK"], "not a checkpoint"),
        ([*ONE_STEP, "-o", "DIR/text.txt"], "got a file, expected a folder"),
        ([*ONE_STEP, "--native-span", "nan"], "--native-span: got nan"),
        ([*EDGE, "--minutes", "inf"], "--minutes: got inf"),
        ([*ONE_STEP, "--threads", "-1"], "-1 is not in the range"),
        ([*ONE_STEP, "--teacher", "DIR/none"], "no such file"),
        ([*ONE_STEP, "--teacher", "PACK"], "not a checkpoint"),
        ([*ONE_STEP, "--teacher", "DIR/none", "--distill", "all"], "--distill: got 'all'"),
        ([*ONE_STEP, "--student", "DIR/none"], "--student: got it without --teacher"),
        ([*ONE_STEP, "--multitask", "0.1"], "without facial priors"),
        ([*ONE_STEP, "--multitask", "-1"], "--multitask: got -1"),
        (["teacher", *ONE_STEP[1:5], "--steps", "1"], "without facial priors"),
        (["teacher", *ONE_STEP[1:5], "--steps", "1", "--network", "kdfsrnet"], "without facial priors"),
        (["teacher", *ONE_STEP[1:5], "--steps", "1", "--scale", "4"], "--input-size: got 16 px x 4 = 64 px"),
        (["teacher", *ONE_STEP[1:5], "--steps", "1", "--blocks", "3"], "--blocks: got it without --network kdfsrnet"),
        (
            ["teacher", *ONE_STEP[1:5], "--steps", "1", "--network", "kdfsrnet", "--positions"],
            "--positions: got it without --network compact",
        ),
        (
            ["teacher", *ONE_STEP[1:5], "--steps", "1", "--network", "kdfsrnet", "--blocks", "0"],
            "--blocks: got 0, expected at least 1",
        ),
        (["student", *ONE_STEP[1:5], "--steps", "1"], "Missing option '--teacher'"),
        (["student", *ONE_STEP[1:5], "--steps", "1", "--teacher", "DIR/none"], "no such file"),
        (["student", *ONE_STEP[1:5], "--steps", "1", "--teacher", "PACK"], "not a checkpoint"),
    ],
)
def test_edge_names_what_is_wrong(folder: Path, arguments: list[str], expected: str) -> None:
    check_sentence(fsr_train(folder, arguments), expected)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["evaluate"], "Missing option '-p'"),
        (["evaluate", "-p", "DIR/none"], "no such file"),
        (["evaluate", "DIR/none", "-p", "PACK"], "nothing there; expected a checkpoint"),
        (["evaluate", "PACK", "-p", "PACK"], "not a checkpoint"),
        (["evaluate", "DIR/text.txt", "-p", "PACK"], "damaged"),
        (["evaluate", "DIR/empty", "-p", "PACK"], "not a bundle"),
        (["evaluate", "-p", "DIR/small.safetensors"], "split 'test' is empty"),
        (["evaluate", "-p", "PACK", "--protocol", "psnr"], "'psnr' is not one of"),
        (["evaluate", "-p", "PACK", "--native-sizes"], "say where with --output"),
        (["evaluate", "-p", "PACK", "-o", "DIR/text.txt"], "got a file, expected a folder"),
    ],
)
def test_evaluate_names_what_is_wrong(folder: Path, arguments: list[str], expected: str) -> None:
    check_sentence(fsr_train(folder, arguments), expected)


def test_the_chain_from_pictures_to_a_scored_model(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["train/a.png", "train/b.png", "val/c.png", "test/d.png"])
    result = fsr_train(tmp_path, [*PREPARE, "-o", "PACK"])
    assert result.exit_code == 0, result.output
    assert open_pack(tmp_path / "pack.safetensors").count("train") == 2
    result = fsr_train(tmp_path, ONE_STEP)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "out" / "model.safetensors")
    check_sentence(fsr_train(tmp_path, ONE_STEP), "holds a run already")
    (tmp_path / "copied").mkdir()
    alone = tmp_path / "copied" / "model.safetensors"
    alone.write_bytes((tmp_path / "out" / "model.safetensors").read_bytes())
    for again in ([], ["--resume"]):
        check_sentence(
            fsr_train(tmp_path, [*ONE_STEP, "-o", "DIR/copied", *again]), "holds a trained model.safetensors"
        )
    assert alone.read_bytes() == (tmp_path / "out" / "model.safetensors").read_bytes()
    assert fsr_train(tmp_path, [*ONE_STEP, "--resume"]).exit_code == 0
    result = fsr_train(tmp_path, ["evaluate", "DIR/out/model.safetensors", "-p", "PACK"])
    assert result.exit_code == 0, result.output
    assert "bicubic 16 -> 128" in result.stdout


def test_a_checkpoint_tells_how_it_was_made(folder: Path) -> None:
    first = fsr_train(folder, [*ONE_STEP, "--mirror", "--threads", "1"])
    assert first.exit_code == 0, first.output
    make_pack(folder / "more.safetensors", train=3, val=1, test=0, source="others")
    again = ["edge", "-p", "PACK", "-p", "DIR/more.safetensors", "--tier", "S", "--input-size", "16", "--scale", "8"]
    again += ["--steps", "1", "--mirror", "--init", "DIR/out/model.safetensors", "-o", "DIR/more"]
    assert fsr_train(folder, again).exit_code == 0
    training = load_checkpoint(folder / "more" / "model.safetensors").training
    shape = "--tier S --input-size 16 --scale 8"
    packs = "--pack pack.safetensors --pack more.safetensors"
    assert training["command"] == (
        f"fsr-train edge {packs} --output more --steps 1 {shape} --init out/model.safetensors --mirror"
    )
    assert training["init"]["command"].startswith("fsr-train edge --pack pack.safetensors --output out --steps 1")
    assert "--threads" not in training["init"]["command"], "where it ran, not what came out"
    assert training["hardware"] == "a CPU"


@pytest.mark.parametrize(
    ("more", "rate"), [(["--tier", "S"], 6e-3), (["--tier", "M"], 2e-3), (["--tier", "S", "--lr", "1e-4"], 1e-4)]
)
def test_a_narrow_network_learns_faster_unless_told(
    monkeypatch: pytest.MonkeyPatch, folder: Path, more: list[str], rate: float
) -> None:
    recipes: list[EdgeRecipe] = []
    monkeypatch.setattr("fsr.train.cli.run", lambda train, recipe, *_: recipes.append(recipe))
    assert fsr_train(folder, ["edge", "-p", "PACK", "-o", "OUT", "--steps", "1", *more]).exit_code == 0
    assert [recipe.loop.learning_rate for recipe in recipes] == [rate]


@pytest.mark.parametrize("command", [[], ["prepare"], ["edge"], ["teacher"], ["student"], ["evaluate"]])
def test_every_command_explains_itself(command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "-h"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_every_option_that_the_page_on_training_shows_exists() -> None:
    page = (Path(__file__).parent.parent / "docs/training.md").read_text(encoding="utf-8")
    shown = CliRunner().invoke(main, ["edge", "--help"]).stdout
    of_others = {"--nproc-per-node", "--nnodes", "--node-rank", "--master-addr", "--master-port", "--logdir"}
    named = set(re.findall(r"--[a-z][a-z-]+", page)) - of_others
    assert {"--device", "--tensorboard", "--no-compile"} <= named
    assert [option for option in sorted(named) if not re.search(rf"{option}\b(?!-)", shown)] == []
