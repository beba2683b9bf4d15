"""bundle -> jobs -> plans in the cache, each measured where there is a GPU -> what came of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from ...runtime.bundle import check_file, default_folder, open_bundle
from ...runtime.engines.plan_record import Plan
from ...runtime.engines.plans import BUILD_ANEW, plans_folder, store_plan
from ...runtime.errors import EngineUnavailableError, FsrError, UsageError
from ...runtime.files import require_writable
from .builder import WORKSPACE_MIB, Built, Order, build
from .decide import BUILD, MEASURE, REFUSE, Decision, decide
from .jobs import Job, Planner, jobs_for
from .measure import measure_plan
from .monitor import Report, Watch
from .shapes import Limits
from .target import Target, find_target
from .timing_cache import TimingCache, timing_cache
from .trtexec import trtexec_line

UNMEASURED = "they are for compute capabilities, not for a GPU of this machine"
Say = Callable[[str], None]


@dataclass(frozen=True)
class BuildRequest:
    """What `fsr-export build` was asked for."""

    bundle: Path | None = None
    """None: the default bundle."""
    precisions: Sequence[str] = ()
    """All that the bundle has files for if empty."""
    models: Sequence[str] = ()
    """`detector` among them; everything if empty."""
    flavour: str | None = None
    compute_capabilities: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    workspace_mib: int = WORKSPACE_MIB
    timing_cache: Path | None = None
    rebuild: bool = False

    def __post_init__(self) -> None:
        if self.workspace_mib < 1:
            raise UsageError(f"--workspace: got {self.workspace_mib}, expected at least 1 MiB")


@dataclass(frozen=True)
class Outcome:
    """What came of one job."""

    job: Job
    decision: Decision
    plan: Plan | None = None
    """None: it could not be built."""
    failure: str = ""
    """Why it could not be built, or why it must not be used."""
    built: bool = False
    """In this run."""
    unmeasured: str = ""
    """Why parity is not known."""


class BuildRun:
    """One run of the command: everything that its steps share."""

    def __init__(self, request: BuildRequest, say: Say) -> None:
        """Find the TensorRT, the GPU and the jobs.

        Raises:
            EngineUnavailableError: TensorRT or the GPU is missing.
            BundleError, UsageError: the bundle is damaged, or lacks what was asked for.
        """
        self.request, self.say = request, say
        self.target: Target = find_target(request.flavour, request.compute_capabilities)
        self.bundle = open_bundle(request.bundle or default_folder())
        self.planner = Planner(self.bundle, self.target, request.limits, request.workspace_mib)
        self.jobs, self.stand_ins = jobs_for(self.planner, request.models, request.precisions)
        self.timing: TimingCache | None = timing_cache(self.target.tensorrt, self.target.gpu, request.timing_cache)
        if request.timing_cache is not None and self.timing is None:
            say(f"--timing-cache: {self.target.tensorrt} times nothing while it builds, so there is none to keep")

    @property
    def stands_in(self) -> bool:
        """Whether a precision that was asked for by name is made by another, or left out."""
        return bool(self.request.precisions and self.stand_ins)

    def __call__(self, report: Callable[[Job, int, int], Report], stop: Event) -> list[Outcome]:
        """Do all jobs; what cannot be had is followed by the next precision, and that is said.

        report: given a job, its number and how many there are, what is told of its progress.

        Raises:
            KeyboardInterrupt: Ctrl-C; the plans that were built stay.
            OutputError: the cache cannot be written, and there is something to write.
        """
        outcomes: list[Outcome] = []
        waiting = deque(self.jobs)
        while waiting:
            job = waiting.popleft()
            watch = Watch(report(job, len(outcomes), len(outcomes) + len(waiting) + 1), stop)
            outcomes.append(outcome := self._do(job, watch))
            failed = [each.job.precision for each in outcomes if each.failure and each.job.name == job.name]
            if outcome.failure and (other := self.planner.instead(job.name, job.precision, failed)) is not None:
                self.say(f"{job}: {outcome.failure}; falling back to {other.precision}")
                if other.key not in [each.key for each in (*waiting, *(o.job for o in outcomes))]:
                    waiting.appendleft(other)
            if stop.is_set():
                raise KeyboardInterrupt
        return outcomes

    def _do(self, job: Job, watch: Watch) -> Outcome:
        decision = decide(job, anew=self.request.rebuild, can_measure=self.target.gpu is not None)
        outcome = Outcome(job, decision, decision.plan)
        if decision.action == REFUSE:
            assert decision.plan is not None
            return replace(outcome, failure="; ".join(decision.plan.failures))
        if decision.action in (BUILD, MEASURE):
            require_writable(plans_folder())  # a cache that has everything may be read-only
        if decision.action == BUILD:
            try:
                outcome = replace(outcome, plan=self._build(job, watch), built=True)
            except EngineUnavailableError as error:
                return replace(outcome, failure=str(error))
        return self._measured(outcome) if decision.action in (BUILD, MEASURE) else self._known(outcome)

    def _build(self, job: Job, watch: Watch) -> Plan:
        order = Order(
            str(job),
            check_file(self.bundle.folder, job.source.entry),
            job.profiles,
            job.source.flags,
            self.target.members,
            self.request.workspace_mib,
        )
        built: Built = build(self.target.tensorrt, order, timing=self.timing, watch=watch, say=self.say)
        plan = store_plan(job.key, job.name, built.plan, build_seconds=built.seconds, workspace_mib=built.workspace_mib)
        onnx = self.planner.onnx(job)
        flags, workspace = job.source.flags, built.workspace_mib
        line = trtexec_line(self.target, onnx, plan.path, built.input_name, job.profiles, flags, workspace, self.timing)
        self.say(f"{job}: the same by NVIDIA's program: {line}")
        return plan

    def _measured(self, outcome: Outcome) -> Outcome:
        gpu, plan = self.target.gpu, outcome.plan
        assert plan is not None
        if gpu is None:
            return self._known(outcome)
        try:
            plan = measure_plan(plan, self.bundle, outcome.job.model, self.target.tensorrt, gpu)
        except FsrError as error:
            return replace(outcome, unmeasured=str(error).removesuffix(f"; {BUILD_ANEW}"))  # it was
        return replace(outcome, plan=plan, failure="; ".join(plan.failures))

    def _known(self, outcome: Outcome) -> Outcome:
        assert outcome.plan is not None
        return outcome if outcome.plan.passed else replace(outcome, unmeasured=UNMEASURED)
