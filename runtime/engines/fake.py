"""An engine without a model, for trying a chain before there is one and for testing what stands around engines."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import numpy as np
from typing_extensions import Self

from ..geometry import resize
from ..pixels import RgbBatch
from .network import check_batch


class FakeEngine:
    """An `Engine` that enlarges by bicubic. It is not in `OPENERS`: no name chooses it as if it restored faces."""

    name, precision, device = "fake", "fp32", "cpu"

    def __init__(self, input_size: int, scale: int, spoil: Callable[[RgbBatch], RgbBatch] | None = None) -> None:
        """Take crops of `input_size` pixels; `spoil` is applied to each enlarged batch, to see a mistake found."""
        self.input_size, self.output_size = input_size, input_size * scale
        self._spoil = spoil

    def __call__(self, batch: RgbBatch) -> RgbBatch:
        batch = check_batch(batch, (None, self.input_size, self.input_size, 3))
        enlarged = np.empty((len(batch), self.output_size, self.output_size, 3), np.uint8)
        for index, face in enumerate(batch):
            enlarged[index] = resize(face, (self.output_size, self.output_size))
        return enlarged if self._spoil is None else self._spoil(enlarged)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to free."""
