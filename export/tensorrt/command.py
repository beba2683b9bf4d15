"""What `fsr-export build` does with its options: build and tell, or list or clean the cache."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from rich.console import Console

from ...runtime.bundle import default_folder, read_manifest
from ...runtime.engines.plans import PLAN, RECORD, cache_files, list_plans, plans_folder, remove_plan
from ...runtime.errors import EngineUnavailableError, OutputError, ParityError, UsageError
from ...runtime.files import remove_temporaries
from ...runtime.interrupt import stop_on_interrupt
from ..extend_bundle import DETECTOR
from .build_bundle import BuildRequest, BuildRun, Outcome
from .jobs import Job, require_known
from .monitor import Report
from .shapes import Limits
from .timing_cache import SUFFIX

SOME_FAILED, INTERRUPTED = 1, 130
"""Exit codes."""

STALE_SECONDS = 24 * 3600
"""After which a file that was never finished belongs to no build that still runs."""


def run_build(
    *,
    bundle: Path | None,
    fp32: bool,
    fp16: bool,
    int8: bool,
    models: Sequence[str],
    flavour: str | None,
    compute_capabilities: Sequence[str],
    batch: str,
    frame: str,
    workspace: int,
    timing_cache: Path | None,
    rebuild: bool,
    explain: bool,
    listed: bool,
    clean: bool,
) -> None:
    """Print a line a plan; notes and progress go to stderr.

    Raises:
        ParityError: a plan failed the gate; it is kept, and never used. EngineUnavailableError: nothing could be built.
    """
    if listed and clean:
        raise UsageError("--list and --clean: got both, expected one")
    if listed or clean:
        _list() if listed else _clean(models, bundle or default_folder())
        return
    asked = [name for name, wanted in (("fp32", fp32), ("fp16", fp16), ("int8", int8)) if wanted]
    limits = Limits.parse(batch, frame)
    request = BuildRequest(
        bundle, asked, models, flavour, compute_capabilities, limits, workspace, timing_cache, rebuild
    )
    build(request, Console(stderr=True), explain=explain)


def build(request: BuildRequest, notes: Console, *, explain: bool) -> None:
    """Build, show and judge."""

    def say(line: str) -> None:
        notes.print(line, markup=False, highlight=False, soft_wrap=True)

    run = BuildRun(request, say)
    say(f"building with {run.target}")
    for line in run.stand_ins:
        say(line)
    try:
        with stop_on_interrupt() as stop, _progress(notes) as report:
            outcomes = run(report, stop)
    except KeyboardInterrupt:
        say(f"stopped; the plans that were built are in {plans_folder()}")
        sys.exit(INTERRUPTED)
    for outcome in outcomes:
        click.echo(line_of(outcome))
        if explain:
            click.echo(f"  {outcome.decision.action}: {outcome.decision.why}")
    _judge(run, outcomes)


def line_of(outcome: Outcome) -> str:
    """What came of a job, in one line."""
    if outcome.plan is None:
        return f"{outcome.job}: FAILED: {outcome.failure}"
    record = outcome.plan.record
    how = f"built in {record.build_seconds:.1f} s" if outcome.built else "used"
    if outcome.failure:
        how = f"REFUSED: {outcome.failure}"
    return f"{outcome.job}: {how}, {record.size / 1e6:.2f} MB, {_measured(outcome)}: {outcome.plan.path}"


def _measured(outcome: Outcome) -> str:
    assert outcome.plan is not None
    record = outcome.plan.record
    if record.parity is None:
        return "parity not measured"
    times = ", ".join(f"{size}: {milliseconds:g} ms" for size, milliseconds in record.milliseconds.items())
    return f"parity {'passed' if record.parity.passed else 'failed'} on {record.parity.faces} faces, {times}"


def _judge(run: BuildRun, outcomes: Sequence[Outcome]) -> None:
    """Raise what ends the command with the right code, and say once what is not known."""
    unmeasured = [outcome for outcome in outcomes if outcome.unmeasured]
    reasons = "; ".join(dict.fromkeys(outcome.unmeasured for outcome in unmeasured))
    gpu = run.target.gpu
    if unmeasured and gpu is None:
        click.echo(
            f"parity was not measured ({reasons}): --engine auto leaves such plans alone; run fsr-export build on the "
            "machine that will run them",
            err=True,
        )
    refused = [outcome for outcome in outcomes if outcome.failure and outcome.plan is not None]
    failed = [outcome for outcome in outcomes if outcome.failure and outcome.plan is None]
    if refused:
        raise ParityError(f"{_named(refused)} failed the gate: {refused[0].failure}")
    if failed and len(failed) == len(outcomes):
        raise EngineUnavailableError(f"nothing could be built: {failed[0].failure}")
    if unmeasured and gpu is not None:
        click.echo(f"error: {_named(unmeasured)} cannot be tried on this {gpu.name}: {reasons}", err=True)
    if failed:
        click.echo(f"error: {_named(failed)} could not be built, for the reasons above", err=True)
    if run.stands_in:
        click.echo("error: not all that was asked for is in the bundle; what stands in for it is said above", err=True)
    if failed or run.stands_in or (unmeasured and gpu is not None):
        sys.exit(SOME_FAILED)


def _named(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(str(outcome.job) for outcome in outcomes)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[Job, int, int], Report]]:
    """One bar over all jobs; nothing is drawn where `console` is no terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[of]}"), TimeElapsedColumn())
    disabled = console.quiet or not console.is_terminal
    with Progress(*columns, console=console, disable=disabled, transient=True) as bar:
        task = bar.add_task("building", total=1.0, of="")

        def started(job: Job, number: int, count: int) -> Report:
            def report(phase: str, share: float) -> None:
                done = (number + share) / count
                bar.update(task, completed=done, description=f"{job}: {phase}", of=f"{number + 1} of {count}")

            report("building", 0.0)
            return report

        yield started


