"""CUDA without a GPU, as strict as the real one: work waits in its stream, and every wrong use is an error.

What is wrong there crashes a process or spoils a face: memory used after it was freed or before a stream came to it,
calls without the context, copies that reach too far, things freed twice or never.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr.runtime.engines.cuda import HostBytes
from fsr.runtime.errors import EngineUnavailableError

Work = Callable[[], None]
PAGE = 1 << 32
"""Between the addresses of two allocations, so that none runs into the next."""


class Memory:
    """Device memory."""

    def __init__(self, size: int, address: int) -> None:
        self.bytes = np.full(size, 0xA5, np.uint8)
        self.address = address
        self.freed = False


@dataclass(eq=False)
class Stream:
    handle: int
    waiting: list[Work] = field(default_factory=list)
    capturing: list[Work] | None = None
    freed: bool = False


@dataclass(eq=False)
class Graph:
    work: list[Work]
    freed: bool = False


class FakeCuda:
    """A `Cuda`; `held` is what was taken and not given back, `log` what happened in its order."""

    name = "fake"

    def __init__(self) -> None:
        self.held: list[Any] = []
        self.log: list[str] = []
        self.fail: dict[str, int] = {}
        """By function: at which call from now on it fails, counted from 1."""
        self.pause = 0.0
        """Seconds that the GPU takes, in which other threads go on."""
        self.streams: dict[int, Stream] = {}
        self._depth = threading.local()
        self._addresses = count(PAGE, PAGE)
        self._handles = count(1)

    @contextmanager
    def current(self) -> Iterator[None]:
        self._depth.value = getattr(self._depth, "value", 0) + 1
        try:
            yield
        finally:
            self._depth.value -= 1

    def allocate(self, size: int) -> Memory:
        self._called("allocate")
        assert size > 0
        return self._taken(Memory(size, next(self._addresses)))

    def address(self, memory: Memory) -> int:
        assert not memory.freed
        return memory.address

    def free(self, memory: Memory) -> None:
        self._given_back("free", memory)

    def pin(self, size: int) -> HostBytes:
        self._called("pin")
        return self._taken(np.full(size, 0x5A, np.uint8).view(Pinned))

    def unpin(self, host: HostBytes) -> None:
        assert isinstance(host, Pinned)
        self._given_back("unpin", host)

    def new_stream(self) -> Stream:
        self._called("new_stream")
        stream = self._taken(Stream(next(self._handles)))
        self.streams[stream.handle] = stream
        return stream

    def handle(self, stream: Stream) -> int:
        return stream.handle

    def free_stream(self, stream: Stream) -> None:
        assert not stream.waiting, "freed with work waiting"
        self._given_back("free_stream", stream)
        del self.streams[stream.handle]

    def synchronise(self, stream: Stream) -> None:
        assert stream.capturing is None, "synchronised while capturing"
        waiting, stream.waiting = stream.waiting, []  # lost where the GPU fails
        self._called("synchronise")
        time.sleep(self.pause)
        for work in waiting:
            work()

    def copy_in(self, memory: Memory, host: HostBytes, stream: Stream) -> None:
        self._called("copy_in")
        assert isinstance(host, Pinned) and host.size <= memory.bytes.size

        def copy() -> None:
            assert not memory.freed and not host.base_freed
            memory.bytes[: host.size] = host

        self.put(stream, copy)

    def copy_out(self, host: HostBytes, memory: Memory, stream: Stream) -> None:
        self._called("copy_out")
        assert isinstance(host, Pinned) and host.size <= memory.bytes.size

        def copy() -> None:
            assert not memory.freed and not host.base_freed
            host[:] = memory.bytes[: host.size]

        self.put(stream, copy)

    def put(self, stream: Stream, work: Work) -> None:
        """What a kernel does too."""
        assert not stream.freed
        (stream.waiting if stream.capturing is None else stream.capturing).append(work)

    def capture(self, work: Work, stream: Stream) -> Graph:
        self._called("capture")
        assert not stream.waiting, "captured with work waiting"
        stream.capturing = []
        try:
            work()
            return self._taken(Graph(stream.capturing))
        finally:
            stream.capturing = None

    def launch(self, graph: Graph, stream: Stream) -> None:
        self._called("launch")
        assert not graph.freed
        stream.waiting += graph.work

    def free_graph(self, graph: Graph) -> None:
        self._given_back("free_graph", graph)

    def new_event(self) -> list[int]:
        return self._taken([0])

    def record(self, event: list[int], stream: Stream) -> None:
        self.put(stream, lambda: event.__setitem__(0, len(self.log)))

    def milliseconds(self, start: list[int], end: list[int]) -> float:
        return float(end[0] - start[0])

    def free_event(self, event: list[int]) -> None:
        self.held.remove(event)

    def free_bytes(self) -> int:
        return 2**34 - sum(each.bytes.size for each in self.held if isinstance(each, Memory))

    def view(self, address: int, size: int) -> NDArray[np.uint8]:
        """The device's memory from an address on."""
        for each in self.held:
            if isinstance(each, Memory) and each.address <= address <= each.address + each.bytes.size - size:
                start = address - each.address
                return each.bytes[start : start + size]
        raise AssertionError(f"no memory of {size} bytes at {address:#x}")

    def _called(self, function: str) -> None:
        assert getattr(self._depth, "value", 0) > 0, f"{function} without the context"
        self.log.append(function)
        if function in self.fail:
            self.fail[function] -= 1
            if self.fail[function] <= 0:
                raise EngineUnavailableError(f"CUDA: {function} failed: CUDA_ERROR_FAKE")

    def _taken(self, resource: Any) -> Any:
        self.held.append(resource)
        return resource

    def _given_back(self, function: str, resource: Any) -> None:
        places = [place for place, each in enumerate(self.held) if each is resource]
        assert places, f"{function} of what is not held"
        del self.held[places[0]]
        if isinstance(resource, Pinned):
            resource.base_freed = True
        else:
            resource.freed = True
        self._called(function)


class Pinned(np.ndarray):
    """Page-locked memory; its views know whether it was given back."""

    _state: list[bool]

    def __array_finalize__(self, source: object) -> None:
        self._state = source._state if isinstance(source, Pinned) else [False]

    @property
    def base_freed(self) -> bool:
        return self._state[0]

    @base_freed.setter
    def base_freed(self, freed: bool) -> None:
        self._state[0] = freed
