"""Run by `test_cuda.py` in a process whose CUDA driver is `fake_driver.c`: the engine over a package for CUDA.

Arguments: the package, as `fsr.runtime.engines.cuda.BINDINGS` calls it, and what to try.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
import numpy as np
from fake_trt_runtime import FakeTensorRT, doubled, fixed_plan
from numpy.typing import NDArray

from fsr.runtime.engines.cuda import Cuda, open_cuda
from fsr.runtime.engines.cuda_device import find_gpu
from fsr.runtime.engines.cuda_driver import LIBRARY, load_driver
from fsr.runtime.engines.tensorrt import TensorRtNetwork
from fsr.runtime.errors import EngineUnavailableError

HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
KERNELS: list[Any] = []
"""What was enqueued: a graph may run it as long as the process lives."""


def enqueue(stream: int, work: Callable[[], None]) -> None:
    KERNELS.append(HOST_FUNCTION(lambda _: work()))
    load_driver()("cuLaunchHostFunc", ctypes.c_void_p(stream), KERNELS[-1], None)


def view(address: int, size: int) -> NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def capturing(stream: int) -> bool:
    status = ctypes.c_int()
    load_driver()("cuStreamIsCapturing", ctypes.c_void_p(stream), ctypes.byref(status))
    return bool(status.value)


def live() -> int:
    return ctypes.CDLL(LIBRARY).fake_live()


def engine(cuda: Cuda) -> None:
    """Faces through an engine, from several threads, and everything freed."""
    before, rng = live(), np.random.default_rng(0)
    fake = FakeTensorRT(enqueue, view, capturing)
    with TensorRtNetwork(fixed_plan(8), fake.library(), cuda, "fp32") as network, ThreadPoolExecutor(3) as threads:
        assert live() > before
        batches = [rng.integers(0, 256, (count, 8, 8, 3), np.uint8) for count in (0, 1, 3, 16, 21, 5, 2, 33)]
        for batch, result in zip(batches, threads.map(network, batches), strict=True):
            np.testing.assert_array_equal(result["restored"], doubled(batch))
    gc.collect()
    assert live() == before, (live(), before)


def fail() -> None:
    raise ValueError("inside a capture")


def every_call(cuda: Cuda) -> None:
    """Each function of the interface, and the errors that it turns into sentences."""
    before = live()
    with cuda.current():
        stream, memory, host = cuda.new_stream(), cuda.allocate(1000), cuda.pin(1000)
        start, end = cuda.new_event(), cuda.new_event()
        host[:] = np.arange(1000) % 256
        cuda.record(start, stream)
        cuda.copy_in(memory, host[:500], stream)
        assert cuda.address(memory) % 256 == 0 and cuda.handle(stream) > 0
        cuda.synchronise(stream)
        host[:] = 0
        graph = cuda.capture(lambda: cuda.copy_out(host[:500], memory, stream), stream)
        cuda.synchronise(stream)
        assert not host.any()
        for _ in range(2):
            host[:] = 0
            cuda.launch(graph, stream)
            cuda.record(end, stream)
            cuda.synchronise(stream)
            np.testing.assert_array_equal(host[:500], np.arange(500) % 256)
            assert not host[500:].any()
        assert cuda.milliseconds(start, end) > 0
        assert cuda.free_bytes() == 15 << 30
        try:
            cuda.capture(fail, stream)
        except ValueError:
            cuda.synchronise(stream)  # refused while it still captures
        cuda.free_graph(graph)
        cuda.free(memory)
        cuda.unpin(host)
        cuda.free_stream(stream)
        cuda.free_event(start)
        cuda.free_event(end)
    assert live() == before, (live(), before)
    try:
        with cuda.current():
            cuda.allocate(1 << 40)
    except EngineUnavailableError as error:
        click.echo(error)


def main(bindings: str, what: str) -> None:
    if what == "gpu":
        click.echo(find_gpu())
        return
    cuda = open_cuda(bindings=bindings)
    assert open_cuda(bindings=bindings) is cuda
    {"engine": engine, "every_call": every_call}[what](cuda)
    click.echo(cuda.name)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except EngineUnavailableError as error:
        sys.exit(f"refused: {error}")
