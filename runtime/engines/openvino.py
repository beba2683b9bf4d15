"""OpenVINO on the CPU: an extra, chosen by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from ..errors import EngineUnavailableError
from ..machine import cores
from ..pixels import RgbBatch
from .network import check_batch, check_input_shape, model_name

MAX_STREAMS = 16
"""Calls that run at once; each holds its own activations."""

_LOADING = Lock()
"""Two threads that come first together must not make a Core each."""


class OpenVinoNetwork:
    """A `Network` over one ONNX file, compiled once for every size it may be given.

    Compiling for each size was measured: .2 s a size, for 5 to 10% less time a call. Pictures of many sizes never earn
    that back.
    """

    name, device = "openvino", "cpu"

    def __init__(self, model: Path | bytes, precision: str = "fp32") -> None:
        """Open `model`.

        Raises:
            EngineUnavailableError: OpenVINO is missing or cannot read the model.
        """
        self.precision = precision
        core = _core(_import_openvino())
        try:
            graph = core.read_model(model)
            self.input_shape = _input_shape(graph.input(0))
            # Named before compiling, which adds names of its own.
            self.outputs: tuple[str, ...] = tuple(output.any_name for output in graph.outputs)
            self._compiled = core.compile_model(graph, "CPU", _settings())
        except RuntimeError as error:
            reason = str(error).strip().rpartition("\n")[2]  # above it stand lines of OpenVINO's source
            raise EngineUnavailableError(f"{model_name(model)}: OpenVINO cannot open it: {reason}") from error
        self._idle: list[Any] = []  # infer requests; each serves one call at a time

    def __call__(self, batch: RgbBatch) -> dict[str, NDArray[Any]]:
        pictures = check_batch(batch, self.input_shape)
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        # The pictures are read where they lie. What comes out is copied, since the next call overwrites it.
        values = request.infer({0: pictures}, share_inputs=True, share_outputs=False).to_tuple()
        self._idle.append(request)
        return dict(zip(self.outputs, values, strict=True))


def _core(openvino: ModuleType) -> Any:
    """The one Core of this process; it is never freed.

    Its CPU plugin gives the thread that loads it an alternate signal stack, and unmaps that wherever the last object
    over the plugin is freed. Freed by another thread, the first is left with a stack that is gone, and the next signal
    it receives, such as Ctrl-C, ends the process with a segmentation fault.
    """
    with _LOADING:
        return _kept_core(openvino)


@cache
def _kept_core(openvino: ModuleType) -> Any:
    return openvino.Core()


def _settings() -> dict[str, Any]:
    streams = min(cores(), MAX_STREAMS)  # more than may run stall each other
    return {
        # One thread a call, and as many calls at once as streams: with a single stream calls wait for each other.
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams,
        "ENABLE_CPU_PINNING": False,  # pinned, the threads of two networks land on one core
        "INFERENCE_PRECISION_HINT": "f32",  # by default it takes bfloat16 where the CPU has that
        # It would keep what it prepared for up to 5000 sizes: 3 MB each for the detector, and no faster for it.
        "CPU_RUNTIME_CACHE_CAPACITY": 0,
    }


def _input_shape(image: Any) -> tuple[int | None, ...]:
    lengths = [length.get_length() if length.is_static else "?" for length in image.partial_shape]
    return check_input_shape(str(image.element_type.to_dtype()), lengths)


def _import_openvino() -> ModuleType:
    try:
        import openvino  # here, so that a run with another engine does not pay for it
    except ImportError as error:
        raise EngineUnavailableError(
            f'openvino cannot be imported ({error}); install it with: pip install "fsr-edge[openvino]"'
        ) from error
    return openvino
