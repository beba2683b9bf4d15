"""The NVIDIA GPU of this machine, as its driver tells; needs no Python package."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from ..errors import EngineUnavailableError
from .cuda_driver import Driver, load_driver

COMPUTE_CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and MINOR."""


@dataclass(frozen=True)
class Gpu:
    """A GPU and the driver that runs it."""

    name: str
    """Such as `NVIDIA H200`."""
    compute_capability: tuple[int, int]
    memory_bytes: int
    driver: int
    """The newest CUDA that the driver knows: 12040 is 12.4."""

    def __str__(self) -> str:
        major, minor = self.compute_capability
        cuda = f"CUDA {self.driver // 1000}.{self.driver % 1000 // 10}"
        return f"{self.name}, compute capability {major}.{minor}, {self.memory_bytes / 2**30:.1f} GiB, {cuda}"


def find_gpu(index: int = 0) -> Gpu:
    """The GPU of that number among those that `CUDA_VISIBLE_DEVICES` leaves.

    Raises:
        EngineUnavailableError: there is no driver, or no such GPU.
    """
    driver = load_driver()
    if index not in range(count := _integer(driver, "cuDeviceGetCount")):
        raise EngineUnavailableError(f"got GPU {index}, this machine has {count}, counted from 0")
    device = _integer(driver, "cuDeviceGet", index)
    name = ctypes.create_string_buffer(256)
    driver("cuDeviceGetName", name, len(name), device)
    memory = ctypes.c_size_t()
    driver("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major, minor = (_integer(driver, "cuDeviceGetAttribute", attribute, device) for attribute in COMPUTE_CAPABILITY)
    newest = _integer(driver, "cuDriverGetVersion")
    return Gpu(name.value.decode(errors="replace"), (major, minor), memory.value, newest)


def _integer(driver: Driver, function: str, *arguments: int) -> int:
    """Of a function whose first argument receives an int."""
    value = ctypes.c_int()
    driver(function, ctypes.byref(value), *arguments)
    return value.value
