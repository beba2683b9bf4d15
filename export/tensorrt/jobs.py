"""What there is to build of a bundle: each model and the detector, in each precision that was asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime.bundle import Bundle, FileEntry, ModelEntry
from ...runtime.engines.plan_record import PlanKey
from ...runtime.errors import UsageError
from ..extend_bundle import DETECTOR
from .shapes import Limits, Shapes, detector_profiles, model_profiles
from .source import Source, detector_source, source_of
from .target import Target

PRECISIONS = ("fp32", "fp16", "int8")
INSTEAD: Mapping[str, Sequence[str]] = {"int8": ("fp16", "fp32"), "fp16": ("fp32",)}
"""What is built of a model in place of a precision that cannot be had, the first that can."""
DETECTOR_INSTEAD: Mapping[str, Sequence[str]] = {"fp32": ("fp16", "int8"), "fp16": ("int8",), "int8": ("fp16",)}


@dataclass(frozen=True)
class Job:
    """One plan to have."""

    name: str
    """Of the model, or `detector`."""
    precision: str
    source: Source
    profiles: Sequence[Shapes]
    key: PlanKey
    model: ModelEntry | None
    """None: the detector."""

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


@dataclass(frozen=True)
class Planner:
    """Makes jobs of names and precisions."""

    bundle: Bundle
    target: Target
    limits: Limits
    workspace_mib: int

    def job(self, name: str, precision: str) -> Job | None:
        """None where the bundle has no file for it."""
        model = None if name == DETECTOR else self.bundle.model(name)
        find = source_of if model else detector_source
        source = find(self._files(model), precision, self.target.tensorrt)
        if source is None:
            return None
        profiles = model_profiles(model.input_size, self.limits) if model else detector_profiles(self.limits)
        return Job(name, precision, source, profiles, self._key(source, precision, profiles), model)

    def instead(self, name: str, precision: str, failed: Collection[str] = ()) -> Job | None:
        """The next precision that the bundle has a file for and that has not `failed`, when this one cannot be had."""
        others = (DETECTOR_INSTEAD if name == DETECTOR else INSTEAD).get(precision, ())
        return next(
            (job for other in others if other not in failed and (job := self.job(name, other)) is not None), None
        )

    def onnx(self, job: Job) -> Path:
        return self.bundle.path(job.source.entry)

    def _files(self, model: ModelEntry | None) -> Mapping[str, FileEntry]:
        return self.bundle.manifest.detector.files if model is None else model.files

    def _key(self, source: Source, precision: str, profiles: Sequence[Shapes]) -> PlanKey:
        target, options = self.target, {"workspace_mib": str(self.workspace_mib), "flags": ",".join(source.flags)}
        if source.entry.sha256 != source.asked:
            options["built_from"] = source.entry.sha256
        return PlanKey(
            source.asked,
            precision,
            target.tensorrt.flavour,
            target.tensorrt.version,
            target.gpu.name if target.gpu else None,
            list(target.compute_capabilities),
            list(profiles),
            options,
        )


def jobs_for(planner: Planner, names: Sequence[str], precisions: Sequence[str]) -> tuple[list[Job], list[str]]:
    """The jobs, and a sentence for each that another precision stands in for.

    names: of models and `detector`; all if empty. precisions: all that the bundle has files for if empty.

    Raises:
        UsageError: no model of a name, or none that was named has any precision asked for.
    """
    bundle = planner.bundle
    chosen = list(dict.fromkeys(names)) or [*bundle.names, DETECTOR]
    require_known(names, [*bundle.names, DETECTOR])
    asked = [(name, precision) for name in chosen for precision in precisions or PRECISIONS]
    found = {pair: planner.job(*pair) for pair in asked}
    models = [pair for pair in asked if pair[0] != DETECTOR]
    if precisions and models and not any(found[pair] for pair in models):
        raise UsageError(_missing(planner, precisions[0]))
    jobs: dict[str, Job] = {}
    stand_ins = []
    for (name, precision), job in found.items():
        if job is None and precisions:
            job = planner.instead(name, precision)
            stand_in = f"{job.precision} stands in" if job else "it is left out"
            stand_ins.append(f"{name}: the bundle has no {precision} of it for TensorRT; {stand_in}")
        if job is not None:
            jobs.setdefault(job.key.digest, job)
    if not precisions and DETECTOR in chosen and not any(job.name == DETECTOR for job in jobs.values()):
        stand_ins.append(f"{DETECTOR}: the bundle has it for ONNX Runtime alone; fsr-export half makes it for TensorRT")
    if not jobs:
        raise UsageError("; ".join(stand_ins) or f"{bundle.folder}: has nothing for TensorRT of what was named")
    return list(jobs.values()), stand_ins


def require_known(names: Sequence[str], known: Sequence[str]) -> None:
    """`UsageError` for a `--model` that is none of `known`."""
    for name in names:
        if name not in known:
            raise UsageError(f"--model: got model {name!r}, expected one of: {', '.join(known)}")


def _missing(planner: Planner, precision: str) -> str:
    make = {"fp16": "fsr-export half", "int8": "fsr-export quantize"}.get(precision, "fsr-export bundle")
    return (
        f"--{precision}: {planner.target.tensorrt} builds it from a file in that precision, and "
        f"{planner.bundle.folder} has none; make one with: {make}"
    )
