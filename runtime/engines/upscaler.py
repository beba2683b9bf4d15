"""A network that takes one batch of pictures and returns one, as an `Engine`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

import numpy as np
from typing_extensions import Self

from ..errors import EngineUnavailableError
from ..pixels import RgbBatch
from .network import Network, check_batch

PIECE_PIXELS = 16 * 128**2
"""That a CPU makes at once: more is no faster, and the activations of many faces at 256 px leave its cache."""


class Upscaler:
    """An `Engine` over a network with uint8 NHWC in and out; threads may share it."""

    def __init__(self, network: Network) -> None:
        """Take `network`, and run one black crop: what cannot run is found here, and the first face waits for nothing.

        Raises:
            EngineUnavailableError: the network does not turn square crops of one size into larger ones.
        """
        self.name, self.precision, self.device = network.name, network.precision, network.device
        _, side, width, _ = network.input_shape
        if side is None or side != width or len(network.outputs) != 1:
            raise EngineUnavailableError(
                f"got a model that takes {network.input_shape} and returns {', '.join(network.outputs)}, "
                "expected uint8 (N, S, S, 3) with S fixed and one output; export it with fsr-export onnx"
            )
        self._network: Network | None = network
        self.input_size = side
        restored = self._run(np.zeros((1, side, side, 3), np.uint8))
        self.output_size = restored.shape[1]
        if restored.dtype != np.uint8 or restored.shape != (1, self.output_size, self.output_size, 3):
            raise EngineUnavailableError(
                f"got a model that returns {restored.dtype} {restored.shape}, expected uint8 (N, S, S, 3); "
                "export it with fsr-export onnx"
            )

    def __call__(self, batch: RgbBatch) -> RgbBatch:
        if len(batch) == 0:
            check_batch(batch, (None, self.input_size, self.input_size, 3))
            return np.empty((0, self.output_size, self.output_size, 3), np.uint8)
        most = max(1, PIECE_PIXELS // self.output_size**2) if self.device == "cpu" else len(batch)
        pieces = [self._run(batch[start : start + most]) for start in range(0, len(batch), most)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _run(self, batch: RgbBatch) -> RgbBatch:
        if self._network is None:
            raise EngineUnavailableError("got a call after this engine was closed; open it anew")
        (restored,) = self._network(batch).values()
        return restored

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        network, self._network = self._network, None
        if isinstance(network, AbstractContextManager):  # it holds more than memory of this process
            network.__exit__(kind, error, trace)
