"""TensorRT and TensorRT-RTX: plans of the cache on an NVIDIA GPU; `fsr-export build` makes them on the same machine."""

from __future__ import annotations

import hashlib
import math
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from ..errors import EngineUnavailableError, InputError
from ..pixels import RgbBatch
from .cuda import Cuda, open_cuda
from .cuda_device import find_gpu
from .network import check_batch, model_name
from .plans import BUILD_ANEW, bundle_of, checked_bytes, require_plan
from .trt_buffers import owned
from .trt_lane import Lane
from .trt_library import TensorRT, load_tensorrt
from .trt_plan import OpenedPlan, Shape

MAX_LANES = 3
"""Sizes of pictures that are held ready where any size goes; each has the memory of the largest. The longest unused
makes way."""


class TensorRtNetwork:
    """A `Network` over one plan; a context manager that frees what it holds on the GPU.

    Batches are padded up to 1, 2, 4, 8 ... pictures, and split where there are more than the plan takes. For crops of
    one size each of these sizes is run and captured while opening. Threads may share it: one runs while the others
    wait, as they would on the GPU.
    """

    device = "cuda"

    def __init__(self, data: bytes, tensorrt: TensorRT, cuda: Cuda, precision: str, *, graphs: bool = True) -> None:
        """Open the bytes of a plan that `plans.checked_bytes` returned.

        graphs: capture what runs twice; without, for comparing.

        Raises:
            EngineUnavailableError: TensorRT or the GPU refuses.
        """
        self.name, self.precision = tensorrt.flavour, precision
        self._cuda, self._graphs, self._lock = cuda, graphs, Lock()
        self._lanes: dict[Shape, Lane] = {}  # the longest unused first
        with ExitStack() as stack:
            stack.callback(_release, cuda, held := ExitStack())
            with cuda.current():
                self._stream = owned(held, cuda.new_stream(), cuda.free_stream)
                self._plan = owned(held, OpenedPlan(tensorrt, data), OpenedPlan.close)
                held.callback(_close_all, self._lanes)
                owned(held, self._stream, cuda.synchronise)  # first: what a failed call left in it
                self.input_shape, self.outputs = self._plan.input_shape, tuple(o.name for o in self._plan.outputs)
                self._buckets = buckets(*_pictures(self._plan))
                self._prepare()
            self._closing = weakref.finalize(self, stack.pop_all().close)

    def __call__(self, batch: RgbBatch) -> dict[str, NDArray[Any]]:
        pictures = check_batch(batch, self.input_shape)
        sizes = self._sizes(pictures.shape[1:])
        with self._lock:
            if not self._closing.alive:
                raise EngineUnavailableError("got a call after this engine was closed; open it anew")
            with self._cuda.current():
                starts = range(0, len(pictures) or 1, sizes[-1])
                pieces = [self._run(pictures[start : start + sizes[-1]], sizes) for start in starts]
        if len(pieces) == 1:
            return pieces[0]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in self.outputs}

    def close(self) -> None:
        """Free everything on the GPU; what was returned stays valid, and so does closing twice."""
        with self._lock:
            self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sizes(self, picture: Shape) -> list[int]:
        """The batch sizes that the plan takes of pictures of that shape, (H, W, 3)."""
        if sizes := [size for size in self._buckets if self._profiles((size, *picture))]:
            return sizes
        limits = " or ".join(f"{profile.least} to {profile.most}" for profile in self._plan.profiles)
        raise InputError(f"got pictures {picture}, this plan takes {limits}; {BUILD_ANEW}, or take another --engine")

    def _profiles(self, shape: Shape) -> list[int]:
        """Those that take that shape, the one tuned for the sizes nearest to it first."""
        profiles = self._plan.profiles
        fitting = [n for n, profile in enumerate(profiles) if profile.takes(shape)]
        return sorted(fitting, key=lambda n: math.prod(profiles[n].most))

    def _run(self, pictures: RgbBatch, sizes: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Up to the largest of `sizes`, padded up to the next of them."""
        size = next(size for size in sizes if size >= len(pictures))
        return self._lane((size, *pictures.shape[1:]))(pictures)

    def _lane(self, shape: Shape) -> Lane:
        """The lane of that shape, now the last used one."""
        lane = self._lanes.pop(shape, None) or self._new_lane(shape)
        try:
            lane.fit(shape)
        except BaseException:
            lane.close()
            raise
        self._lanes[shape] = lane
        return lane

    def _new_lane(self, shape: Shape) -> Lane:
        """A new one, or the longest unused of those there are."""
        profile = self._profiles(shape)[0]
        if len(self._lanes) >= max(MAX_LANES, len(self._buckets)):
            lane = self._lanes.pop(next(iter(self._lanes)))
            if lane.profile == profile:
                return lane
            lane.close()
        return Lane(self._cuda, self._plan, self._stream, profile, graphs=self._graphs)

    def _prepare(self) -> None:
        """Run and capture every batch size now, so that no face waits for it."""
        _, height, width, _ = self.input_shape
        if height is None or width is None:
            return
        for size in self._sizes((height, width, 3)):
            black = np.zeros((size, height, width, 3), np.uint8)
            for _ in range(2):  # the second run captures
                self._run(black, [size])


def buckets(least: int, most: int) -> tuple[int, ...]:
    """Batch sizes to pad up to: the powers of two between both, and both; a step costs at most twice the work."""
    powers = [1 << power for power in range(most.bit_length()) if least <= 1 << power <= most]
    return tuple(sorted({least, *powers, most}))


def _pictures(plan: OpenedPlan) -> tuple[int, int]:
    """The fewest and the most pictures that a plan takes at once."""
    return max(1, min(p.least[0] for p in plan.profiles)), max(p.most[0] for p in plan.profiles)


def _close_all(lanes: dict[Shape, Lane]) -> None:
    while lanes:
        lanes.popitem()[1].close()


def _release(cuda: Cuda, held: ExitStack) -> None:
    """Free lanes, engine and stream; a GPU that failed is left as it is."""
    try:
        with cuda.current():
            held.close()
    except EngineUnavailableError:
        pass


def open_plan(
    flavour: str, model: Path | bytes, precision: str = "fp32", *, bindings: str | None = None, graphs: bool = True
) -> TensorRtNetwork:
    """Open the plan that was built from `model` in `precision` for this GPU and this TensorRT.

    All that can be wrong is found before TensorRT is given a byte.

    Raises:
        EngineUnavailableError: TensorRT, CUDA or the plan is missing or of another kind, or the plan is damaged.
    """
    gpu = find_gpu()  # first: nothing else mends the lack of one
    tensorrt, cuda = load_tensorrt(flavour), open_cuda(bindings=bindings)
    try:
        data = model if isinstance(model, bytes) else model.read_bytes()
    except OSError as error:
        raise EngineUnavailableError(f"{model_name(model)}: cannot be read: {error.strerror or error}") from error
    onnx, bundle = hashlib.sha256(data).hexdigest(), None if isinstance(model, bytes) else bundle_of(model)
    plan = require_plan(model_name(model), onnx, precision, tensorrt, gpu, bundle=bundle)
    return TensorRtNetwork(checked_bytes(plan, tensorrt, gpu), tensorrt, cuda, precision, graphs=graphs)


open_tensorrt = partial(open_plan, "tensorrt")
open_tensorrt_rtx = partial(open_plan, "tensorrt-rtx")
