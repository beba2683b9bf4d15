"""TensorRT's timing cache: with it a rebuild takes the kernels that were timed before, and is many times as fast."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.engines.cuda_device import Gpu
from ...runtime.engines.plans import plans_folder
from ...runtime.engines.trt_library import TensorRT
from ...runtime.files import write_bytes

SUFFIX = ".timing"


@dataclass(frozen=True)
class TimingCache:
    """A file as trtexec's `--timingCacheFile` reads and writes it."""

    path: Path

    def attach(self, config: Any, say: Callable[[str], None]) -> None:
        """Let a build use what the file holds; what another GPU or version left there is refused, and said."""
        data = self.path.read_bytes() if self.path.is_file() else b""
        cache = _made(config, data)
        if cache is None or not config.set_timing_cache(cache, False):
            say(f"{self.path}: made by another TensorRT or on another GPU, so timing starts anew")
            config.set_timing_cache(config.create_timing_cache(b""), False)

    def keep(self, config: Any) -> None:
        """Write what the build learned.

        Raises:
            OutputError: the file cannot be written.
        """
        cache = config.get_timing_cache()
        if cache is not None:
            write_bytes(self.path, bytes(cache.serialize()))


def _made(config: Any, data: bytes) -> Any | None:
    try:
        return config.create_timing_cache(data)
    except (RuntimeError, TypeError):  # what is no timing cache is answered with nothing, which is no object
        return None


def timing_cache(tensorrt: TensorRT, gpu: Gpu | None, given: Path | None) -> TimingCache | None:
    """The file of `--timing-cache`, or one of the GPU and TensorRT here; None where nothing is timed: TensorRT-RTX
    chooses kernels on the GPU that runs them."""
    if tensorrt.compute_capabilities or gpu is None:
        return None
    name = re.sub(r"[^\w.]+", "-", f"{tensorrt} {gpu.name}")
    return TimingCache(given or plans_folder() / f"{name}{SUFFIX}")
