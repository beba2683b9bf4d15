"""ONNX Runtime on the CPU: the engine every machine has."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from ..errors import EngineUnavailableError, InputError
from ..pixels import RgbBatch


def open_session(model: Path | bytes, threads: int = 1) -> Any:
    """Open an `onnxruntime.InferenceSession` on the CPU.

    One thread by default: several workers with one thread each beat fork and join inside a small network.

    Raises:
        EngineUnavailableError: ONNX Runtime is missing or cannot read the model.
    """
    try:
        import onnxruntime  # here, so that a command that runs no network starts without it
    except ImportError as error:
        raise EngineUnavailableError(
            f"onnxruntime cannot be imported ({error}); install it with: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: warnings speak of graph details no user can act on
    try:
        return onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises a dozen types of its own, derived from Exception alone
        name = "the model" if isinstance(model, bytes) else str(model)
        raise EngineUnavailableError(f"{name}: ONNX Runtime cannot open it: {error}") from error


class OnnxRuntimeEngine:
    """An `Engine` over one ONNX file with uint8 NHWC input and output."""

    name = "onnxruntime"
    device = "cpu"

    def __init__(self, model: Path | bytes, precision: str = "fp32", threads: int = 1) -> None:
        self.precision = precision
        self._session: Any = open_session(model, threads)
        self._input = self._session.get_inputs()[0]
        output = self._session.get_outputs()[0]
        side = self._input.shape[1] if len(self._input.shape) == 4 else None
        if self._input.type != "tensor(uint8)" or self._input.shape[1:] != [side, side, 3] or not isinstance(side, int):
            raise EngineUnavailableError(
                f"got a model that takes {self._input.type} {self._input.shape}, expected uint8 (N, S, S, 3) with "
                "S fixed; export it with fsr-export onnx"
            )
        self.input_size = side
        self.output_size = int(output.shape[1])

    def __call__(self, batch: RgbBatch) -> RgbBatch:
        expected = (self.input_size, self.input_size, 3)
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != expected:
            raise InputError(f"got a batch of {batch.dtype} {batch.shape}, expected uint8 (N, *{expected})")
        if len(batch) == 0:
            return np.empty((0, self.output_size, self.output_size, 3), np.uint8)
        return self._session.run(None, {self._input.name: np.ascontiguousarray(batch)})[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
