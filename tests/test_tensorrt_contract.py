"""Every name of TensorRT that the code uses, held against the genuine bindings of each version.

The bindings are small; the libraries behind them are not, and are not needed: empty ones let the bindings be imported.
They are taken from a folder of wheels, `FSR_TENSORRT_WHEELS`; what a skipped test says fills it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [*(ROOT / "runtime" / "engines").glob("trt_*.py"), *(ROOT / "export" / "tensorrt").glob("*.py")]

WHEELS = {
    "8.6": ("3.10", "tensorrt-bindings==8.6.1"),
    "10.0": ("3.11", "tensorrt-cu12-bindings==10.0.1"),
    "10.3": ("3.10", "tensorrt-cu12-bindings==10.3.0"),
    "10.13": ("3.11", "tensorrt-cu12-bindings==10.13.3.9"),
    "10.16": ("3.10", "tensorrt-cu12-bindings==10.16.1.11"),
    "11.4": ("3.11", "tensorrt-cu13-bindings==11.4.0.106"),
    "rtx": ("3.11", "tensorrt-rtx-cu13-bindings==1.7.1.116"),
}
"""By version: a Python that it is for, and the wheel."""

FETCH = "pip download --no-deps --only-binary=:all: --python-version {} --dest $FSR_TENSORRT_WHEELS {}"

CLASSES = {
    "_engine": "ICudaEngine",
    "_runtime": "Runtime",
    "_context": "IExecutionContext",
    "context": "IExecutionContext",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "mode": "TensorIOMode",
    "flags": "NetworkDefinitionCreationFlag",
    "strategy": "DynamicShapesKernelSpecializationStrategy",
}
"""What the code calls TensorRT's objects, and their classes; a name that the code gives to others too is left out."""

ENUMERATIONS = ("mode", "flags", "strategy")
"""Of these; other things that bear such a name have no members in capitals."""
OURS = {"takes", "most"}
"""Members of our own objects that bear one of these names."""

ALL = frozenset(WHEELS)
FLAGGED = ALL - {"11.4", "rtx"}
RTX = frozenset({"rtx"})
SOME = {
    "BuilderFlag.FP16": FLAGGED,
    "BuilderFlag.INT8": FLAGGED,
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": FLAGGED,
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": ALL - {"8.6"},
    "PreviewFeature.PROFILE_SHARING_0806": FLAGGED,
    "TacticSource.CUDNN": FLAGGED,
    "TacticSource.CUBLAS": FLAGGED,
    "TacticSource.CUBLAS_LT": FLAGGED,
    ".IProgressMonitor": ALL - {"8.6"},
    "IBuilderConfig.progress_monitor": ALL - {"8.6"},
    "ICudaEngine.create_runtime_config": ALL - {"8.6", "10.0", "10.3"},
    ".ComputeCapability": RTX,
    "IBuilderConfig.num_compute_capabilities": RTX,
    "IBuilderConfig.set_compute_capability": RTX,
    ".DynamicShapesKernelSpecializationStrategy": RTX,
    "DynamicShapesKernelSpecializationStrategy.EAGER": RTX,
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy": RTX,
}
"""Names that the code asks for before it uses them, and the versions that have them."""

ANSWERS = {
    "IExecutionContext.set_optimization_profile_async": "bool",
    "IExecutionContext.set_input_shape": "bool",
    "IExecutionContext.execute_async_v3": "bool",
    "OnnxParser.parse": "bool",
    "IBuilderConfig.set_timing_cache": "bool",
}
"""What the code tells success by."""


@cache
def names_of(version: str) -> dict[str, dict[str, str]]:
    """Every class of that version with its members and what they say; the module itself is ``""``."""
    python, requirement = WHEELS[version]
    wheel = _wheel(requirement)
    fetch = FETCH.format(python, requirement)
    if wheel is None:
        pytest.skip(f"no wheel of it in FSR_TENSORRT_WHEELS; fetch it with: {fetch}")
    for tool in ("gcc", "nm", "readelf"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not here, which makes the libraries that stand in")
    interpreter = _python(python)
    if interpreter is None:
        pytest.skip(f"there is no Python {python}, which {wheel.name} is for")
    return _imported(wheel, interpreter)


def _wheel(requirement: str) -> Path | None:
    name, _, version = requirement.partition("==")
    folder = os.environ.get("FSR_TENSORRT_WHEELS")
    found = sorted(Path(folder).glob(f"{name.replace('-', '_')}-{version}-*.whl")) if folder else []
    return found[0] if found else None


def _python(version: str) -> str | None:
    if version == ".".join(map(str, sys.version_info[:2])):
        return sys.executable
    by_pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for candidate in (f"python{version}", *map(str, by_pyenv)):
        asked = shutil.which(candidate)
        if asked and subprocess.run([asked, "-c", ""], check=False, capture_output=True).returncode == 0:
            return asked
    return None


def _imported(wheel: Path, interpreter: str) -> dict[str, dict[str, str]]:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        (extension,) = folder.glob("tensorrt*_bindings/tensorrt*.so")
        _stand_in(extension, folder / "libraries")
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": scratch, "LD_LIBRARY_PATH": str(folder / "libraries")}
        command = [interpreter, str(Path(__file__).with_name("tensorrt_names.py")), extension.parent.name]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["names"]


def _stand_in(extension: Path, folder: Path) -> None:
    """Empty libraries in place of those that the bindings need, with the functions that they look for."""
    folder.mkdir()
    needed, wanted = (
        subprocess.run([*tool, str(extension)], check=True, capture_output=True, text=True).stdout
        for tool in (["readelf", "-d"], ["nm", "-D", "--undefined-only"])
    )
    # Those of other libraries bear a version after an @; Python's and libc's bear the names left out.
    own = re.findall(r" U (?!_?Py|dl|pthread)(\w+)$", wanted, re.MULTILINE)
    (folder / "empty.c").write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in own))
    for library in re.findall(r"\[(lib(?:nv|tensorrt)[^\]]*)\]", needed):
        flags = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{library}"]
        subprocess.run(["gcc", *flags, str(folder / "empty.c"), "-o", str(folder / library)], check=True)


