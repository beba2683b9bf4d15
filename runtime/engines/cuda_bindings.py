"""`Cuda` over cuda-bindings, NVIDIA's own package, which pip installs without a compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from ..errors import EngineUnavailableError
from .cuda import HostBytes


class CudaBindings:
    """See `Cuda`."""

    def __init__(self, index: int) -> None:
        try:
            self._driver: Any = import_module("cuda.bindings.driver")
        except ImportError as error:
            raise EngineUnavailableError(
                f"cuda-bindings cannot be imported ({error}); install it with: pip install --upgrade cuda-bindings"
            ) from error
        self.name = f"cuda-bindings {version('cuda-bindings')}"
        self._call("cuInit", 0)
        self._context = self._call("cuDevicePrimaryCtxRetain", self._call("cuDeviceGet", index))

    @contextmanager
    def current(self) -> Iterator[None]:
        self._call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent")

    def allocate(self, size: int) -> Any:
        return self._call("cuMemAlloc", size)

    def address(self, memory: Any) -> int:
        return int(memory)

    def free(self, memory: Any) -> None:
        self._call("cuMemFree", memory)

    def pin(self, size: int) -> HostBytes:
        where = self._call("cuMemHostAlloc", size, 0)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(where)))

    def unpin(self, host: HostBytes) -> None:
        self._call("cuMemFreeHost", host.ctypes.data)

    def new_stream(self) -> Any:
        return self._call("cuStreamCreate", self._driver.CUstream_flags.CU_STREAM_NON_BLOCKING)

    def handle(self, stream: Any) -> int:
        return int(stream)

    def free_stream(self, stream: Any) -> None:
        self._call("cuStreamDestroy", stream)

    def synchronise(self, stream: Any) -> None:
        self._call("cuStreamSynchronize", stream)

    def copy_in(self, memory: Any, host: HostBytes, stream: Any) -> None:
        self._call("cuMemcpyHtoDAsync", memory, host.ctypes.data, host.nbytes, stream)

    def copy_out(self, host: HostBytes, memory: Any, stream: Any) -> None:
        self._call("cuMemcpyDtoHAsync", host.ctypes.data, memory, host.nbytes, stream)

    def capture(self, work: Callable[[], None], stream: Any) -> Any:
        # Thread-local: other threads may allocate while this one captures.
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            _, graph = self._driver.cuStreamEndCapture(stream)
            if graph is not None and int(graph):
                self._driver.cuGraphDestroy(graph)
            raise
        graph = self._call("cuStreamEndCapture", stream)
        try:
            return self._call("cuGraphInstantiate", graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)

    def launch(self, graph: Any, stream: Any) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        self._call("cuGraphExecDestroy", graph)

    def new_event(self) -> Any:
        return self._call("cuEventCreate", 0)

    def record(self, event: Any, stream: Any) -> None:
        self._call("cuEventRecord", event, stream)

    def milliseconds(self, start: Any, end: Any) -> float:
        self._call("cuEventSynchronize", end)
        return float(self._call("cuEventElapsedTime", start, end))

    def free_event(self, event: Any) -> None:
        self._call("cuEventDestroy", event)

    def free_bytes(self) -> int:
        return int(self._call("cuMemGetInfo")[0])

    def _call(self, function: str, *arguments: Any) -> Any:
        """What the function returns after its error code: nothing, one value or several."""
        code, *values = getattr(self._driver, function)(*arguments)
        if int(code):
            raise EngineUnavailableError(f"CUDA: {function} failed: {code.name}")
        return values[0] if len(values) == 1 else values
