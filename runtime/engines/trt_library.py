"""TensorRT's Python library in one of its flavours, found and probed; nothing here needs CUDA or a GPU."""

from __future__ import annotations

import importlib
import platform
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from ..errors import EngineUnavailableError

FLAVOURS: Mapping[str, str] = MappingProxyType({"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"})
"""Engines as the command line spells them, and the modules that they are; the first that is here is taken."""

INSTALL: Mapping[str, str] = MappingProxyType(
    {
        "tensorrt": 'pip install "tensorrt>=8.6"',  # brings its libraries from NVIDIA's own index
        "tensorrt-rtx": 'pip install "fsr-edge[tensorrt-rtx]"',
    }
)
INSTALL_JETSON = "python3 -m venv --system-site-packages .venv"
"""JetPack brings TensorRT as a package of the system, which an ordinary virtual environment hides."""

FOREIGN_LIBRARY = re.compile(r"lib(?!nv|tensorrt)[\w.-]+: cannot open shared object file")
"""One that no TensorRT package brings: 8.6 needs cuBLAS and cuDNN for its plugins."""

OLD_DRIVER = re.compile(r"\berror:? 35\b|cudaError 35\b|driver version is insufficient", re.IGNORECASE)
CUDA_FAILED = re.compile(r"cuda (error|failure|initialization failure|runtime|driver)|cudaError", re.IGNORECASE)
"""What TensorRT says where no other plan would do: it is CUDA that failed, 35 for want of a newer driver."""

JETSON = Path("/etc/nv_tegra_release")


@dataclass(frozen=True)
class TensorRT:
    """The library that was found. What it can do is asked of it, never concluded from its version."""

    flavour: str
    """`tensorrt` or `tensorrt-rtx`."""
    module: Any
    version: str
    """Plans are bound to it, to the letter."""

    def __str__(self) -> str:
        return f"{self.flavour} {self.version}"

    @property
    def typed(self) -> bool:
        """Whether a network computes in the types that its ONNX file says: TensorRT-RTX, and TensorRT from 10 on."""
        return hasattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") or not self.flagged

    @property
    def flagged(self) -> bool:
        """Whether flags may let a float32 network compute in fewer bits: TensorRT 8.6 and 10."""
        return hasattr(self.module.BuilderFlag, "FP16")

    @property
    def compute_capabilities(self) -> Mapping[str, Any]:
        """Those that it builds for without such a GPU, such as `8.9`, and its names of them; none but TensorRT-RTX."""
        named = getattr(self.module, "ComputeCapability", None)
        members = {} if named is None else dict(named.__members__)
        return {f"{name[2:-1]}.{name[-1]}": value for name, value in members.items() if name.startswith("SM")}


def load_tensorrt(flavour: str | None = None) -> TensorRT:
    """The library of that flavour; without one, the first of `FLAVOURS` that is here.

    Raises:
        EngineUnavailableError: it is not installed, or cannot be loaded; the sentence ends with the line that mends it.
    """
    if flavour is not None:
        if flavour not in FLAVOURS:
            raise EngineUnavailableError(f"got flavour {flavour!r}, expected one of: {', '.join(FLAVOURS)}")
        return _load(flavour)
    refusals = []
    for name in FLAVOURS:
        try:
            return _load(name)
        except EngineUnavailableError as error:
            refusals.append(str(error))
    raise EngineUnavailableError("; or ".join(refusals))


@cache
def _load(flavour: str) -> TensorRT:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside NVIDIA's package, which no user can act on
            module: ModuleType = importlib.import_module(FLAVOURS[flavour])
        return TensorRT(flavour, module, str(module.__version__))
    # ImportError: no bindings, or none for this Python. OSError: bindings without libraries. The rest: a package whose
    # own start-up fails, such as one without `__version__` or with another NumPy's binary interface.
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0]
        if FOREIGN_LIBRARY.match(reason):
            raise EngineUnavailableError(
                f"{flavour} is here, but not a library of CUDA that it needs ({reason}); install that, and name its "
                "folder in LD_LIBRARY_PATH"
            ) from error
        raise EngineUnavailableError(
            f"{flavour} cannot be imported ({reason}); install it with: {install_line(flavour)}"
        ) from error


def remedy(reason: str) -> str | None:
    """What mends a failure that TensorRT lays to CUDA; None where the reason says nothing of it."""
    if OLD_DRIVER.search(reason):
        return (
            "the NVIDIA driver is older than the CUDA that this TensorRT needs; update the driver, or install a "
            "TensorRT for an older CUDA"
        )
    return "see what nvidia-smi says of the GPU" if CUDA_FAILED.search(reason) else None


def install_line(flavour: str) -> str:
    """The line that brings a flavour to this machine."""
    if flavour == "tensorrt" and platform.machine() == "aarch64" and JETSON.exists():
        return INSTALL_JETSON
    return INSTALL[flavour]
