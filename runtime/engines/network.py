"""What every network ready to run can do, whatever runs beneath it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineUnavailableError, InputError
from ..pixels import RgbBatch


class Network(Protocol):
    """One ONNX file ready to run: pictures in, every output by its name out. Threads may share it."""

    name: str
    """The engine as the command line spells it, such as `onnxruntime`."""
    precision: str
    """fp32, fp16 or int8."""
    device: str
    """Where it runs, such as `cpu`."""
    input_shape: tuple[int | None, ...]
    """(N, H, W, 3) with None where any length will do."""
    outputs: tuple[str, ...]

    def __call__(self, batch: RgbBatch) -> dict[str, NDArray[Any]]:
        """Run uint8 (N, H, W, 3) RGB; the arrays returned belong to the caller.

        Raises:
            InputError: `batch` does not fit `input_shape`.
        """
        ...


class NetworkOpener(Protocol):
    """Opens a model, a file or its bytes, that was exported in `precision`."""

    def __call__(self, model: Path | bytes, precision: str) -> Network: ...


def check_input_shape(kind: str, shape: Sequence[object]) -> tuple[int | None, ...]:
    """The `Network.input_shape` of a model whose input an engine describes like this.

    Raises:
        EngineUnavailableError: the model does not take uint8 pictures.
    """
    if "uint8" not in kind or len(shape) != 4 or shape[3] != 3:
        raise EngineUnavailableError(
            f"got a model that takes {kind} {tuple(shape)}, expected uint8 (N, H, W, 3); export it with fsr-export"
        )
    return tuple(length if isinstance(length, int) else None for length in shape)


def check_batch(batch: NDArray[Any], input_shape: tuple[int | None, ...]) -> RgbBatch:
    """`batch`, contiguous, if it fits `input_shape`; otherwise `InputError`."""
    fits = len(batch.shape) == 4 and all(
        expected in (None, got) for got, expected in zip(batch.shape, input_shape, strict=True)
    )
    if batch.dtype != np.uint8 or not fits:
        expected = ", ".join(
            letter if length is None else str(length) for letter, length in zip("NHWC", input_shape, strict=True)
        )
        raise InputError(f"got a batch of {batch.dtype} {batch.shape}, expected uint8 ({expected})")
    return np.ascontiguousarray(batch)


def model_name(model: Path | bytes) -> str:
    """How messages call a model."""
    return "the model" if isinstance(model, bytes) else str(model)
