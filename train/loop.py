"""The training loop every recipe shares: budget, schedule, averaged weights, checkpoints, resumption, logs.

It is the same on one CPU, on a GPU and in several processes: `device` and `processes` know the difference.
"""

from __future__ import annotations

import copy
import csv
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from ..runtime.errors import CheckpointError, TrainingDivergedError, TrainingStoppedError, UsageError
from ..runtime.files import atomic_path, require_writable
from ..runtime.interrupt import stop_on_interrupt
from .board import open_board
from .checkpoint import MODEL_FILE
from .device import use_bf16
from .muon import Muon
from .processes import Crew
from .state import LoopState, load_state, save_state

STATE_FILE = "state.safetensors"
LOG_FILE = "log.csv"
WARM_UP_STEPS = 100
SEEDS = 2**63
"""Of PyTorch's generators."""
TRAINED_TO_VALIDATED = 4
"""How many times as long as a validation takes is trained, at least, until the next."""


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train."""

    minutes: float | None = None
    """Wall-clock budget; the learning rate is annealed to it. This or `steps`."""
    steps: int | None = None
    """Exact number of steps, for runs that must repeat to the bit."""
    learning_rate: float = 2e-3
    average: float = 0.999
    """Decay of the exponential moving average of the weights."""
    precision: str = "auto"
    """bf16, fp32, or auto: bf16 where the device multiplies it in hardware."""
    validate_every: float = 2.0
    """Minutes from one validation to the next, each followed by a checkpoint, more where they take long; with `steps`,
    a tenth of the steps."""
    seed: int = 0
    tensorboard: bool = False
    """Whether TensorBoard's files are written beside the log."""
    command: str | None = None
    """The command line that asked for it, which the checkpoint keeps."""

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            got = "neither" if self.steps is None else "both"
            raise UsageError(f"got {got} of --minutes and --steps, expected one of them")
        for flag, value in (
            ("--minutes", self.minutes),
            ("--steps", self.steps),
            ("--lr", self.learning_rate),
        ):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{flag}: got {value}, expected a number above 0")
        if not 0 <= self.seed < SEEDS:
            raise UsageError(f"--seed: got {self.seed}, expected 0 to {SEEDS - 1}")
        if self.precision not in ("auto", "bf16", "fp32"):
            raise UsageError(f"--precision: got {self.precision!r}, expected auto, bf16 or fp32")
        if self.tensorboard:
            import tensorboardX  # noqa: F401 - if it is missing, that is said now, not after the teachers' lessons

    def to_json(self) -> dict[str, Any]:
        """What makes the run what it is: not how it was typed or is looked at."""
        return {name: value for name, value in asdict(self).items() if name not in ("tensorboard", "command")}

    def share_done(self, step: int, seconds: float) -> float:
        """How much of the budget is used, from 0 to 1."""
        done = step / self.steps if self.steps else seconds / (60 * (self.minutes or 1))
        return min(1.0, done)

    def rate(self, step: int, share_done: float) -> float:
        """Learning rate: linear warm-up, then half a cosine down to a hundredth."""
        return (
            self.learning_rate * min(1, (step + 1) / WARM_UP_STEPS) * (0.505 + 0.495 * math.cos(math.pi * share_done))
        )

    def due(self, step: int) -> bool:
        """Whether a validation follows this many steps; by the clock it is another matter."""
        return self.steps is not None and (step % max(1, self.steps // 10) == 0 or step >= self.steps)


class Observer(Protocol):
    """What a recipe does at each validation."""

    def __call__(self, averaged: nn.Module, state: LoopState) -> Mapping[str, float]:
        """Score the averaged network (in evaluation mode), write what is worth keeping, return figures to log."""
        ...


def train(
    network: nn.Module,
    loss_of: Callable[[nn.Module, int, float], Tensor],
    observe: Observer,
    folder: Path,
    config: LoopConfig,
    *,
    identity: Mapping[str, Any],
    optimizers_of: Callable[[nn.Module, LoopConfig], list[torch.optim.Optimizer]] | None = None,
    resume: bool = False,
    console: Console | None = None,
    crew: Crew | None = None,
    batch: int = 1,
) -> nn.Module:
    """Train `network` until the budget is used and return it with averaged weights.

    loss_of: (network, step, share of the budget done) -> scalar loss of this process's part of the batch; called under
        autocast where the precision is bf16. It calls the network as a function, since on a GPU that is compiled.
    identity: what must be the same for a run to be resumed (data, network, batch), kept with the state.
    optimizers_of: `make_optimizers` by default.
    crew: this process alone on the CPU by default. batch: faces a step, of all processes, to say how fast it goes.

    Raises:
        TrainingDivergedError: the loss or a weight is not finite; the last checkpoint stays.
        TrainingStoppedError: Ctrl-C; the step was finished and saved.
        CheckpointError: `folder` holds another run, or a run and `resume` is not asked for; or processes began
            differently.
    """
    crew = crew or Crew()
    console = console or crew.console()
    network = network.to(crew.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    averaged = copy.deepcopy(network).eval()
    optimizers = (optimizers_of or make_optimizers)(network, config)
    if crew.first:
        require_writable(folder)
    identity = json.loads(json.dumps({**identity, **config.to_json()}))
    state = LoopState()
    require_free(folder, resume)
    if (folder / STATE_FILE).exists():
        state = load_state(folder / STATE_FILE, network, averaged, optimizers, identity)
        console.print(f"resumed at step {state.step}, {state.seconds / 60:.1f} minutes in")
    elif resume:
        console.print(f"{folder}: no run to go on with; begun anew")
    crew.require_same({**identity, "step": state.step})
    crew.follow_first(network)
    console.print(f"training {crew.describe(config.precision)}")
    bf16 = use_bf16(config.precision, crew.device)
    if crew.place.compiled:
        network.compile(dynamic=False)
    interval = 60 * config.validate_every
    next_report, reported = state.seconds + min(interval, 30), math.inf
    unread: list[Tensor] = []
    losses: list[float] = []
    last = time.perf_counter()
    with (
        Progress(*_columns(), console=console) as progress,
        open_board(folder, config.tensorboard and crew.first, state) as board,
        stop_on_interrupt() as interrupted,
    ):
        task = progress.add_task("training", total=1.0)
        progress.update(task, completed=config.share_done(state.step, state.seconds))
        while (share := config.share_done(state.step, state.seconds)) < 1:
            rate = config.rate(state.step, share)
            set_rate(optimizers, rate)
            with torch.autocast(crew.device.type, torch.bfloat16, enabled=bf16):
                loss = loss_of(network, state.step, share)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss.backward()
            crew.average_gradients(network)
            for optimizer in optimizers:
                optimizer.step()
            state.step += 1
            follow(averaged, network, min(config.average, state.step / (state.step + 10)))
            unread.append(loss.detach())
            if state.step % crew.place.look_every and not config.due(state.step):
                continue
            now = time.perf_counter()
            state.seconds, read, stop = crew.agree(state.seconds + now - last, unread, interrupted.is_set())
            last = now
            unread.clear()
            losses += read
            if reported < state.seconds:
                next_report = state.seconds + max(interval, TRAINED_TO_VALIDATED * (state.seconds - reported))
                reported = math.inf
            finished = config.share_done(state.step, state.seconds) >= 1
            due = config.due(state.step) if config.steps else state.seconds >= next_report
            report = due or finished or stop
            require_finite(read, network if report else None, folder, config, state)
            _show(progress, task, config, state, losses)
            board.progress(state, losses, rate, batch)
            if report:
                if crew.first:
                    figures = {"loss": sum(losses) / len(losses), **observe(averaged, state)}
                    log_row(folder / LOG_FILE, state, figures)
                    save_state(folder / STATE_FILE, network, averaged, optimizers, identity, state)
                    board.validation(state, figures)
                    console.print(f"step {state.step:>7} " + "  ".join(f"{k} {v:.4f}" for k, v in figures.items()))
                crew.follow_first(network)
                crew.wait()
                losses.clear()
                reported = state.seconds
            if stop and not finished:
                raise TrainingStoppedError(f"stopped and saved at step {state.step}; go on with --resume")
    return averaged


def require_finite(
    losses: Sequence[float], network: nn.Module | None, folder: Path, config: LoopConfig, state: LoopState
) -> None:
    """Refuse to go on, and to save, once something is no number; losses: of the last steps; network: to look at too.

    Raises:
        TrainingDivergedError: it is so.
    """
    first = state.step - len(losses)
    wrong = [f"the loss is {loss} at step {step}" for step, loss in enumerate(losses, first) if not math.isfinite(loss)]
    if not wrong and network and not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        wrong = [f"weights are no longer finite after step {state.step - 1}"]
    if wrong:
        kept = "its last checkpoint is kept" if (folder / STATE_FILE).exists() else "it had no checkpoint yet"
        raise TrainingDivergedError(f"{folder}: {wrong[0]}; {kept}; try a lower --lr (got {config.learning_rate})")


def require_free(folder: Path, resume: bool) -> None:
    """Refuse to begin a second run in a folder.

    Raises:
        CheckpointError: `folder` holds a run and `resume` is not asked for, or a model alone, which would be lost.
    """
    has_state = (folder / STATE_FILE).exists()
    if has_state and not resume:
        raise CheckpointError(f"{folder}: holds a run already; go on with --resume or choose another --output")
    if not has_state and (folder / MODEL_FILE).exists():
        raise CheckpointError(f"{folder}: holds a trained {MODEL_FILE} without {STATE_FILE}; choose another --output")


def make_optimizers(network: nn.Module, config: LoopConfig) -> list[torch.optim.Optimizer]:
    """Muon for inner weights, AdamW for the first layer and the biases.

    Measured on edge L, 16 -> 128, 4 minutes on one core: 25.25 dB against 24.65 with AdamW alone.
    """
    outer = {"head", "positions"}
    inner = [p for name, p in network.named_parameters() if p.ndim >= 2 and outer.isdisjoint(name.split("."))]
    chosen = {id(p) for p in inner}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    return [Muon(inner, lr=config.learning_rate), adam]


def set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


@torch.no_grad()
def follow(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the trained ones."""
    for average, trained in zip(averaged.parameters(), network.parameters(), strict=True):
        average.lerp_(trained, 1 - decay)


def log_row(path: Path, state: LoopState, figures: Mapping[str, float]) -> None:
    """Append one validation to the log; figures that a killed run logged after its checkpoint are dropped."""
    rows = [row for row in read_log(path) if row["step"] < state.step] if path.exists() else []
    rows.append({"step": state.step, "minutes": state.seconds / 60, **figures})
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[-1]))
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)


def read_log(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _columns() -> tuple[Any, ...]:
    text = TextColumn("{task.description}")
    return (
        text,
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def _show(progress: Progress, task: TaskID, config: LoopConfig, state: LoopState, losses: list[float]) -> None:
    recent = losses[-50:]
    text = f"step {state.step} loss {sum(recent) / len(recent):.4f}"
    progress.update(task, completed=config.share_done(state.step, state.seconds), description=text)
