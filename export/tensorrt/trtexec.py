"""The line that builds the same plan with NVIDIA's own program, to compare or to ask NVIDIA about."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...runtime.engines.trt_library import TensorRT
from .builder import FOREIGN_TACTICS, own_tactics
from .shapes import Shapes
from .target import Target
from .timing_cache import TimingCache

PROGRAM = {"tensorrt": "trtexec", "tensorrt-rtx": "tensorrt_rtx"}
"""TensorRT-RTX has its own; the options are trtexec's."""


def trtexec_line(
    target: Target,
    onnx: Path,
    plan: Path,
    image: str,
    profiles: Sequence[Shapes],
    flags: Sequence[str],
    workspace_mib: int,
    timing: TimingCache | None,
) -> str:
    """image: name of the input."""
    tensorrt = target.tensorrt
    words = [PROGRAM[tensorrt.flavour], f"--onnx={onnx}", f"--saveEngine={plan}", *_shapes(image, profiles)]
    words += [f"--memPoolSize=workspace:{workspace_mib}", "--noTF32", *_precision(tensorrt, flags)]
    if own_tactics(tensorrt):
        known = tensorrt.module.TacticSource.__members__
        words.append("--tacticSources=" + ",".join(f"-{name}" for name in FOREIGN_TACTICS if name in known))
    if tensorrt.compute_capabilities:
        words.append("--computeCapabilities=" + ",".join(name.replace(".", "") for name in target.compute_capabilities))
    if hasattr(tensorrt.module.PreviewFeature, "PROFILE_SHARING_0806") and not tensorrt.typed:
        words.append("--preview=+profileSharing0806")
    if timing is not None:
        words.append(f"--timingCacheFile={timing.path}")
    return shlex.join([*words, "--skipInference"])


def _precision(tensorrt: TensorRT, flags: Sequence[str]) -> list[str]:
    if flags:
        return [f"--{flag.lower()}" for flag in flags]
    return ["--stronglyTyped"] if tensorrt.typed and tensorrt.flagged else []  # elsewhere there is no other way


def _shapes(image: str, profiles: Sequence[Shapes]) -> Iterator[str]:
    for number, shapes in enumerate(profiles):
        if len(profiles) > 1:
            yield f"--profile={number}"
        for name, shape in zip(("min", "opt", "max"), shapes, strict=True):
            yield f"--{name}Shapes={image}:{'x'.join(map(str, shape))}"
