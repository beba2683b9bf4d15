"""What the plans in the cache can do for a set of models: in which precisions all of them run here, and how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..bundle import FileEntry
from ..errors import EngineUnavailableError
from .cuda import open_cuda
from .cuda_device import Gpu, find_gpu
from .plan_record import Plan
from .plans import AGAIN, build_line, failed_here, list_plans, plans_for, plans_near, why_foreign, why_not
from .trt_library import FLAVOURS, TensorRT, load_tensorrt

PRECISIONS = ("int8", "fp16", "fp32")
"""The one likely to be fastest first, for plans whose time nobody took."""

Files = Mapping[str, FileEntry]
"""Of one model, by precision."""


def require_flavour(flavour: str) -> tuple[TensorRT, Gpu]:
    """What a flavour needs besides plans: a GPU, the library, and a package that speaks with CUDA.

    Raises:
        EngineUnavailableError: one of them is missing; the GPU is looked for first, since nothing else mends its lack.
    """
    gpu = find_gpu()
    tensorrt = load_tensorrt(flavour)
    open_cuda()
    return tensorrt, gpu


def file_for(files: Files, precision: str, engine: str) -> FileEntry | None:
    """The file that an engine is given for a precision; None where there is none.

    A plan in fp16 may come from the fp32 file, by a flag of TensorRT 8.6; it is found by that file then.
    """
    if precision == "fp16" and engine in FLAVOURS:
        return files.get("fp16") or files.get("fp32")
    return files.get(precision)


def choose_plans(
    flavour: str,
    models: Sequence[Files],
    precisions: Sequence[str] = PRECISIONS,
    *,
    passed: bool,
    bundle: Path | None = None,
) -> tuple[str, str]:
    """That of `precisions` in which plans of all `models` are fastest here, and a clause that says why.

    passed: leave out those that did not pass the gate on this GPU, or whose time was not taken. bundle: that of the
    models, for the command that builds them; None: the package's own.

    Raises:
        EngineUnavailableError: something is missing, or there are no such plans in any precision.
    """
    tensorrt, gpu = require_flavour(flavour)
    found = {precision: _plans(models, precision, tensorrt, gpu) for precision in precisions}
    proved = {p: _speed(plans) for p, plans in found.items() if plans and all(map(_is_proved, plans))}
    if proved:
        best = min(proved, key=lambda precision: proved[precision])
        speeds = ", ".join(f"{precision} {ms:.3f}" for precision, ms in sorted(proved.items()))
        return best, f"passed its parity gate on this {gpu.name}, fastest of those measured: {speeds} ms a face"
    if passed:
        raise EngineUnavailableError(
            f"no plans of {tensorrt} that passed their gate on this {gpu.name}"
            f"{_why_none(models, precisions, tensorrt, gpu, bundle)}"
        )
    for precision, plans in found.items():
        if plans:
            return precision, "its plans are there; parity and speed were not measured"
    wanted = f"{precisions[0]} " if len(precisions) == 1 else ""
    raise EngineUnavailableError(
        f"there are no {wanted}plans of {tensorrt} for this {gpu.name} that can be used"
        f"{_why_none(models, precisions, tensorrt, gpu, bundle)}"
    )


def _why_none(
    models: Sequence[Files], precisions: Sequence[str], tensorrt: TensorRT, gpu: Gpu, bundle: Path | None
) -> str:
    """What speaks against the plans that were built for here, in brackets, and the command that mends it."""
    entries = [(file_for(files, p, tensorrt.flavour), p) for p in precisions for files in models]
    near = [plan for entry, p in entries if entry for plan in plans_near(entry.sha256, p)]
    here = [plan for plan in near if why_foreign(plan, tensorrt, gpu) is None]
    refusals = list(
        dict.fromkeys(
            f"{p.record.model} {p.record.key.precision}: {why}" for p in here if (why := why_not(p, tensorrt, gpu))
        )
    )
    more = f", and {len(refusals) - 1} more" if len(refusals) > 1 else ""
    reasons = f" ({refusals[0]}{more})" if refusals else ""
    options = [f"--{precisions[0]}"] if len(precisions) == 1 else []
    again = [AGAIN] if any(failed_here(plan, tensorrt, gpu) for plan in here) else []
    return f"{reasons}; build them with: {build_line(bundle, *options, *again)}"


def choose_flavour(
    models: Sequence[Files], precisions: Sequence[str] = PRECISIONS, bundle: Path | None = None
) -> tuple[str | None, str, str]:
    """The flavour whose plans `auto` may take, with the precision and a clause why; or None and why not."""
    installed = [flavour for flavour, module in FLAVOURS.items() if find_spec(module) is not None]
    if not installed:
        return None, "", "no TensorRT here"
    try:
        if not list_plans()[0]:
            return None, "", f"no TensorRT plans here; {build_line(bundle)} makes them"
    except EngineUnavailableError as error:  # the cache cannot be read
        return None, "", str(error)
    refusals = []
    for flavour in installed:
        try:
            return flavour, *choose_plans(flavour, models, precisions, passed=True, bundle=bundle)
        except EngineUnavailableError as error:
            refusals.append(f"not {flavour}: {_what(error)}")
    return None, "", "; ".join(refusals)


def _what(error: EngineUnavailableError) -> str:
    """Without what mends it, which is for who asks for it by name."""
    what, _, mending = str(error).rpartition("; ")
    return what or mending


def _plans(models: Sequence[Files], precision: str, tensorrt: TensorRT, gpu: Gpu) -> list[Plan]:
    """The best plan of each model; none where one of them has none."""
    best = []
    for files in models:
        entry = file_for(files, precision, tensorrt.flavour)
        found = plans_for(entry.sha256, precision, tensorrt, gpu) if entry else []
        if not found:
            return []
        best.append(found[0])
    return best


def _is_proved(plan: Plan) -> bool:
    return plan.passed and bool(plan.record.milliseconds)


def _speed(plans: Sequence[Plan]) -> float:
    """Milliseconds a face, mean over the batch sizes that were timed and the models."""
    times = [ms / int(size) for plan in plans for size, ms in plan.record.milliseconds.items()]
    return sum(times) / len(times)
