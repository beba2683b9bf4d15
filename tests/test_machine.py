"""What a machine tells of itself is read, and what it does not tell is no error."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from fsr.runtime import machine
from fsr.runtime.machine import cores, this_machine

INTEL = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: sse avx2 avx512f avx512_vnni amx_tile\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n\nprocessor\t: 1\n"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    machine._cpuinfo.cache_clear()
    yield
    machine._cpuinfo.cache_clear()


def tell(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], programs: dict[str, str]) -> None:
    """Let the machine have these files and programs alone."""
    monkeypatch.setattr(machine, "_read", lambda path: files.get(path, ""))
    monkeypatch.setattr(machine, "_ask", lambda *command: programs.get(command[0], ""))


def test_this_machine_says_its_versions() -> None:
    found = this_machine()
    assert found.cores == cores() >= 1
    assert {"fsr-edge", "numpy", "pillow"} <= found.packages.keys()
    assert found.processor and found.system


@pytest.mark.parametrize(
    ("cpuinfo", "extensions"),
    [
        (INTEL, ["AVX2", "AVX-512", "VNNI", "AMX"]),
        (ARM, ["NEON", "NEON dotprod", "NEON i8mm"]),
        ("flags : sse", []),
        ("", None),
    ],
    ids=["intel", "arm", "old", "not told"],
)
def test_vector_extensions_are_those_of_the_processor(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: str, extensions: list[str] | None
) -> None:
    tell(monkeypatch, {"/proc/cpuinfo": cpuinfo}, {})
    assert this_machine().vector_extensions == extensions


def test_the_processor_is_named_by_linux_by_macos_or_by_its_board(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, {"/proc/cpuinfo": INTEL}, {})
    assert this_machine().processor == "Xeon"
    machine._cpuinfo.cache_clear()
    tell(monkeypatch, {}, {"sysctl": "Apple M4"})
    assert this_machine().processor == "Apple M4"
    tell(monkeypatch, {"/proc/device-tree/model": "Raspberry Pi 5"}, {})
    assert (this_machine().processor, this_machine().gpus) == ("Raspberry Pi 5", [])


def test_gpus_are_those_of_the_driver_or_of_a_jetson(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, {}, {"nvidia-smi": "A, 1 MiB, 550\nB, 2 MiB, 550"})
    assert this_machine().gpus == ["A, 1 MiB, 550", "B, 2 MiB, 550"]
    tell(monkeypatch, {"/proc/device-tree/model": "NVIDIA Jetson Orin Nano"}, {})
    assert this_machine().gpus == ["NVIDIA Jetson Orin Nano"]


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), PermissionError(), subprocess.TimeoutExpired("nvidia-smi", 2)], ids=repr
)
def test_a_program_that_is_missing_or_hangs_tells_nothing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, timeout: float, **__: Any) -> None:
        assert timeout <= 2
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    assert this_machine().gpus == []


def test_a_program_that_fails_tells_nothing() -> None:
    assert machine._ask("false") == ""


def test_a_file_ends_before_its_nul(tmp_path: Any) -> None:
    (tmp_path / "model").write_bytes(b"Jetson\0")
    assert machine._read(str(tmp_path / "model")) == "Jetson"
    assert machine._read(str(tmp_path / "none")) == ""
