"""What is a user's to mend ends as one sentence and an exit code; what is ours to mend is never swallowed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fsr.calibration.cli import main as fsr_calibrate
from fsr.export.cli import main as fsr_export
from fsr.runtime import errors
from fsr.runtime.cli import main as fsr_run
from fsr.runtime.command_line import Command, Commands, error_sentences
from fsr.train.cli import main as fsr_train

PROGRAMS = {"fsr-run": fsr_run, "fsr-train": fsr_train, "fsr-export": fsr_export, "fsr-calibrate": fsr_calibrate}
NOT_FOR_HELP = {"torch", "onnx", "onnxruntime", "cv2", "PIL", "matplotlib", "skimage", "tensorrt"}

Maker = Callable[[BaseException | None], click.Command]
FSR_ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FsrError)]


def program(error: BaseException | None) -> click.Command:
    """A command that raises `error`."""

    @click.command(cls=Command)
    def main() -> None:
        click.echo("started")
        if error is not None:
            raise error

    return main


def group(error: BaseException | None) -> click.Command:
    """The same below a group."""

    @click.group(cls=Commands)
    def main() -> None: ...

    @main.command()
    def work() -> None:
        click.echo("started")
        if error is not None:
            raise error

    return main


SHAPES = pytest.mark.parametrize(("make", "arguments"), [(program, []), (group, ["work"])], ids=["command", "group"])


@SHAPES
@pytest.mark.parametrize(("module", "extra"), [("torch", "train"), ("torch.nn", "train"), ("onnx", "export")])
def test_a_missing_extra_is_one_sentence_and_exit_code_2(
    make: Maker, arguments: list[str], module: str, extra: str
) -> None:
    done = CliRunner().invoke(make(ModuleNotFoundError("gone", name=module)), arguments)
    assert done.exit_code == 2
    needed = module.partition(".")[0]
    assert done.stderr == f'error: this needs {needed}; install it with: pip install "fsr-edge[{extra}]"\n'


def test_a_missing_module_of_no_extra_is_ours_to_mend() -> None:
    done = CliRunner().invoke(program(ModuleNotFoundError("gone", name="fsr.runtime.lost")))
    assert isinstance(done.exception, ModuleNotFoundError)


@SHAPES
@pytest.mark.parametrize("kind", FSR_ERRORS)
def test_an_error_of_ours_is_one_sentence_and_its_exit_code(
    make: Maker, arguments: list[str], kind: type[errors.FsrError]
) -> None:
    result = CliRunner().invoke(make(kind("a.png: got 3, expected 4; choose another")), arguments)
    assert result.stderr == "error: a.png: got 3, expected 4; choose another\n"
    assert result.stdout == "started\n"
    assert result.exit_code == {errors.ParityError: 3, errors.TrainingStoppedError: 130}.get(kind, 2)


def test_the_list_of_errors_is_not_empty() -> None:
    assert {errors.FsrError, errors.ParityError, errors.NoFaceError} <= set(FSR_ERRORS)


@SHAPES
@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("a disk"), AssertionError("a bug")])
def test_any_other_error_is_not_swallowed(make: Maker, arguments: list[str], error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        CliRunner().invoke(make(error), arguments, catch_exceptions=False)
    assert caught.value is error


@SHAPES
def test_success_is_exit_code_0(make: Maker, arguments: list[str]) -> None:
    result = CliRunner().invoke(make(None), arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "started\n", "")


def test_wrong_usage_is_exit_code_2() -> None:
    assert CliRunner().invoke(program(None), ["--unknown"]).exit_code == 2


def test_an_exit_code_chosen_inside_is_kept() -> None:
    with pytest.raises(SystemExit) as caught, error_sentences():
        sys.exit(1)
    assert caught.value.code == 1


# The programs


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_command_helps(name: str) -> None:
    main = PROGRAMS[name]
    commands = [[], *([command] for command in getattr(main, "commands", {}))]
    for command in commands:
        for option in ("--help", "-h"):
            result = CliRunner().invoke(main, [*command, option], prog_name=name)
            assert result.exit_code == 0, result.output
            assert result.stdout.startswith(f"Usage: {' '.join([name, *command])}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_says_its_version(name: str) -> None:
    result = CliRunner().invoke(PROGRAMS[name], ["--version"], prog_name=name)
    assert (result.exit_code, result.stdout) == (0, f"{name}, version {version('fsr-edge')}\n")


@pytest.mark.parametrize("name", ["fsr-train", "fsr-export"])
def test_every_command_is_listed_in_the_overview(name: str) -> None:
    main = PROGRAMS[name]
    assert isinstance(main, click.Group) and main.commands
    overview = (main.help or "").split("\b")[-1]
    for command in main.commands:
        assert f"\n{command} " in "\n".join(line.strip() for line in overview.splitlines())


@pytest.mark.parametrize("module", ["fsr.runtime.cli", "fsr.train.cli", "fsr.export.cli"])
def test_help_loads_no_heavy_library(module: str) -> None:
    code = f"""
import sys
from {module} import main
try:
    main(["--help"])
except SystemExit as end:
    assert not end.code
print("loaded:", *sorted({{name.split(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown, _, loaded = done.stdout.partition("loaded:")
    assert "Usage:" in shown and "click" in loaded.split()
    assert not NOT_FOR_HELP & set(loaded.split())


def test_fsr_run_ends_with_a_sentence_where_there_is_no_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(fsr_run, ["--input", str(tmp_path / "missing")])
    assert result.exit_code == 2
    expected = "got nothing there, expected a folder of pictures, a picture or a video"
    assert result.stderr == f"error: {tmp_path / 'missing'}: {expected}\n"
