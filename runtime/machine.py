"""The machine that a program runs on: what its speed depends on, and which versions it has."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

PACKAGES = (
    "fsr-edge",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "pycuda",
    "cuda-bindings",
    "torch",
    "av",
    "pillow",
)

EXTENSIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "AVX2": frozenset({"avx2"}),
        "AVX-512": frozenset({"avx512f"}),
        "VNNI": frozenset({"avx512_vnni", "avx_vnni"}),
        "AMX": frozenset({"amx_tile"}),
        "NEON": frozenset({"asimd", "neon"}),
        "NEON dotprod": frozenset({"asimddp"}),
        "NEON i8mm": frozenset({"i8mm"}),
    }
)
"""Vector extensions that change the speed of networks, and what Linux calls them."""

PATIENCE = 2.0
"""Seconds that another program is waited for."""


@dataclass(frozen=True)
class Machine:
    """What a measurement should be read with."""

    system: str
    python: str
    processor: str
    cores: int
    """That this program may use."""
    vector_extensions: list[str] | None
    """Those of `EXTENSIONS`; None where the system does not tell."""
    memory_gib: float | None
    gpus: list[str]
    """NVIDIA GPUs, with memory and driver, as their driver tells."""
    packages: dict[str, str]
    """Versions of those of `PACKAGES` that are installed."""


def this_machine() -> Machine:
    """Look; what the system does not tell is left out, never an error."""
    return Machine(
        system=platform.platform(),
        python=platform.python_version(),
        processor=_processor(),
        cores=cores(),
        vector_extensions=_vector_extensions(),
        memory_gib=_memory_gib(),
        gpus=_gpus(),
        packages=_packages(),
    )


def cores() -> int:
    """Cores that this program may use, which a container or `taskset` may have limited."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """Linux and macOS keep the name where `platform` does not look; boards have the better one."""
    board = _read("/proc/device-tree/model")
    named = _cpuinfo().get("model name") or _ask("sysctl", "-n", "machdep.cpu.brand_string")
    return board or named or platform.processor() or platform.machine()


def _vector_extensions() -> list[str] | None:
    cpuinfo = _cpuinfo()
    flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
    return [name for name, known in EXTENSIONS.items() if known & set(flags)] if flags else None


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _gpus() -> list[str]:
    jetson = _read("/proc/device-tree/model")
    listed = _ask("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader").splitlines()
    return listed or ([jetson] if "jetson" in jetson.lower() else [])


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def _cpuinfo() -> dict[str, str]:
    """The first core's lines."""
    first = _read("/proc/cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _ask(*command: str) -> str:
    """What a program printed; nothing if it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout.strip()
