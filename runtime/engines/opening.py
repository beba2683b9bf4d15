"""The table of engines by name; nothing falls back to another in silence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ..errors import EngineUnavailableError
from .engine import Engine
from .network import Network, NetworkOpener
from .onnx_runtime import OnnxRuntimeNetwork, open_cuda
from .openvino import OpenVinoNetwork
from .tensorrt import open_tensorrt, open_tensorrt_rtx
from .upscaler import Upscaler

OPENERS: Mapping[str, NetworkOpener] = MappingProxyType(
    {
        "onnxruntime": OnnxRuntimeNetwork,
        "onnxruntime-cuda": open_cuda,
        "openvino": OpenVinoNetwork,
        "tensorrt": open_tensorrt,
        "tensorrt-rtx": open_tensorrt_rtx,
    }
)


def open_network(engine: str, model: Path | bytes, precision: str = "fp32") -> Network:
    """Open `model`, exported in `precision`, with the engine of that name.

    Raises:
        EngineUnavailableError: no engine of that name, or it cannot run here, or it cannot read the model.
    """
    if (opener := OPENERS.get(engine)) is None:
        raise EngineUnavailableError(f"got engine {engine!r}, expected one of: {', '.join(OPENERS)}")
    return opener(model, precision)


def open_engine(name: str, model: Path | bytes, precision: str = "fp32") -> Engine:
    """Open a super-resolution model; see `open_network`."""
    return Upscaler(open_network(name, model, precision))
