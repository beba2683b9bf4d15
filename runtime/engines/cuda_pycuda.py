"""`Cuda` over pycuda; it has no graphs of its own, so those go through the driver on its stream's handle."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from ..errors import EngineUnavailableError
from .cuda import HostBytes
from .cuda_driver import load_driver

THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate while this one captures."""

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: it waits for no work of the default stream."""


class PyCuda:
    """See `Cuda`."""

    def __init__(self, index: int) -> None:
        try:
            self._pycuda: Any = import_module("pycuda.driver")
        except ImportError as error:
            raise EngineUnavailableError(
                f"pycuda cannot be imported ({error}); build it against this CUDA with: "
                "pip install --force-reinstall --no-cache-dir --no-binary :all: pycuda"
            ) from error
        self._driver = load_driver()
        self.name = f"pycuda {version('pycuda')}"
        with self._errors():
            self._pycuda.init()
            self._context = self._pycuda.Device(index).retain_primary_context()
        # Left to itself, pycuda complains at the end. Of finalizers the first runs last: after those of the networks.
        weakref.finalize(self, self._context.detach)

    @contextmanager
    def current(self) -> Iterator[None]:
        with self._errors():
            self._context.push()
        try:
            with self._errors():
                yield
        finally:
            with self._errors():
                self._pycuda.Context.pop()

    def allocate(self, size: int) -> Any:
        return self._pycuda.mem_alloc(size)

    def address(self, memory: Any) -> int:
        return int(memory)

    def free(self, memory: Any) -> None:
        memory.free()

    def pin(self, size: int) -> HostBytes:
        return self._pycuda.pagelocked_empty(size, np.uint8)

    def unpin(self, host: HostBytes) -> None:
        host.base.free()  # type: ignore[union-attr]  # a pycuda.driver.PagelockedHostAllocation

    def new_stream(self) -> Any:
        return _Held(self._pycuda.Stream(NON_BLOCKING))

    def handle(self, stream: Any) -> int:
        return int(stream.thing.handle)

    def free_stream(self, stream: Any) -> None:
        stream.thing = None

    def synchronise(self, stream: Any) -> None:
        stream.thing.synchronize()

    def copy_in(self, memory: Any, host: HostBytes, stream: Any) -> None:
        self._pycuda.memcpy_htod_async(memory, host, stream.thing)

    def copy_out(self, host: HostBytes, memory: Any, stream: Any) -> None:
        self._pycuda.memcpy_dtoh_async(host, memory, stream.thing)

    def capture(self, work: Callable[[], None], stream: Any) -> Any:
        handle, graph, ready = ctypes.c_void_p(self.handle(stream)), ctypes.c_void_p(), ctypes.c_void_p()
        self._driver("cuStreamBeginCapture_v2", handle, THREAD_LOCAL)
        try:
            work()
        except BaseException:
            self._driver.code("cuStreamEndCapture", handle, ctypes.byref(graph))
            if graph:
                self._driver.code("cuGraphDestroy", graph)
            raise
        self._driver("cuStreamEndCapture", handle, ctypes.byref(graph))
        try:
            self._driver("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_ulonglong(0))
        finally:
            self._driver("cuGraphDestroy", graph)
        return ready

    def launch(self, graph: Any, stream: Any) -> None:
        self._driver("cuGraphLaunch", graph, ctypes.c_void_p(self.handle(stream)))

    def free_graph(self, graph: Any) -> None:
        self._driver("cuGraphExecDestroy", graph)

    def new_event(self) -> Any:
        return _Held(self._pycuda.Event())

    def record(self, event: Any, stream: Any) -> None:
        event.thing.record(stream.thing)

    def milliseconds(self, start: Any, end: Any) -> float:
        end.thing.synchronize()
        return float(start.thing.time_till(end.thing))

    def free_event(self, event: Any) -> None:
        event.thing = None

    def free_bytes(self) -> int:
        return int(self._pycuda.mem_get_info()[0])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._pycuda.Error as error:
            raise EngineUnavailableError(f"CUDA: {error}") from error


@dataclass
class _Held:
    """A stream or event of pycuda, which frees it when nobody holds it any more: only this does."""

    thing: Any
