"""Inference engines, opened by name; nothing falls back to another in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ..errors import EngineUnavailableError
from .engine import Engine
from .fake import FakeEngine
from .onnx_runtime import OnnxRuntimeEngine

__all__ = ["OPENERS", "Engine", "FakeEngine", "OnnxRuntimeEngine", "open_engine"]

OPENERS: Mapping[str, Callable[[Path, str], Engine]] = MappingProxyType({"onnxruntime": OnnxRuntimeEngine})


def open_engine(name: str, model: Path, precision: str = "fp32") -> Engine:
    """Open `model` with the engine called `name`.

    Raises:
        EngineUnavailableError: no engine of that name, or it cannot run here.
    """
    if (opener := OPENERS.get(name)) is None:
        raise EngineUnavailableError(f"got engine {name!r}, expected one of: {', '.join(OPENERS)}")
    return opener(model, precision)
