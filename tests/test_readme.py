"""What the README tells a reader to type works as typed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_data import save_portraits

from fsr.calibration import calibration_set, collect, duplicates, plausible
from fsr.calibration.cli import main as calibrate
from fsr.export.cli import main as export
from fsr.runtime.cli import main as run

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


def block(heading: str, language: str) -> str:
    """The first fenced block of a language below a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, f"README has no {language} block under {heading!r}"
    return found[1]


def test_from_faces_to_a_bundle_runs_as_written(tmp_path: Path) -> None:
    names = [f"train/{n}.jpg" for n in range(16)] + [f"{s}/{n}.jpg" for s in ("val", "test") for n in range(4)]
    save_portraits(tmp_path / "faces", names)
    shutil.copytree(ROOT / "examples", tmp_path / "photos")
    commands = block("From faces to a bundle", "bash").splitlines()
    assert [command.split()[0] for command in commands] == [
        "fsr-train", "fsr-train", "fsr-train", "fsr-export", "fsr-export", "fsr-run",
    ]  # fmt: skip
    for command in commands:
        program, *arguments = shlex.split(command)
        done = subprocess.run(
            [str(BIN / program), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for picture in ("runs/edge-S/curve.png", "runs/edge-S/samples.png", "runs/edge-S/evaluation/native_size.png"):
        with Image.open(tmp_path / picture) as opened:
            assert opened.size[0] > 100
    assert (tmp_path / "my_bundle/CARD.md").is_file()
    assert (tmp_path / "edge-S.onnx").stat().st_size > 100_000


def test_from_a_bundle_to_int8_runs_as_written(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, where a few faces of two people may make a set."""
    for module in (calibration_set, collect, plausible):
        monkeypatch.setattr(module, "MINIMUM", 8)
    monkeypatch.setattr(collect, "COUNT", 4)
    monkeypatch.setattr(duplicates, "MAX_DISTANCE", -1)
    monkeypatch.chdir(tmp_path)
    save_portraits(tmp_path / "photos", [f"{n}.jpg" for n in range(12)])
    shutil.copytree(tiny_bundle, tmp_path / "my_bundle")
    commands = block("INT8 and FP16", "bash").splitlines()
    for command in commands:
        program, *arguments = shlex.split(command)
        main = {"fsr-calibrate": calibrate, "fsr-export": export, "fsr-run": run}[program]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, f"{command}\n{done.output}"
    assert [command.split()[1] for command in commands] == ["collect", "inspect", "quantize", "check", "--input"]
    assert "<html" in (tmp_path / "parity.html").read_text(encoding="utf-8")
    assert (tmp_path / "my_int8_bundle/edge-S-16x8.int8.onnx").is_file()


def test_the_python_example_runs_as_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(block("Restore faces", "python"), "README.md", "exec"), {})
    shape, face = capsys.readouterr().out.strip().splitlines()
    assert shape == "(452, 384, 3)"
    decision, model, native = face.split(" ")
    assert decision == "restored" and model.startswith("edge-L-") and 20 < float(native) < 80


def test_pictures_are_restored_as_written(tmp_path: Path) -> None:
    command = next(line for line in block("Restore faces", "bash").splitlines() if line.startswith("fsr-run"))
    program, *arguments = shlex.split(command, comments=True)
    (tmp_path / "photos").mkdir()
    shutil.copy(ROOT / "examples/hopper_32px.png", tmp_path / "photos")
    done = subprocess.run([str(BIN / program), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fsr-out/restored/hopper_32px.png").is_file()


def test_pictures_and_pages_that_the_readme_names_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


def test_the_two_commands_come_first() -> None:
    first = re.search(r"```bash\n(.*?)```", README, re.DOTALL)
    assert first and [line.split("#")[0].strip() for line in first[1].strip().splitlines()] == [
        "python3 dev.py examples",
        "python3 dev.py test",
    ]


@pytest.mark.parametrize("heading", ["Restore faces", "Live", "TensorRT", "INT8 and FP16"])
def test_every_option_that_is_shown_exists(heading: str) -> None:
    mains = {"fsr-run": run, "fsr-export": export, "fsr-calibrate": calibrate}
    commands = [line.partition("#")[0] for line in block(heading, "bash").splitlines() if line.startswith("fsr-")]
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        verb = arguments[:1] if program != "fsr-run" else []
        shown = CliRunner().invoke(mains[program], [*verb, "--help"]).output
        for argument in arguments:
            assert not argument.startswith("--") or f"{argument} " in shown or f"{argument}\n" in shown, command
