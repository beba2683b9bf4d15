"""What every inference engine can do, whatever runs beneath it."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from typing_extensions import Self

from ..pixels import RgbBatch


class Engine(Protocol):
    """A super-resolution network ready to run; a context manager that frees its device resources."""

    name: str
    """The engine as the command line spells it, such as `onnxruntime`."""
    precision: str
    """fp32, fp16 or int8."""
    device: str
    """Where it runs, such as `cpu`."""
    input_size: int
    """Side of the square crops it takes, in pixels."""
    output_size: int
    """Side of the square crops it returns, in pixels."""

    def __call__(self, batch: RgbBatch) -> RgbBatch:
        """Super-resolve uint8 (N, input_size, input_size, 3) RGB into (N, output_size, output_size, 3)."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
