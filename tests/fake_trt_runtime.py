"""TensorRT's runtime without TensorRT: plans in JSON that enlarge pictures, run by whatever CUDA is behind.

It has the names and habits of the real one as far as `fsr.runtime.engines` relies on them; `test_tensorrt_contract.py`
holds the names against the real ones. None or False for what it refuses, a reason in the log, work that waits in the
stream, contexts that must be given a profile and addresses first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr.runtime.engines.trt_library import TensorRT

SCALE = 2
Shape = tuple[int, ...]
Enqueue = Callable[[int, Callable[[], None]], None]
View = Callable[[int, int], NDArray[np.uint8]]


def plan_bytes(shape: Sequence[int], profiles: Sequence[Sequence[Sequence[int]]], **more: Any) -> bytes:
    """A plan that enlarges by `SCALE`: its shape with -1 for any length, and each profile's least, usual, most.

    more: `first`, for another output that has the first value of each picture; `dtype` of the input; `rows` a picture.
    """
    return json.dumps({"shape": shape, "profiles": profiles, **more}).encode()


def fixed_plan(side: int, most: int = 16, **more: Any) -> bytes:
    """For crops of one size, as models are."""
    return plan_bytes((-1, side, side, 3), [[(n, side, side, 3) for n in (1, min(4, most), most)]], **more)


def doubled(batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return batch.repeat(SCALE, axis=1).repeat(SCALE, axis=2)


class Severity(Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Mode(Enum):
    NONE, INPUT, OUTPUT = range(3)


class ILogger:
    Severity = Severity
    started = False

    def __init__(self) -> None:
        self.started = True


class FakeTensorRT:
    """Makes the library; `log` is what was made and dropped, in its order."""

    def __init__(
        self,
        enqueue: Enqueue,
        view: View,
        capturing: Callable[[int], bool] = lambda stream: False,
        log: list[str] | None = None,
    ) -> None:
        self.enqueue, self.view, self.capturing = enqueue, view, capturing
        self.log: list[str] = [] if log is None else log
        self.runs: list[Shape] = []
        """Of every run, graphs' too."""
        self.fail_execute = 0
        """At which execution from now on it refuses, counted from 1."""
        self.fail_context = self.fail_shape = False
        self.share_profiles = True

    def library(self, flavour: str = "tensorrt", version: str = "8.6.0") -> TensorRT:
        module = SimpleNamespace(
            __version__=version,
            ILogger=ILogger,
            Runtime=lambda log: Runtime(self, log),
            TensorIOMode=Mode,
            nptype=np.dtype,
            BuilderFlag=SimpleNamespace(FP16=0, INT8=1),
            NetworkDefinitionCreationFlag=SimpleNamespace(),
        )
        return TensorRT(flavour, module, version)


class Runtime:
    def __init__(self, fake: FakeTensorRT, log: Any) -> None:
        assert log.started, "ILogger.__init__ was not called"
        self.fake, self.log = fake, log

    def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
        try:
            return Engine(self.fake, json.loads(data), self.log)
        except ValueError:
            self.log.log(Severity.WARNING, "not this one")
            self.log.log(Severity.ERROR, "magic tag does not match\nmore")
            return None

    def __del__(self) -> None:
        self.fake.log.append("~runtime")


class Engine:
    def __init__(self, fake: FakeTensorRT, plan: dict[str, Any], log: Any) -> None:
        self.fake, self.plan, self.log = fake, plan, log
        self.names = ("image", "first", "restored") if plan.get("first") else ("image", "restored")
        self.num_io_tensors, self.num_optimization_profiles = len(self.names), len(plan["profiles"])
        self.taken_profiles: set[int] = set()

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name == "image" else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        return self.plan.get("dtype", "uint8") if name == "image" else "uint8"

    def get_tensor_shape(self, name: str) -> Shape:
        return tuple(self.plan["shape"])

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Shape]:
        return [tuple(shape) for shape in self.plan["profiles"][profile]]

    def create_execution_context(self) -> Context | None:
        if self.fake.fail_context:
            self.log.log(Severity.ERROR, "out of memory")
            return None
        return Context(self)

    def __del__(self) -> None:
        self.fake.log.append("~engine")


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.fake = engine, engine.fake
        self.profile: int | None = None
        self.shape: Shape | None = None
        self.prepared: Shape | None = None
        self.addresses: dict[str, int] = {}
        self.fake.log.append("context")

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        if profile in self.engine.taken_profiles and not self.fake.share_profiles:
            self.engine.log.log(Severity.ERROR, "profile in use")
            return False
        self.engine.taken_profiles.add(profile)
        self.fake.enqueue(stream, lambda: setattr(self, "profile", profile))
        return True

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        assert name == "image" and self.profile is not None, "the profile is not there yet"
        low, _, high = self.engine.plan["profiles"][self.profile]
        if self.fake.fail_shape or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            self.engine.log.log(Severity.ERROR, "shape outside the profile")
            return False
        self.shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> Shape:
        assert self.shape is not None
        n, height, width, channels = self.shape
        if name == "image":
            return self.shape
        if name == "first":
            return (n, 1)
        return (n * self.engine.plan.get("rows", 1), SCALE * height, SCALE * width, channels)

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % 256 == 0
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert self.shape is not None and self.addresses.keys() == set(self.engine.names)
        if self.fake.fail_execute:
            self.fake.fail_execute -= 1
            if not self.fake.fail_execute:
                self.engine.log.log(Severity.ERROR, "enqueue refused")
                return False
        if not self.fake.capturing(stream):
            self.prepared = self.shape
        assert self.prepared == self.shape, "captured before its first run"
        fake, shape, places = self.fake, self.shape, dict(self.addresses)  # as a captured kernel: what holds now
        size = int(np.prod(shape))

        def run() -> None:
            batch = fake.view(places["image"], size).reshape(shape)
            fake.view(places["restored"], size * SCALE**2)[:] = doubled(batch).reshape(-1)
            if "first" in places:
                fake.view(places["first"], len(batch))[:] = batch[:, 0, 0, 0]
            fake.runs.append(shape)

        fake.enqueue(stream, run)
        return True

    def __del__(self) -> None:
        self.fake.log.append("~context")