def _list() -> None:
    plans, damaged = list_plans(whole=True)
    for plan in plans:
        record = plan.record
        parity = "not measured" if record.parity is None else "passed" if record.parity.passed else "FAILED"
        times = "".join(f", {size}: {milliseconds:g} ms" for size, milliseconds in record.milliseconds.items())
        click.echo(f"{plan}: {record.size / 1e6:.2f} MB, {record.created}, parity {parity}{times}: {plan.path}")
    for sentence in damaged.values():
        click.echo(f"damaged: {sentence}")
    size = sum(map(_bytes, _files()))
    click.echo(f"{len(plans)} plans, {len(damaged)} damaged, {size / 1e6:.1f} MB in {plans_folder()}", err=True)


def _clean(models: Sequence[str], bundle: Path) -> None:
    """Everything, or the plans of some models.

    Raises:
        UsageError: neither the cache nor the bundle knows a model. OutputError: something could not be removed; all
            else is.
    """
    plans, _ = list_plans()
    if models:
        known = [plan.record.model for plan in plans] + [m.name for m in read_manifest(bundle).models] + [DETECTOR]
        require_known(models, list(dict.fromkeys(known)))
    mine = [plan.path for plan in plans if plan.record.model in models] if models else _files()
    removed, freed, refusals = 0, 0, list[str]()
    with suppress(OSError):  # what nobody uses; where it cannot be removed, neither can the rest, and that is said
        remove_temporaries(path for path in plans_folder().glob(".*") if _is_stale(path))
    for path in mine:
        size = _bytes(path)
        try:
            remove_plan(path)
        except OutputError as error:
            refusals.append(str(error))
            continue
        removed, freed = removed + (path.suffix == PLAN), freed + size
    click.echo(f"{removed} plans removed, {freed / 1e6:.1f} MB freed in {plans_folder()}")
    if refusals:
        raise OutputError("; and ".join(dict.fromkeys(refusals)))


def _files() -> list[Path]:
    """Plans, damaged ones too, their records, and timing caches."""
    return [path for path in cache_files() if path.suffix in (PLAN, RECORD, SUFFIX)]


def _bytes(path: Path) -> int:
    """Of the file itself, so that a link to nothing has a size too; none where another process removed it."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _is_stale(path: Path) -> bool:
    """Whether no build that still runs can be writing it."""
    return time.time() - path.lstat().st_mtime > STALE_SECONDS
