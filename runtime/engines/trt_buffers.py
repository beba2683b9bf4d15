"""The memory of one batch size, on the device and pinned on the host."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from ..errors import EngineUnavailableError
from .cuda import Cuda


class Buffers:
    """Device and host memory for what a network takes, and as much for all that it returns."""

    def __init__(self, cuda: Cuda, taken: int, returned: int) -> None:
        """Allocate that many bytes.

        Raises:
            EngineUnavailableError: there is not as much; nothing of it is kept.
        """
        self.taken, self.returned = taken, returned
        with ExitStack() as stack:
            self.input, self.output = (owned(stack, cuda.allocate(size), cuda.free) for size in (taken, returned))
            self.host_input, self.host_output = (owned(stack, cuda.pin(size), cuda.unpin) for size in (taken, returned))
            self._owned = stack.pop_all()

    def close(self) -> None:
        self._owned.close()


def owned(stack: ExitStack, resource: Any, free: Callable[[Any], object]) -> Any:
    """`resource`, which `stack` will free; where a device that failed keeps it, the next is freed all the same."""

    def free_quietly() -> None:
        with suppress(EngineUnavailableError):
            free(resource)

    stack.callback(free_quietly)
    return resource