@cache
def uses() -> dict[str, tuple[int, str]]:
    """`Class.member`, or `.name` of the module itself, with the number of arguments it is given (-1: none that can be
    counted) and where."""
    found: dict[str, tuple[int, str]] = {}
    for source in SOURCES:
        tree = ast.parse(source.read_text())
        calls = {id(node.func): _given(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (name := _used(node, source)):
                found[name] = calls.get(id(node), -1), f"{source.name}:{node.lineno}"
    return found


def _given(call: ast.Call) -> int:
    if isinstance(call.func, ast.Attribute) and call.func.attr == "__init__":
        return len(call.args) - 1  # itself is given too
    return -1 if any(isinstance(each, ast.Starred) for each in call.args) else len(call.args) + len(call.keywords)


def _used(node: ast.Attribute, source: Path) -> str | None:
    path = _path(node)
    for start, part in enumerate(path[:-1]):
        if part in ("trt", "module"):
            return ".".join(["", *path[start + 1 :]]) if len(path) - start == 2 else ".".join(path[start + 1 :])
    if len(path) < 2 or path[-1] in OURS or path[-1].startswith("_"):
        return None
    owner = path[-2]
    if owner == "config":
        return f"{'IRuntimeConfig' if source.name == 'trt_plan.py' else 'IBuilderConfig'}.{path[-1]}"
    if owner in ENUMERATIONS and not path[-1].isupper():
        return None
    return f"{CLASSES[owner]}.{path[-1]}" if owner in CLASSES else None


def _path(node: ast.expr) -> list[str]:
    """`a.b.c` as its parts; what is called or indexed ends it on the left."""
    if isinstance(node, ast.Attribute):
        return [*_path(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def holds(names: dict[str, dict[str, str]], use: str) -> bool:
    owner, _, member = use.rpartition(".")
    return member in names.get(owner, {})


def accepted(documentation: str) -> Iterator[range]:
    """The numbers of arguments, `self` apart, that each signature in a docstring takes."""
    for line in re.findall(r"^(?:\d+\. )?\w+\((.*)\) -> ", documentation, re.MULTILINE):
        parameters = [part for part in _split(line) if not part.startswith(("self", "*"))]
        required = [part for part in parameters if "=" not in part]
        yield range(len(required), len(parameters) + 1)


def _split(parameters: str) -> list[str]:
    """At the commas outside of brackets."""
    parts, depth = [""], 0
    for letter in parameters:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def test_the_code_is_read() -> None:
    core = {".Builder", ".Runtime", "ICudaEngine.create_execution_context", "IExecutionContext.execute_async_v3"}
    core |= {"Builder.build_serialized_network", "IBuilderConfig.set_memory_pool_limit", "MemoryPoolType.WORKSPACE"}
    assert core <= uses().keys()
    assert uses()["IExecutionContext.set_tensor_address"][0] == 2


@pytest.mark.parametrize("version", WHEELS)
def test_every_name_is_in_every_version(version: str) -> None:
    names = names_of(version)
    missing = {use: where for use, (_, where) in uses().items() if use not in SOME and not holds(names, use)}
    assert not missing


@pytest.mark.parametrize("version", WHEELS)
def test_names_that_are_asked_for_first_are_where_they_are_said_to_be(version: str) -> None:
    names = names_of(version)
    assert {use for use in SOME if holds(names, use)} == {use for use, versions in SOME.items() if version in versions}


@pytest.mark.parametrize("version", WHEELS)
def test_every_call_has_as_many_arguments_as_it_takes(version: str) -> None:
    names, wrong = names_of(version), {}
    for use, (given, where) in uses().items():
        owner, _, member = use.rpartition(".")
        taken = list(accepted(names.get(owner, {}).get(member, "")))
        if given >= 0 and taken and not any(given in numbers for numbers in taken):
            wrong[use] = f"{where}: {given} given, {taken} taken"
    assert not wrong


@pytest.mark.parametrize("version", WHEELS)
def test_success_is_told_as_the_code_expects(version: str) -> None:
    names = names_of(version)
    for use, answer in ANSWERS.items():
        owner, _, member = use.rpartition(".")
        assert use in uses() and f"-> {answer}" in names[owner][member], use


def test_every_name_asked_for_first_is_used() -> None:
    text = "".join(source.read_text() for source in SOURCES)
    assert [use for use in SOME if use.rpartition(".")[2] not in text] == []


def test_installed_rtx_is_the_one_held_against() -> None:
    if find_spec("tensorrt_rtx") is None:
        pytest.skip('tensorrt-rtx is not installed: pip install "fsr-edge[tensorrt-rtx]"')
    import tensorrt_rtx

    module: Any = tensorrt_rtx
    missing = [use for use in uses() if "rtx" in SOME.get(use, ALL) and not _has(module, use)]
    assert not missing


def _has(module: Any, use: str) -> bool:
    for part in use.strip(".").split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True
