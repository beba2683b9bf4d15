"""What plans are built by and for: a TensorRT, and the GPU here or compute capabilities that were named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...runtime.engines.cuda_device import Gpu, find_gpu
from ...runtime.engines.plan_record import capability_text
from ...runtime.engines.trt_library import FLAVOURS, TensorRT, load_tensorrt
from ...runtime.errors import EngineUnavailableError, UsageError

WITHOUT_GPU = "tensorrt-rtx"
"""The flavour that builds where there is no GPU."""
TURING = "7.5"
"""Left out unless it is named, as TensorRT-RTX itself does: what serves it too can be slower for all."""


@dataclass(frozen=True)
class Target:
    """A TensorRT and what it builds for."""

    tensorrt: TensorRT
    gpu: Gpu | None
    """None: for any GPU of `compute_capabilities`; nothing can be measured then."""
    compute_capabilities: Sequence[str]
    skipped: str = ""
    """Why there is no GPU to build for, a clause; empty where there is one or none was looked for."""

    def __str__(self) -> str:
        reason = f" ({self.skipped})" if self.skipped else ""
        where = self.gpu.name if self.gpu else f"no GPU of this machine{reason}"
        return f"{self.tensorrt}, {where}, compute capability {', '.join(self.compute_capabilities)}"

    @property
    def members(self) -> list[object]:
        """The compute capabilities as the library calls them; none for a library that builds for the GPU at hand."""
        known = self.tensorrt.compute_capabilities
        return [known[name] for name in self.compute_capabilities] if known else []


def find_target(flavour: str | None = None, compute_capabilities: Sequence[str] = ()) -> Target:
    """What to build with and for.

    Named compute capabilities need TensorRT-RTX and no GPU. Without them it is the GPU here; where there is none,
    TensorRT-RTX builds for every capability from 8.0 on that it knows.

    Raises:
        EngineUnavailableError: TensorRT or the GPU is missing, or they do not go together.
        UsageError: the flavour cannot build for named capabilities, or does not know one.
    """
    gpu, why = (None, "") if compute_capabilities else _gpu()
    if gpu is None and flavour in (None, WITHOUT_GPU):
        tensorrt = _without_gpu(why)
        known = list(tensorrt.compute_capabilities)
        asked = _known(compute_capabilities, known) or [name for name in known if name != TURING]
        return Target(tensorrt, None, asked, why.partition("; ")[0])
    if compute_capabilities:
        raise UsageError(
            f"--compute-capability: {flavour} builds for the GPU at hand alone; leave it out, or add "
            f"--flavour {WITHOUT_GPU}"
        )
    if gpu is None:
        raise EngineUnavailableError(
            f"{flavour} builds on the GPU that will run the plan, and there is none: {why}; run this on that machine, "
            f"or build for it here with --flavour {WITHOUT_GPU}"
        )
    return _for_gpu(gpu, flavour)


def _gpu() -> tuple[Gpu | None, str]:
    """The GPU here, or why there is none."""
    try:
        return find_gpu(), ""
    except EngineUnavailableError as error:
        return None, str(error)


def _without_gpu(why: str) -> TensorRT:
    try:
        return load_tensorrt(WITHOUT_GPU)
    except EngineUnavailableError as error:
        if not why:
            raise
        raise EngineUnavailableError(
            f"nothing can be built here: {why.partition('; ')[0]}, and there is no TensorRT-RTX, which builds without "
            f"one; run this on the machine that will run the models, or bring TensorRT-RTX; {_mending(error)}"
        ) from error


def _mending(error: EngineUnavailableError) -> str:
    return str(error).rpartition("; ")[2]


def _for_gpu(gpu: Gpu, flavour: str | None) -> Target:
    """The first flavour that is here and knows the GPU."""
    capability, refusals = capability_text(gpu.compute_capability), []
    for name in [flavour] if flavour else FLAVOURS:
        try:
            tensorrt = load_tensorrt(name)
        except EngineUnavailableError as error:
            refusals.append(str(error))
            continue
        known = tensorrt.compute_capabilities
        if not known or capability in known:
            return Target(tensorrt, gpu, [capability])
        refusals.append(f"{tensorrt} builds for compute capability {', '.join(known)}, {gpu.name} has {capability}")
    raise EngineUnavailableError("; or ".join(refusals))


def _known(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in known:
            raise UsageError(f"--compute-capability: got {name}, expected some of {', '.join(known)}")
    return [name for name in known if name in asked]
