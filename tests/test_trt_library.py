"""Finding TensorRT: what it can do is probed, and what is missing is one sentence."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from fake_tensorrt import fake_tensorrt

from fsr.export.cli import FLAVOURS as OFFERED
from fsr.runtime.engines import trt_library
from fsr.runtime.engines.trt_library import FLAVOURS, load_tensorrt, remedy
from fsr.runtime.errors import EngineUnavailableError


@pytest.fixture(autouse=True)
def afresh() -> None:
    trt_library._load.cache_clear()


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize(
    ("version", "typed", "flagged"), [("8.6", False, True), ("10", True, True), ("11", True, False)]
)
def test_what_each_version_can_do(version: str, typed: bool, flagged: bool) -> None:
    library = fake_tensorrt(version)
    assert (library.typed, library.flagged) == (typed, flagged)
    assert not library.compute_capabilities


def test_tensorrt_rtx() -> None:
    pytest.importorskip("tensorrt_rtx", reason='pip install "fsr-edge[tensorrt-rtx]"')
    library = load_tensorrt("tensorrt-rtx")
    assert (library.typed, library.flagged) == (True, False)
    assert {"7.5", "8.6", "8.9", "12.0"} <= set(library.compute_capabilities)
    assert str(library) == f"tensorrt-rtx {library.module.__version__}"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            "Cuda Runtime (In catchCudaError (cudaError 35: CUDA driver version is insufficient))",
            "driver is older than",
        ),
        ("CUDA initialization failure with error: 35. Please check", "driver is older than"),
        ("Error Code 1: Cuda Runtime (out of memory)", "see what nvidia-smi says"),
        ("CUDA initialization failure with error: 100", "see what nvidia-smi says"),
        ("Error Code 1: Serialization (magic tag does not match, 35 bytes)", None),
    ],
)
def test_what_cuda_refuses_no_other_plan_mends(reason: str, said: str | None) -> None:
    assert remedy(reason) is None if said is None else said in (remedy(reason) or "")


def test_what_is_missing_is_named_with_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, *FLAVOURS.values())
    with pytest.raises(EngineUnavailableError, match=r'^tensorrt-rtx cannot be .*; install it with: pip .*-rtx\]"$'):
        load_tensorrt("tensorrt-rtx")
    with pytest.raises(EngineUnavailableError, match=r"^tensorrt cannot .*; or tensorrt-rtx cannot "):
        load_tensorrt()


def test_the_first_that_is_here_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text("__version__ = '1.2'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    hide(monkeypatch, "tensorrt")
    assert str(load_tensorrt()) == "tensorrt-rtx 1.2"
    monkeypatch.delitem(sys.modules, "tensorrt_rtx")


@pytest.mark.parametrize(
    "start", ["raise OSError('libnvinfer.so.10: cannot open shared object file')", "raise RuntimeError('x')", "pass"]
)
def test_bindings_that_cannot_start(start: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the libraries, with a start-up that fails, and a module that is something else."""
    (tmp_path / "tensorrt.py").write_text(f"{start}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EngineUnavailableError, match=r"^tensorrt cannot be imported \(.+\); install it with: "):
        load_tensorrt("tensorrt")
    sys.modules.pop("tensorrt", None)


def test_a_library_that_tensorrt_does_not_bring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The words of 8.6.0 on a machine without cuBLAS."""
    reason = "libcublas.so.12: cannot open shared object file: No such file or directory"
    (tmp_path / "tensorrt.py").write_text(f"raise ImportError({reason!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EngineUnavailableError, match=r"needs \(libcublas\.so\.12: .*\); .* LD_LIBRARY_PATH$"):
        load_tensorrt("tensorrt")
    sys.modules.pop("tensorrt", None)


def test_on_a_jetson_the_system_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(trt_library, "JETSON", tmp_path)
    assert "--system-site-packages" in trt_library.install_line("tensorrt")
    assert "fsr-edge[tensorrt-rtx]" in trt_library.install_line("tensorrt-rtx")


def test_flavours_have_one_spelling() -> None:
    assert tuple(FLAVOURS) == OFFERED
    with pytest.raises(EngineUnavailableError, match="got flavour 'rtx', expected one of: tensorrt, tensorrt-rtx"):
        load_tensorrt("rtx")
