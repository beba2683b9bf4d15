"""What holds for the repository as a whole, whichever file a change touches."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Searched in every file, models too: exporters like to note the path of the source that they ran.
MACHINE_PATHS = re.compile(rb"(?<![\w.~])/(?:work|root|home/\w+|Users/\w+)/|\.\./shared")
# Loading a pickle runs whatever it says; weights travel as safetensors or ONNX. Others' are in PyTorch's format: with
# weights_only=True, said on the line itself, nothing of it is run.
PICKLES = re.compile(
    rb"^\s*(?:import|from)\s+pickle|torch\.load\((?!.*weights_only=True\)$)|allow_pickle\s*=\s*True", re.MULTILINE
)


def matches(pattern: re.Pattern[bytes], files: Mapping[str, Path]) -> list[str]:
    return [f"{name}: {found[0]!r}" for name, path in files.items() if (found := pattern.search(path.read_bytes()))]


def test_no_file_names_a_place_on_the_machine_it_was_made_on(source_files: Mapping[str, Path]) -> None:
    assert not matches(MACHINE_PATHS, source_files)


def test_no_code_loads_pickles(source_files: Mapping[str, Path]) -> None:
    assert not matches(PICKLES, {name: path for name, path in source_files.items() if name.endswith(".py")})


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (MACHINE_PATHS, b'open("/wo' + b'rk/data")'),
        (MACHINE_PATHS, b"see .." + b"/shared/notes"),
        (PICKLES, b"import os\nimport " + b"pickle\n"),
        (PICKLES, b"torch" + b".load(path)"),
        (PICKLES, b"torch" + b".load(path, weights_only=False)\nother(weights_only=True)"),
    ],
)
def test_the_patterns_find_what_they_look_for(pattern: re.Pattern[bytes], text: bytes) -> None:
    assert pattern.search(text)


def test_only_one_file_reads_weights_of_others(source_files: Mapping[str, Path]) -> None:
    readers = {name: path for name, path in source_files.items() if name.endswith(".py") and "tests/" not in name}
    assert [found.split(":")[0] for found in matches(re.compile(rb"torch\.load\("), readers)] == [
        "train/foreign_weights.py"
    ]


@pytest.mark.parametrize("command", ["fsr-run", "fsr-train", "fsr-export"])
def test_the_command_resolves(command: str) -> None:
    (found,) = entry_points(group="console_scripts", name=command)
    assert callable(found.load())


def test_the_layers_hold() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "2 kept, 0 broken" in done.stdout


def test_the_runtime_is_marked_as_typed() -> None:
    assert (ROOT / "runtime" / "py.typed").is_file()
