"""fsr-export says in one line what is wrong with what it was given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_to_onnx import changed
from tiny_models import SOURCE, exported_before, saved, tiny_checkpoint, tiny_onnx, write_portrait_pack

from fsr.export.cli import main
from fsr.export.detector import YUNET_SHA256
from fsr.train.checkpoint import Checkpoint

COMMANDS = ["onnx", "bundle"]
each_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return saved(tiny_checkpoint(16, 8), tmp_path / "run")


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both commands take the session's export; the export has its own tests."""
    monkeypatch.setattr("fsr.export.to_onnx.to_onnx", exported_before)
    monkeypatch.setattr("fsr.export.write_bundle.to_onnx", exported_before)


def run(command: str, checkpoint: Path, output: Path, *more: object) -> Result:
    arguments = [command, checkpoint, "-o", output, *more]
    if command == "bundle":
        arguments += ["--name", "tiny", "--licence", "test only"]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_one_line(result: Result, *parts: str, exit_code: int = 2) -> None:
    assert result.exit_code == exit_code, result.output
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert result.output.splitlines()[-1:] == errors, result.output
    for part in parts:
        assert part in errors[0]


@each_command
def test_a_missing_checkpoint(command: str, tmp_path: Path) -> None:
    result = run(command, tmp_path / "nowhere.safetensors", tmp_path / "out")
    assert_one_line(result, f"{tmp_path / 'nowhere.safetensors'}: no such", "train one with fsr-train")
    assert list(tmp_path.iterdir()) == []


@each_command
def test_a_pack_in_place_of_a_checkpoint(command: str, tmp_path: Path) -> None:
    pack = write_portrait_pack(tmp_path / "faces.safetensors").path
    result = run(command, pack, tmp_path / "out")
    assert_one_line(result, f"{pack}: got a safetensors file that is not a checkpoint")
    assert not (tmp_path / "out").exists()


@each_command
@pytest.mark.parametrize("damage", ["truncated", "no safetensors", "empty"])
def test_a_damaged_checkpoint(command: str, damage: str, checkpoint: Path, tmp_path: Path) -> None:
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes({"truncated": whole[: len(whole) // 2], "no safetensors": b"PK" * 99, "empty": b""}[damage])
    assert_one_line(run(command, checkpoint, tmp_path / "out"), f"{checkpoint}: ", "damaged")
    assert not (tmp_path / "out").exists()


def rewrite_header(checkpoint: Path, **changes: object) -> None:
    from safetensors.numpy import load_file, save_file

    length = int.from_bytes(checkpoint.read_bytes()[:8], "little")
    metadata = json.loads(checkpoint.read_bytes()[8 : 8 + length])["__metadata__"]
    metadata["fsr-checkpoint"] = json.dumps({**json.loads(metadata["fsr-checkpoint"]), **changes})
    save_file(load_file(checkpoint), checkpoint, metadata=metadata)


@pytest.mark.usefixtures("no_export")
@each_command
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "got checkpoint version 2, expected 1"),
        ({"network": "teacher"}, "got network 'teacher'"),
        ({"config": {"tier": "S", "input_size": 16, "scale": 8, "depth": 3}}, "depth"),
        ({"config": {"tier": "M", "input_size": 16, "scale": 8}}, "weights do not fit edge"),
        ({"framing": "passport"}, "got framing 'passport', expected one of runtime, celeba178"),
    ],
    ids=["version", "network", "configuration", "other weights", "framing"],
)
def test_a_checkpoint_of_something_else(
    command: str, changes: dict[str, object], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    rewrite_header(checkpoint, **changes)
    assert_one_line(run(command, checkpoint, tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


@each_command
def test_an_output_that_exists(command: str, checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text("mine")
    assert_one_line(run(command, checkpoint, output), f"{output}: exists already; choose another --output or remove it")
    assert output.read_text() == "mine"


@each_command
def test_a_missing_pack(command: str, checkpoint: Path, tmp_path: Path) -> None:
    result = run(command, checkpoint, tmp_path / "out", "-p", tmp_path / "nowhere.safetensors")
    assert_one_line(result, "nowhere.safetensors: no such", "fsr-train prepare")
    assert not (tmp_path / "out").exists()


def test_a_detector_with_another_hash(checkpoint: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "yunet.onnx"
    wrong.write_bytes(b"another network")
    result = run("bundle", checkpoint, tmp_path / "out" / "tiny", "--detector", wrong)
    assert_one_line(result, f"{wrong}: got YuNet with sha256", f"expected {YUNET_SHA256}")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_detector(checkpoint: Path, tmp_path: Path) -> None:
    result = run("bundle", checkpoint, tmp_path / "out" / "tiny", "--detector", tmp_path / "nowhere.onnx")
    assert_one_line(result, f"{tmp_path / 'nowhere.onnx'}: YuNet cannot be read")


def test_two_checkpoints_of_one_name(checkpoint: Path, tmp_path: Path) -> None:
    result = run("bundle", checkpoint, tmp_path / "out", checkpoint)
    assert_one_line(result, "got two checkpoints of the same tier, input size and scale")


@each_command
def test_a_parity_failure_ends_with_3_and_writes_nothing(
    command: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(checkpoint: Checkpoint) -> bytes:
        return changed(exported_before(checkpoint), "tail.bias", 25)

    monkeypatch.setattr("fsr.export.to_onnx.to_onnx", another)
    monkeypatch.setattr("fsr.export.write_bundle.to_onnx", another)
    result = run(command, checkpoint, tmp_path / "out" / "tiny")
    assert_one_line(result, "ONNX differs from PyTorch by up to", exit_code=3)
    assert not (tmp_path / "out" / "tiny").exists()


@pytest.mark.usefixtures("no_export")
def test_onnx_compares_on_the_parity_set_and_fitting_packs(checkpoint: Path, tmp_path: Path) -> None:
    fitting = write_portrait_pack(tmp_path / "faces.safetensors").path
    output = tmp_path / "out" / "model.onnx"
    result = run("onnx", checkpoint, output, "-p", fitting)
    assert result.exit_code == 0, result.output
    parity, test, last = result.output.splitlines()
    assert parity.startswith("parity set: 64 faces, at most ")
    assert test.startswith(f"{SOURCE} test: 6 faces, at most ")
    assert last == str(output)
    assert output.read_bytes() == tiny_onnx(16, 8)


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize(("framing", "size"), [("celeba178", 128), ("runtime", 256)])
def test_a_pack_that_fits_no_checkpoint_is_refused(framing: str, size: int, checkpoint: Path, tmp_path: Path) -> None:
    other = write_portrait_pack(tmp_path / "other.safetensors", framing, size).path
    for result in (
        run("onnx", checkpoint, tmp_path / "out", "-p", other),
        run("bundle", checkpoint, tmp_path / "out", "--name", "x", "--licence", "y", "-p", other),
    ):
        assert result.exit_code == 2
        assert f"got {framing} framing, {size} px, expected runtime framing, 128 px" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["--name", "--licence"])
def test_a_bundle_needs_a_name_and_a_licence(missing: str, tmp_path: Path) -> None:
    given = [part for option in ("--name", "--licence") if option != missing for part in (option, "x")]
    result = CliRunner().invoke(main, ["bundle", "a.safetensors", "-o", str(tmp_path / "out"), *given])
    assert result.exit_code == 2
    assert f"Missing option '{missing}'" in result.output
    assert list(tmp_path.iterdir()) == []
