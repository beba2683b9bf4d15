"""The CUDA driver by its C interface: it is on every machine with an NVIDIA GPU, whatever Python packages are not."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

from ..errors import EngineUnavailableError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE."""


class Driver:
    """Calls functions of the driver by name, and raises where one fails."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def __call__(self, function: str, *arguments: Any) -> None:
        """Call; integers are passed as C's int, other widths as their ctypes.

        Raises:
            EngineUnavailableError: the driver lacks the function or it failed.
        """
        if (code := self.code(function, *arguments)) != 0:
            raise EngineUnavailableError(f"CUDA: {function} failed: {self.name_of(code)}")

    def code(self, function: str, *arguments: Any) -> int:
        """What the function returned; 0 is success."""
        try:
            call = getattr(self._library, function)
        except AttributeError as error:
            raise EngineUnavailableError(
                f"CUDA: this driver has no {function}; update the NVIDIA driver to one of CUDA 12"
            ) from error
        return int(call(*arguments))

    def name_of(self, code: int) -> str:
        """The name of an error, such as `CUDA_ERROR_OUT_OF_MEMORY`."""
        name = ctypes.c_char_p()
        if self._library.cuGetErrorName(code, ctypes.byref(name)) or not name.value:
            return f"error {code}"
        return name.value.decode()


@cache
def load_driver() -> Driver:
    """The driver, started.

    Raises:
        EngineUnavailableError: it is not installed, or finds no GPU.
    """
    try:
        # Global: pycuda that was built on a machine without a driver looks for the symbols there.
        driver = Driver(ctypes.CDLL(LIBRARY, mode=ctypes.RTLD_GLOBAL))
    except OSError as error:
        raise EngineUnavailableError(
            f"no NVIDIA driver was found ({LIBRARY} cannot be loaded); install it, or in a container pass the GPU "
            "with --gpus all (on a Jetson --runtime nvidia)"
        ) from error
    if (code := driver.code("cuInit", 0)) == NO_DEVICE:
        raise EngineUnavailableError("the NVIDIA driver finds no GPU; see what nvidia-smi and CUDA_VISIBLE_DEVICES say")
    if code:
        reason = driver.name_of(code)
        raise EngineUnavailableError(f"the NVIDIA driver does not start: {reason}; see what nvidia-smi says")
    return driver
