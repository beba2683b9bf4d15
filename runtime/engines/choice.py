"""Which engine runs, and why."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import EngineUnavailableError
from .onnx_runtime import CUDA, import_onnxruntime
from .opening import open_network

AUTO = "auto"

PROBE = bytes.fromhex(
    "080812086673722d656467653a630a170a05696d616765120473616d6522084964656e74697479120570726f62655a200a05"
    "696d61676512170a15080212110a0312014e0a0208010a0208010a020803621f0a0473616d6512170a15080212110a031201"
    "4e0a0208010a0208010a02080342040a00100d"
)
"""An ONNX file: the identity of uint8 (N, 1, 1, 3), from `image` to `same`."""


@dataclass(frozen=True)
class Choice:
    """An engine that works here."""

    engine: str
    why: str
    """A clause, such as `no CUDA provider in this onnxruntime`."""


def choose_engine(name: str = AUTO) -> Choice:
    """The engine called `name` once it has proved that it runs here; for `auto` the fastest that does.

    `auto` takes ONNX Runtime, on a GPU if that works. OpenVINO is taken by name alone: in float32 it needs 1.2 to 1.4
    times as long for the detector and as long for faces, measured.

    Raises:
        EngineUnavailableError: no engine of that name, or it cannot run here.
    """
    if name == AUTO:
        return _best()
    open_network(name, PROBE)
    return Choice(name, "asked for by name")


def _best() -> Choice:
    if CUDA not in import_onnxruntime().get_available_providers():
        return Choice("onnxruntime", "no CUDA provider in this onnxruntime")
    try:
        open_network("onnxruntime-cuda", PROBE)
    except EngineUnavailableError as error:
        return Choice("onnxruntime", f"the CUDA provider does not work: {error}")
    return Choice("onnxruntime-cuda", "its CUDA provider works here")
