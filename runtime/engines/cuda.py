"""CUDA as the TensorRT engines need it: one small interface over pycuda or cuda-bindings.

```python
cuda = open_cuda()
with cuda.current():
    stream, device, host = cuda.new_stream(), cuda.allocate(64), cuda.pin(64)
    cuda.copy_in(device, host, stream)
    cuda.synchronise(stream)
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from threading import Lock
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineUnavailableError
from .cuda_device import find_gpu

HostBytes = NDArray[np.uint8]
"""(size,), in memory that the GPU reads and writes by itself."""


class Cuda(Protocol):
    """One GPU and its primary context, which all engines of the process share.

    Everything but `current` is called inside `with cuda.current()`; threads may share it. What stands here for streams,
    events, graphs and device memory is the library's own; `address` and `handle` give what TensorRT takes.

    Every function raises `EngineUnavailableError` where CUDA refuses.
    """

    name: str
    """The package and its version."""

    def current(self) -> AbstractContextManager[None]:
        """Make the context this thread's for a while."""
        ...

    def allocate(self, size: int) -> Any:
        """Device memory of `size` bytes."""
        ...

    def address(self, memory: Any) -> int: ...

    def free(self, memory: Any) -> None: ...

    def pin(self, size: int) -> HostBytes:
        """Page-locked host memory of `size` bytes; it must be given back by `unpin` and not used after."""
        ...

    def unpin(self, host: HostBytes) -> None: ...

    def new_stream(self) -> Any: ...

    def handle(self, stream: Any) -> int: ...

    def free_stream(self, stream: Any) -> None: ...

    def synchronise(self, stream: Any) -> None:
        """Wait for all work of the stream; errors of that work surface here."""
        ...

    def copy_in(self, memory: Any, host: HostBytes, stream: Any) -> None:
        """Copy all of `host` to the device, once the stream comes to it."""
        ...

    def copy_out(self, host: HostBytes, memory: Any, stream: Any) -> None:
        """Fill all of `host` from the device, once the stream comes to it."""
        ...

    def capture(self, work: Callable[[], None], stream: Any) -> Any:
        """A graph of what `work` puts into the stream; nothing of it runs yet.

        Capture ends whatever `work` raises, so that the stream serves on.
        """
        ...

    def launch(self, graph: Any, stream: Any) -> None: ...

    def free_graph(self, graph: Any) -> None: ...

    def new_event(self) -> Any: ...

    def record(self, event: Any, stream: Any) -> None: ...

    def milliseconds(self, start: Any, end: Any) -> float:
        """Between two recorded events; waits for the second."""
        ...

    def free_event(self, event: Any) -> None: ...

    def free_bytes(self) -> int:
        """Device memory that nobody has taken."""
        ...


def _open_pycuda(index: int) -> Cuda:
    from .cuda_pycuda import PyCuda

    return PyCuda(index)


def _open_bindings(index: int) -> Cuda:
    from .cuda_bindings import CudaBindings

    return CudaBindings(index)


BINDINGS: Mapping[str, tuple[str, Callable[[int], Cuda]]] = MappingProxyType(
    {"pycuda": ("pycuda", _open_pycuda), "cuda-bindings": ("cuda.bindings", _open_bindings)}
)
"""By the package's name: the module that it brings and what opens it; the first that is installed is taken."""

INSTALL_CUDA_BINDINGS = 'pip install "fsr-edge[cuda]"'

_opened: dict[tuple[str, int], Cuda] = {}
_opening = Lock()


def open_cuda(index: int = 0, bindings: str | None = None) -> Cuda:
    """CUDA on one GPU, the same for all who ask; kept until the program ends.

    bindings: a key of `BINDINGS`; None takes the first that is installed.

    Raises:
        EngineUnavailableError: no driver, no GPU, or no package that works with them.
    """
    find_gpu(index)  # ahead of the packages: without a driver they fail in ways of their own
    name = bindings or installed_bindings()
    with _opening:
        if (name, index) not in _opened:
            _opened[name, index] = BINDINGS[name][1](index)
        return _opened[name, index]


def installed_bindings() -> str:
    """The first of `BINDINGS` that is installed.

    Raises:
        EngineUnavailableError: none is.
    """
    for name in BINDINGS:
        if installed(name):
            return name
    raise EngineUnavailableError(
        f"neither {' nor '.join(BINDINGS)} is installed; install it with: {INSTALL_CUDA_BINDINGS}"
    )


def installed(name: str) -> bool:
    """Whether that package of `BINDINGS` is here; it is not imported, which without a driver would fail."""
    module, _, inner = BINDINGS[name][0].partition(".")
    return find_spec(module) is not None and (not inner or find_spec(f"{module}.{inner}") is not None)
