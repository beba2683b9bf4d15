"""Where a process trains: on the CPU or a GPU, in which precision, compiled or not. What is chosen is said, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch

from ..runtime.errors import EngineUnavailableError, UsageError

CPU = torch.device("cpu")

FACES_SHARE = 0.5
"""Of a GPU's free memory that training faces may take; the rest is left for what the network makes of a batch."""

GPU_LOOKS = 10
"""Steps between two looks at the loss on a GPU, which stands still while it is read."""


@dataclass(frozen=True)
class Place:
    """Where a process trains."""

    device: torch.device = CPU
    why: str = ""
    """Of a device that was left to choose."""
    compiled: bool = False
    """Whether the network is compiled before it is trained."""
    uncompiled: str = ""
    """Why it is not, on a GPU."""

    @property
    def hardware(self) -> str:
        """Such as `a CPU`, or the GPU's name."""
        return f"one {torch.cuda.get_device_name(self.device)}" if self.device.type == "cuda" else "a CPU"

    @property
    def look_every(self) -> int:
        """Steps between two looks at loss, clock and Ctrl-C."""
        return 1 if self.device.type == "cpu" else GPU_LOOKS

    def without_compiling(self, why: str) -> Place:
        """The same for a network that cannot be compiled."""
        return replace(self, compiled=False, uncompiled=why) if self.compiled else self

    def set_arithmetic(self) -> None:
        """Have a GPU look for its fastest kernels, and multiply what is float32 as such."""
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cudnn.allow_tf32 = False

    def describe(self, precision: str) -> str:
        """Such as `in float32 on the CPU, 4 threads (--device auto: torch sees no GPU)`; precision: of `LoopConfig`."""
        bf16 = use_bf16(precision, self.device)
        threads = torch.get_num_threads()
        reason = f" (--precision auto: {'' if bf16 else 'no '}bfloat16 in hardware)" if precision == "auto" else ""
        where = f"the CPU, {threads} thread{'s' * (threads > 1)}"
        if self.device.type == "cuda":
            where = f"{self.device}, {torch.cuda.get_device_name(self.device)}"
        chosen = f" (--device auto: {self.why})" if self.why else ""
        compiled = ", compiled" if self.compiled else f", not compiled: {self.uncompiled}" if self.uncompiled else ""
        return f"in {'bfloat16' if bf16 else 'float32'}{reason} on {where}{chosen}{compiled}"


def choose_place(asked: str = "auto", *, compiled: bool = True, local: int = 0, processes: int = 1) -> Place:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` means here.

    compiled: whether a network is to be compiled on a GPU. local, processes: number of this process among those on
    this machine, and how many they are; each takes a GPU of its own.

    Raises:
        UsageError: `asked` is none of these, or one GPU for several processes.
        EngineUnavailableError: there are fewer GPUs than that.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", asked):
        raise UsageError(f"--device: got {asked!r}, expected auto, cpu, cuda or one GPU such as cuda:1")
    missing = why_no_gpu()
    if asked == "cpu" or (asked == "auto" and missing):
        return Place(why=missing if asked == "auto" else "")
    if missing:
        raise EngineUnavailableError(f"--device {asked}: {missing}; give --device cpu, or install torch for your GPU")
    number = asked.partition(":")[2]
    if number and processes > 1:
        raise UsageError(f"--device {asked}: got one GPU for {processes} processes, expected cuda: each takes its own")
    index, count = int(number or local), torch.cuda.device_count()
    if max(index + 1, processes) > count:
        raise EngineUnavailableError(
            f"--device {asked}: got {count} GPUs on this machine for {processes} processes, expected GPU "
            f"{max(index, processes - 1)} too; start torchrun with --nproc-per-node {count}, or give --device cpu"
            if processes > 1
            else f"--device {asked}: got {count} GPUs, numbered from 0; give one of them"
        )
    reason = "" if compiled else "--no-compile"
    if compiled and find_spec("triton") is None:
        reason = "triton is not installed"
    return Place(torch.device("cuda", index), "torch sees a GPU" if asked == "auto" else "", not reason, reason)


def why_no_gpu() -> str:
    """Empty where there is a GPU."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch is built without CUDA"
    return "" if torch.cuda.is_available() else "torch sees no GPU"


def use_bf16(precision: str, device: torch.device = CPU) -> bool:
    """Whether to multiply in bfloat16; `auto` asks the device."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def has_room(device: torch.device, size: int) -> bool:
    """Whether `size` bytes of training faces fit on a GPU."""
    return size <= FACES_SHARE * torch.cuda.mem_get_info(device)[0]
