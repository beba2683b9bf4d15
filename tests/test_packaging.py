"""The wheel is what most people get: it is built, unpacked elsewhere and imported from there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

TRAINING_ONLY = ("torch", "onnx", "onnxsim", "onnxscript", "matplotlib", "skimage", "safetensors")

# Imports every module below the first argument, having made the editable install invisible.
IMPORT_ALL = """
import importlib, sys
from pathlib import Path

target = Path(sys.argv[1])
sys.path[:] = [str(target)] + [entry for entry in sys.path if "__editable__" not in entry]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
for file in sorted(target.rglob("*.py")):
    parts = file.relative_to(target).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    module = importlib.import_module(name)
    assert Path(module.__file__).is_relative_to(target), f"{name} came from {module.__file__}"
    print(name)
"""

IMPORT_RUNTIME = """
import importlib, pkgutil, sys

sys.modules.update(dict.fromkeys(sys.argv[1:]))  # None: importing it raises ImportError
import fsr.runtime

for module in pkgutil.walk_packages(fsr.runtime.__path__, "fsr.runtime."):
    importlib.import_module(module.name)
    print(module.name)
"""


def python(*arguments: str) -> str:
    """Run this Python isolated from the folder, the environment and user packages; return what it printed."""
    done = subprocess.run([sys.executable, "-I", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(source_files: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the repository and nothing stale gets in."""
    copy, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name, path in source_files.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy / name)
    build = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    python(*build, "--wheel-dir", str(built), str(copy))
    (only,) = built.glob("*.whl")
    return only


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    assert {PurePosixPath(name).parts[0] for name in names_in(wheel)} == {
        "fsr",
        f"{'-'.join(wheel.name.split('-')[:2])}.dist-info",
    }
    tests = {path.name for path in Path(__file__).parent.rglob("*.py")}
    assert not [name for name in names_in(wheel) if PurePosixPath(name).name in tests - {"__init__.py"}]


@pytest.mark.parametrize("package", ["runtime", "calibration", "export", "train"])
def test_the_wheel_holds_every_module(wheel: Path, source_files: Mapping[str, Path], package: str) -> None:
    modules = {f"fsr/{name}" for name in source_files if name.startswith(f"{package}/") and name.endswith(".py")}
    assert modules
    assert modules <= names_in(wheel)


def test_the_wheel_holds_the_default_bundle_types_and_licence(wheel: Path, source_files: Mapping[str, Path]) -> None:
    data = {f"fsr/{name}" for name in source_files if name.startswith("runtime/default_bundle/")}
    assert data | {"fsr/runtime/py.typed"} <= names_in(wheel)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names_in(wheel))


def test_every_module_of_the_wheel_imports_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    imported = python("-c", IMPORT_ALL, str(tmp_path)).split()
    assert {"fsr.runtime", "fsr.calibration", "fsr.export", "fsr.train"} <= set(imported)


def test_the_runtime_imports_without_what_training_needs() -> None:
    assert "fsr.runtime.geometry" in python("-c", IMPORT_RUNTIME, *TRAINING_ONLY).split()


def test_the_command_line_starts_without_an_inference_engine() -> None:
    loaded = python("-c", "import fsr.runtime.cli, sys; print(*sys.modules)").split()
    assert not {"onnxruntime", "tensorrt", *TRAINING_ONLY} & set(loaded)


def test_the_command_line_helps() -> None:
    shown = python("-c", "from fsr.runtime.cli import main; main(['--help'])")
    assert "--input" in shown
    assert "--output" in shown
