"""CUDA's packages as they are, over a driver made of C: what they are given and what becomes of their errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fsr.runtime.engines import cuda
from fsr.runtime.errors import EngineUnavailableError

HERE = Path(__file__).parent
PACKAGES = {"pycuda": "pycuda", "cuda-bindings": "cuda"}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the driver that stands in is built for Linux"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds the driver that stands in, and is not here"),
]


def needs(package: str) -> pytest.MarkDecorator:
    missing = find_spec(PACKAGES[package]) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


each_package = pytest.mark.parametrize("package", [pytest.param(name, marks=needs(name)) for name in PACKAGES])


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the driver."""
    folder = tmp_path_factory.mktemp("driver")
    # pycuda asks for every function of the driver when it is loaded; none of the rest is called.
    rest = sorted(undefined_in_pycuda() - defined())
    (folder / "rest.c").write_text("".join(f"int {name}(void) {{ return 801; }}\n" for name in rest))
    flags = ["-shared", "-fPIC", "-O1", "-w", "-Wl,-soname,libcuda.so.1"]
    sources = [str(HERE / "fake_driver.c"), str(folder / "rest.c")]
    subprocess.run(["gcc", *flags, *sources, "-o", str(folder / "libcuda.so.1"), "-ldl"], check=True)
    return folder


def defined() -> set[str]:
    words = (HERE / "fake_driver.c").read_text().replace("(", " ").split()
    return {word for word in words if word.startswith("cu")}


def undefined_in_pycuda() -> set[str]:
    spec = find_spec("pycuda")
    if spec is None or not spec.submodule_search_locations:
        return set()
    files = [str(file) for file in Path(spec.submodule_search_locations[0]).glob("_driver*.so")]
    listed = subprocess.run(["nm", "-D", "--undefined-only", *files], check=True, capture_output=True, text=True)
    return {word for word in listed.stdout.split() if word.startswith("cu")}


def tried(driver: Path, package: str, what: str, **environment: str) -> tuple[int, str]:
    """Exit code and all that was said."""
    variables = {**os.environ, "LD_LIBRARY_PATH": str(driver), **environment}
    command = [sys.executable, str(HERE / "cuda_on_fake_driver.py"), package, what]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@each_package
def test_faces_go_through_an_engine_and_all_is_freed(driver: Path, package: str) -> None:
    code, said = tried(driver, package, "engine")
    assert code == 0 and said.startswith(package) and len(said.splitlines()) == 1, said


@each_package
def test_every_call_does_what_it_says(driver: Path, package: str) -> None:
    code, said = tried(driver, package, "every_call")
    assert code == 0 and "WARNING" not in said, said
    assert "CUDA: cuMemAlloc" in said and "out of memory" in said.lower().replace("_", " ")


@each_package
@pytest.mark.parametrize("function", ["cuDevicePrimaryCtxRetain", "cuMemHostAlloc", "cuStreamSynchronize"])
def test_what_the_driver_refuses_is_a_sentence(driver: Path, package: str, function: str) -> None:
    code, said = tried(driver, package, "engine", FAKE_FAIL=function)
    assert code == 1 and said.startswith("refused: CUDA: "), said
    assert function in said and "Traceback" not in said


@each_package
def test_without_graphs_an_engine_runs_and_says_so(driver: Path, package: str) -> None:
    code, said = tried(driver, package, "engine", FAKE_FAIL="cuGraphInstantiateWithFlags")
    assert code == 0 and "running without a CUDA graph, which is slower: CUDA: " in said, said


def test_the_gpu_is_described(driver: Path) -> None:
    code, said = tried(driver, "none", "gpu")
    assert code == 0 and said.startswith("Fake GPU, compute capability 9.0, 16.0 GiB, CUDA 12.4"), said


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"FAKE_INIT": "100"}, "the NVIDIA driver finds no GPU; see what nvidia-smi"),
        ({"FAKE_INIT": "999"}, "the NVIDIA driver does not start: CUDA_ERROR_UNKNOWN; see what nvidia-smi says"),
        ({"FAKE_DEVICES": "0"}, "got GPU 0, this machine has 0"),
        ({"FAKE_FAIL": "cuDeviceGetName"}, "CUDA: cuDeviceGetName failed: CUDA_ERROR_UNKNOWN"),
    ],
    ids=["no GPU", "broken", "hidden", "failing"],
)
def test_a_driver_without_a_gpu_is_a_sentence(driver: Path, environment: dict[str, str], sentence: str) -> None:
    code, said = tried(driver, "none", "gpu", **environment)
    assert code == 1 and said.startswith(f"refused: {sentence}"), said


def test_a_driver_that_is_too_old_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "old.c").write_text("int cuInit(unsigned flags) { return 0; }\n")
    library = str(tmp_path / "libcuda.so.1")
    subprocess.run(["gcc", "-shared", "-fPIC", str(tmp_path / "old.c"), "-o", library], check=True)
    code, said = tried(tmp_path, "none", "gpu")
    assert code == 1 and "CUDA: this driver has no cuDeviceGetCount; update the NVIDIA driver" in said


def test_without_a_package_for_cuda_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailableError, match=r'neither pycuda nor cuda-bindings .*"fsr-edge\[cuda\]"$'):
        cuda.installed_bindings()


def test_pycuda_comes_before_cuda_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ["pycuda", "cuda", "cuda.bindings"]
    monkeypatch.setattr(cuda, "find_spec", lambda name: name if name in found else None)
    assert cuda.installed_bindings() == "pycuda"
    found.remove("pycuda")
    assert cuda.installed_bindings() == "cuda-bindings"
