"""ONNX bytes -> a plan, by any TensorRT: what it can do is asked of the library, never of its version."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from ...runtime.engines.trt_library import TensorRT, remedy
from ...runtime.engines.trt_plan import new_log
from ...runtime.errors import EngineUnavailableError
from .monitor import Watch, monitor_of
from .shapes import Shapes
from .timing_cache import TimingCache

WORKSPACE_MIB = 512
"""Of scratch memory: what every released model and the detector at 1920x1088 need with TensorRT-RTX, four times."""
LEAST_WORKSPACE_MIB = 64

REQUESTED = re.compile(r"requested size was (\d+)", re.IGNORECASE)
"""What TensorRT says of memory that it was not given: bytes."""

FOREIGN_TACTICS = ("CUDNN", "CUBLAS", "CUBLAS_LT")
"""Libraries that TensorRT up to 10 would load for a few kernels more; a Jetson has no memory for them."""


@dataclass(frozen=True)
class Order:
    """What to build."""

    name: str
    """For messages."""
    onnx: bytes
    profiles: Sequence[Shapes]
    flags: Sequence[str] = ()
    """`BuilderFlag`s; none: the network computes in the types of its file."""
    members: Sequence[object] = ()
    """`ComputeCapability`s to build for."""
    workspace_mib: int = WORKSPACE_MIB


@dataclass(frozen=True)
class Built:
    """A plan as TensorRT serialised it."""

    plan: bytes
    workspace_mib: int
    seconds: float
    input_name: str


class OutOfMemory(EngineUnavailableError):
    """A build that failed for want of memory, not because it may not take more."""


def build(
    tensorrt: TensorRT,
    order: Order,
    *,
    timing: TimingCache | None = None,
    watch: Watch | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Built:
    """Build; where memory runs out, again with half the workspace, and say so.

    Raises:
        EngineUnavailableError: TensorRT refuses the file, or cannot build it; its reason is in the sentence.
        KeyboardInterrupt: Ctrl-C, after TensorRT stopped.
    """
    started = perf_counter()
    workshop = Workshop(tensorrt, order)
    for workspace in _workspaces(order.workspace_mib):
        try:
            plan = workshop.build(workspace, timing, watch, say)
            return Built(plan, workspace, perf_counter() - started, workshop.input_name)
        except OutOfMemory as error:
            if workspace // 2 < LEAST_WORKSPACE_MIB:
                raise OutOfMemory(f"{error}; free some memory, or lower --batch or --frame") from error
            say(f"{error}; trying again with {workspace // 2} MiB")
    raise AssertionError("there is always a first workspace")


def _workspaces(most: int) -> Iterator[int]:
    yield most
    while (most := most // 2) >= LEAST_WORKSPACE_MIB:
        yield most


class Workshop:
    """A parsed network, to be built once or more."""

    def __init__(self, tensorrt: TensorRT, order: Order) -> None:
        """Parse.

        Raises:
            EngineUnavailableError: TensorRT does not start, or does not read the file.
        """
        trt = tensorrt.module
        self.tensorrt, self.order, self.log = tensorrt, order, new_log(trt)
        try:
            self.builder = trt.Builder(self.log)
        except (TypeError, RuntimeError) as error:  # TypeError: a constructor answered with nothing
            reason = self.log.last or str(error)
            mends = remedy(reason)
            raise EngineUnavailableError(
                f"{tensorrt} does not start here: {reason}{f'; {mends}' if mends else ''}"
            ) from error
        self.network = self.builder.create_network(_creation_flags(trt, typed=not order.flags))
        parser = trt.OnnxParser(self.network, self.log)
        if not parser.parse(order.onnx):
            raise EngineUnavailableError(f"{tensorrt} cannot read {order.name}: {_first_error(parser)}")

        if (inputs := self.network.num_inputs) != 1:
            raise EngineUnavailableError(f"{tensorrt} cannot read {order.name}: got {inputs} inputs, expected one")
        self.input_name: str = self.network.get_input(0).name

    def build(
        self, workspace_mib: int, timing: TimingCache | None, watch: Watch | None, say: Callable[[str], None]
    ) -> bytes:
        config = self._configured(workspace_mib)
        if timing is not None:
            timing.attach(config, say)
        monitor = monitor_of(self.tensorrt, watch) if watch is not None else None
        if monitor is not None:
            config.progress_monitor = monitor
        self.log.last = ""
        plan = self.builder.build_serialized_network(self.network, config)
        if watch is not None and watch.stop.is_set():
            raise KeyboardInterrupt
        if plan is None:
            raise self._failure(workspace_mib)
        if timing is not None:
            timing.keep(config)
        return bytes(plan)

    def _configured(self, workspace_mib: int) -> Any:
        trt, config = self.tensorrt.module, self.builder.create_builder_config()
        for shapes in self.order.profiles:
            profile = self.builder.create_optimization_profile()
            profile.set_shape(self.input_name, *(tuple(shape) for shape in shapes))
            config.add_optimization_profile(profile)
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
        if sources := own_tactics(self.tensorrt):
            config.set_tactic_sources(sources)
        sharing = getattr(trt.PreviewFeature, "PROFILE_SHARING_0806", None)
        if sharing is not None and not config.get_preview_feature(sharing):  # on by itself from 10 on
            config.set_preview_feature(sharing, True)  # each batch size has a context of its own on one profile
        if hasattr(trt.BuilderFlag, "TF32"):
            config.clear_flag(trt.BuilderFlag.TF32)  # set by default: fp32 would be less than that
        for flag in self.order.flags:
            config.set_flag(getattr(trt.BuilderFlag, flag))
        if self.order.members:
            config.num_compute_capabilities = len(self.order.members)
            for index, member in enumerate(self.order.members):
                config.set_compute_capability(member, index)
        return config

    def _failure(self, workspace_mib: int) -> EngineUnavailableError:
        """With TensorRT's last words."""
        reason = self.log.last or "it gives no reason"
        sentence = f"{self.tensorrt} cannot build {self.order.name} with {workspace_mib} MiB of workspace: {reason}"
        if _beyond(reason, workspace_mib << 20):
            return EngineUnavailableError(f"{sentence}; raise --workspace, or lower --batch or --frame")
        if "outofmemory" in reason.lower().replace(" ", ""):
            return OutOfMemory(sentence)
        mends = remedy(reason)
        return EngineUnavailableError(f"{sentence}; {mends}" if mends else sentence)


