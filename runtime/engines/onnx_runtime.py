"""ONNX Runtime: the engine every machine has, on the CPU or on an NVIDIA GPU."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from numpy.typing import NDArray

from ..errors import EngineUnavailableError
from ..pixels import RgbBatch
from .network import check_batch, check_input_shape, model_name

CUDA = "CUDAExecutionProvider"

PROVIDERS: Mapping[str, tuple[str, Mapping[str, str]]] = MappingProxyType(
    {
        "cpu": ("CPUExecutionProvider", {}),
        # Without TF32, which would make fp32 less than that; without trying every algorithm at each new size.
        "cuda": (CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
    }
)
"""By device: ONNX Runtime's provider and its options."""

INSTALL_CUDA = 'pip uninstall -y onnxruntime && pip install "onnxruntime-gpu[cuda,cudnn]>=1.21"'


class OnnxRuntimeNetwork:
    """A `Network` over one ONNX file, on the CPU unless `device` is `cuda`."""

    def __init__(self, model: Path | bytes, precision: str = "fp32", *, device: str = "cpu", threads: int = 1) -> None:
        self.name = "onnxruntime" if device == "cpu" else f"onnxruntime-{device}"
        self.precision, self.device = precision, device
        self._session: Any = open_session(model, threads, device)
        image = self._session.get_inputs()[0]
        self._input = image.name
        self.input_shape = check_input_shape(image.type, image.shape)
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, batch: RgbBatch) -> dict[str, NDArray[Any]]:
        values = self._session.run(self.outputs, {self._input: check_batch(batch, self.input_shape)})
        return dict(zip(self.outputs, values, strict=True))


def open_cuda(model: Path | bytes, precision: str = "fp32") -> OnnxRuntimeNetwork:
    """Open `model` on an NVIDIA GPU; never on the CPU instead."""
    return OnnxRuntimeNetwork(model, precision, device="cuda")


def open_session(model: Path | bytes, threads: int = 1, device: str = "cpu") -> Any:
    """Open an `onnxruntime.InferenceSession`.

    One thread by default: several workers with one thread each beat fork and join inside a small network.

    Raises:
        EngineUnavailableError: ONNX Runtime or the device is missing, or it cannot read the model.
    """
    onnxruntime = import_onnxruntime()
    provider, settings = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise EngineUnavailableError(f"this onnxruntime has no {device.upper()}; install it with: {INSTALL_CUDA}")
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):  # finds what pip installed of CUDA and cuDNN
        with redirect_stdout(io.StringIO()):  # it prints what it misses; the session tells
            onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    if device == "cpu":
        _share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: warnings speak of graph details no user can act on
    options.enable_mem_pattern = False  # 44 MB less for the detector at 720p, and no slower: measured
    try:
        session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=[(provider, dict(settings))],
            enable_fallback=0,
        )
    except Exception as error:  # onnxruntime raises a dozen types of its own, derived from Exception alone
        raise EngineUnavailableError(f"{model_name(model)}: ONNX Runtime cannot open it: {error}") from error
    if provider not in session.get_providers():  # it would run on the CPU, after no more than a log line
        raise EngineUnavailableError(
            f"onnxruntime could not start {device.upper()}: the driver, CUDA or cuDNN is missing or of another "
            f"version; install it with: {INSTALL_CUDA}"
        )
    return session


@cache
def _share_memory() -> None:
    """One pool of memory on the CPU for all sessions, grown by what is asked for: 20 MB less than a pool each,
    doubled whenever it is too small."""
    onnxruntime = import_onnxruntime()
    kinds = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    where = onnxruntime.OrtMemoryInfo("Cpu", kinds[0], 0, kinds[1])
    as_requested = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(where, as_requested)


def import_onnxruntime() -> ModuleType:
    """The package; imported here, so that a command that runs no network starts without it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailableError(
            f"onnxruntime cannot be imported ({error}); install it with: pip install onnxruntime"
        ) from error
    return onnxruntime
