"""Whether a plan of the cache is used, measured, built anew or refused, and why: what `--explain` tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...runtime.engines.plan_record import Plan, PlanKey
from ...runtime.engines.plans import list_plans, plans_of_digest, read_plan, whole_bytes
from ...runtime.errors import EngineUnavailableError
from .jobs import Job

USE, MEASURE, BUILD, REFUSE = "use", "measure", "build", "refuse"


@dataclass(frozen=True)
class Decision:
    """What to do about a job."""

    action: str
    why: str
    """A clause."""
    plan: Plan | None = None
    """The one that is there; None if it is to be built."""


def decide(job: Job, *, anew: bool = False, can_measure: bool) -> Decision:
    """anew: build whatever there is."""
    if anew:
        return Decision(BUILD, "--rebuild asks for it")
    for path in plans_of_digest(job.key.digest):
        try:
            plan = read_plan(path)
            whole_bytes(plan)
        except EngineUnavailableError as error:
            return Decision(BUILD, f"what there is cannot be used: {error}")
        return _of(plan, can_measure)
    return Decision(BUILD, _why_none(job))


def _of(plan: Plan, can_measure: bool) -> Decision:
    built = f"built {plan.record.created} of the same file, by the same TensorRT, for the same GPU and options"
    if plan.record.parity is None:
        if can_measure:
            return Decision(MEASURE, f"{built}; not measured yet", plan)
        return Decision(USE, f"{built}; parity not measured, for want of a GPU", plan)
    if plan.passed:
        return Decision(USE, f"{built}; parity passed", plan)
    return Decision(REFUSE, f"{built}; {'; '.join(plan.failures)}; --rebuild tries again", plan)


def _why_none(job: Job) -> str:
    """How the nearest plan differs, or that there is none."""
    plans, _ = list_plans()
    near = [plan for plan in plans if (plan.record.model, plan.record.key.precision) == (job.name, job.precision)]
    if not near:
        return "there is none yet"
    fewest = min((list(differences(plan.record.key, job.key)) for plan in near), key=len)
    return "; ".join(fewest)


def differences(had: PlanKey, wanted: PlanKey) -> Iterator[str]:
    """What sets one key apart from another, a clause each."""
    if had.onnx != wanted.onnx:
        yield f"the ONNX file changed from {had.onnx[:12]}... to {wanted.onnx[:12]}..."
    if (had.flavour, had.version) != (wanted.flavour, wanted.version):
        yield f"there is one by {had.flavour} {had.version}, here is {wanted.flavour} {wanted.version}"
    if had.gpu != wanted.gpu:
        yield f"there is one built on {had.gpu or 'no GPU'}, here is {wanted.gpu or 'no GPU'}"
    if had.compute_capabilities != wanted.compute_capabilities:
        capabilities = (", ".join(key.compute_capabilities) for key in (had, wanted))
        yield "there is one for compute capability {}, asked for is {}".format(*capabilities)
    if had.profiles != wanted.profiles:
        yield f"there is one for shapes {had.profiles}, asked for are {wanted.profiles}"
    for name in sorted(had.options.keys() | wanted.options.keys()):
        if (was := had.options.get(name, "")) != (now := wanted.options.get(name, "")):
            yield f"there is one with {name} {was or 'none'}, asked for is {now or 'none'}"
