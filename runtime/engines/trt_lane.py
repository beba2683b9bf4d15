"""One batch size on its way through a plan: host -> device -> network -> device -> host, as one captured graph."""

from __future__ import annotations

import math
import warnings
from contextlib import ExitStack
from typing import Any

from numpy.typing import NDArray

from ..errors import EngineUnavailableError
from ..pixels import RgbBatch
from .cuda import Cuda
from .trt_buffers import Buffers, owned
from .trt_plan import OpenedPlan, Output, Shape

ALIGNMENT = 256
"""Bytes; TensorRT asks it of every address."""


class Lane:
    """An execution context with buffers of its own, and the graph of its shape from the second run on.

    A graph belongs to its context and its shape, so each batch size has a lane; one for pictures of any size is given
    other shapes, and captures anew where one comes twice. The first run of a shape is never captured: TensorRT prepares
    itself in it. For one thread at a time, with the CUDA context current.
    """

    def __init__(self, cuda: Cuda, plan: OpenedPlan, stream: Any, profile: int, *, graphs: bool) -> None:
        self._cuda, self._plan, self._stream, self._graphs = cuda, plan, stream, graphs
        self.profile = profile
        self.shape: Shape = ()
        self._runs = 0
        self._graph: Any = None
        self._buffers: Buffers | None = None
        self._context: Any = plan.new_context(profile, cuda.handle(stream))
        cuda.synchronise(stream)  # the stream sets the profile

    def fit(self, shape: Shape) -> None:
        """Take batches of up to that shape from now on, (N, H, W, 3).

        Raises:
            EngineUnavailableError: TensorRT or the device's memory refuses.
        """
        if shape == self.shape:
            return
        self._drop_graph()
        self.shape, self._runs = (), 0  # nothing, should one of these fail
        if not self._context.set_input_shape(self._plan.input, shape):
            raise EngineUnavailableError(f"{self._plan.tensorrt} refuses pictures {shape}: {self._plan.log.last}")
        self._places, returned = self._lay_out(shape[0])
        buffers = self._reserve(math.prod(shape), returned)
        self._context.set_tensor_address(self._plan.input, self._cuda.address(buffers.input))
        for output, (start, _) in self._places.items():
            self._context.set_tensor_address(output.name, self._cuda.address(buffers.output) + start)
        # A copy moves all of its host memory: no more than this shape has.
        self._host_input, self._host_output = buffers.host_input[: math.prod(shape)], buffers.host_output[:returned]
        self._input, self._output = buffers.input, buffers.output
        self.shape = shape

    def __call__(self, batch: RgbBatch) -> dict[str, NDArray[Any]]:
        """Run up to as many pictures as the shape has; what fills the rest is whatever lay there."""
        self._host_input[: batch.nbytes] = batch.reshape(-1)
        if self._graph is None and self._graphs and self._runs:
            self._capture()
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.launch(self._graph, self._stream)
        self._cuda.synchronise(self._stream)
        self._runs += 1
        return {output.name: self._rows(output, len(batch)) for output in self._places}

    def close(self) -> None:
        """Let go of graph, context and memory, in this order: each refers to the next."""
        self._drop_graph()
        self._context = None
        if self._buffers is not None:
            self._buffers.close()

    def _enqueue(self) -> None:
        self._cuda.copy_in(self._input, self._host_input, self._stream)
        if not self._context.execute_async_v3(self._cuda.handle(self._stream)):
            reason = self._plan.log.last or "no reason given"
            raise EngineUnavailableError(f"{self._plan.tensorrt} did not run: {reason}")
        self._cuda.copy_out(self._host_output, self._output, self._stream)

    def _capture(self) -> None:
        try:
            self._graph = self._cuda.capture(self._enqueue, self._stream)
        except EngineUnavailableError as error:
            self._graphs = False
            warnings.warn(f"running without a CUDA graph, which is slower: {error}", RuntimeWarning, stacklevel=2)

    def _drop_graph(self) -> None:
        with ExitStack() as stack:
            if self._graph is not None:
                owned(stack, self._graph, self._cuda.free_graph)
            self._graph = None

    def _lay_out(self, pictures: int) -> tuple[dict[Output, tuple[int, Shape]], int]:
        """Where each output starts in the one block that holds all, with its shape, and the size of that block."""
        places, end = {}, 0
        for output in self._plan.outputs:
            shape = tuple(self._context.get_tensor_shape(output.name))
            if min(shape, default=-1) < 0 or shape[0] != pictures:
                raise EngineUnavailableError(
                    f"got a plan whose {output.name} is {shape} for {pictures} pictures, expected a row for each; "
                    "build it from a model that fsr-export made"
                )
            places[output] = end, shape
            end += -(-math.prod(shape) * output.dtype.itemsize // ALIGNMENT) * ALIGNMENT
        return places, end

    def _reserve(self, taken: int, returned: int) -> Buffers:
        """Buffers of at least these sizes: those there are, or larger ones in their place."""
        held = self._buffers
        if held is not None and taken <= held.taken and returned <= held.returned:
            return held
        if held is not None:
            taken, returned, self._buffers = max(taken, held.taken), max(returned, held.returned), None
            held.close()
        self._buffers = Buffers(self._cuda, taken, returned)
        return self._buffers

    def _rows(self, output: Output, count: int) -> NDArray[Any]:
        """A copy, for the caller to keep, of the first `count` rows."""
        start, shape = self._places[output]
        size = math.prod(shape) * output.dtype.itemsize
        return self._host_output[start : start + size].view(output.dtype).reshape(shape)[:count].copy()