def _beyond(reason: str, limit: int) -> bool:
    """Whether it is the workspace of `limit` bytes that was too small, which half of it would be all the more."""
    requested = REQUESTED.search(reason)
    return "workspace" in reason.lower() or (requested is not None and int(requested[1]) > limit)


def own_tactics(tensorrt: TensorRT) -> int:
    """Bits of the tactic sources that come with TensorRT itself; 0 where there are no others to leave out."""
    known = tensorrt.module.TacticSource.__members__
    if not set(FOREIGN_TACTICS) & set(known):
        return 0
    return sum(1 << int(value) for name, value in known.items() if name not in FOREIGN_TACTICS)


def _creation_flags(trt: Any, *, typed: bool) -> int:
    """Bits: a typed network where such a thing can be asked for; else one with a batch axis, where that can."""
    flags = trt.NetworkDefinitionCreationFlag
    if typed and hasattr(flags, "STRONGLY_TYPED"):
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH) if hasattr(flags, "EXPLICIT_BATCH") else 0


def _first_error(parser: Any) -> str:
    """In the parser's words: which node, and what is wrong with it."""
    if not parser.num_errors:
        return "it gives no reason"
    error = parser.get_error(0)
    what = " ".join(line.strip() for line in error.desc().splitlines()[:2])
    return f"node {error.node()}: {what}" if error.node() >= 0 else what
