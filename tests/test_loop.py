"""The loop spends its budget, can be killed and resumed without a trace, and stops when it diverges."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from fsr.runtime.errors import CheckpointError, TrainingDivergedError, UsageError
from fsr.train import loop
from fsr.train.device import Place
from fsr.train.loop import LOG_FILE, STATE_FILE, LoopConfig, make_optimizers, read_log, train
from fsr.train.processes import Crew
from fsr.train.state import LoopState


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class TinyNet(nn.Module):
    """A head for AdamW, a tail for Muon."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(x))


def loss_of(network: nn.Module, step: int, share: float = 0) -> Tensor:
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
    return (network(x).float() - x.flip(1)).abs().mean()


class Seen:
    """An observer that remembers when it was asked, and its figures."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __call__(self, averaged: nn.Module, state: LoopState) -> Mapping[str, float]:
        assert not averaged.training
        self.steps.append(state.step)
        return {"gain": float(state.step)}


QUIET = Console(quiet=True)


def run(
    folder: Path,
    config: LoopConfig,
    loss=loss_of,
    *,
    resume: bool = False,
    data: str = "a",
    said: io.StringIO | None = None,
) -> tuple[nn.Module, Seen]:
    seen = Seen()
    console = Console(file=said or io.StringIO(), width=200)
    trained = train(TinyNet(), loss, seen, folder, config, identity={"data": data}, resume=resume, console=console)
    return trained, seen


def steps(count: int, **options: object) -> LoopConfig:
    return LoopConfig(steps=count, **{"precision": "fp32", **options})  # pyright: ignore[reportArgumentType]


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def killed_at(at: int):
    def loss(network: nn.Module, step: int, share: float) -> Tensor:
        if step == at:
            raise KeyboardInterrupt
        return loss_of(network, step)

    return loss


@pytest.mark.parametrize("kill", [23, 20, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_and_resumed_run_is_the_same_to_the_bit(tmp_path: Path, kill: int, precision: str) -> None:
    """Killed between checkpoints, right after one, and before the first."""
    config = steps(40, precision=precision)
    whole, seen = run(tmp_path / "whole", config)
    assert seen.steps == list(range(4, 41, 4))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", config, killed_at(kill))
    resumed, seen = run(tmp_path / "killed", config, resume=True)
    assert seen.steps[0] == kill // 4 * 4 + 4
    assert same(whole, resumed)
    logs = [read_log(tmp_path / name / LOG_FILE) for name in ("whole", "killed")]
    one, other = ([(row["step"], row["loss"], row["gain"]) for row in log] for log in logs)
    assert one == other


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    first, _ = run(tmp_path, steps(10))
    state = (tmp_path / STATE_FILE).read_bytes()
    said = io.StringIO()
    again, seen = run(tmp_path, steps(10), resume=True, said=said)
    assert same(first, again)
    assert seen.steps == [] and "100%" in said.getvalue()
    assert (tmp_path / STATE_FILE).read_bytes() == state


def test_a_log_row_written_after_the_last_state_is_replaced(tmp_path: Path) -> None:
    """A kill between the log and the state leaves a row that the resumed run writes again."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, steps(40), killed_at(9))
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write("12,0.5,9.9,12\n")
    run(tmp_path, steps(40), resume=True)
    log = read_log(tmp_path / LOG_FILE)
    assert [row["step"] for row in log] == list(range(4, 41, 4))
    assert log[2]["loss"] < 9


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path, steps(4))
    before = (tmp_path / STATE_FILE).read_bytes()
    with pytest.raises(CheckpointError, match="holds a run already; go on with --resume or choose another --output"):
        run(tmp_path, steps(4))
    assert (tmp_path / STATE_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("config", "data", "setting"),
    [
        (steps(20), "a", "steps = 20, but it was 10"),
        (steps(10, learning_rate=0.1), "a", "learning_rate = 0.1, but it was 0.002"),
        (steps(10, seed=1), "a", "seed = 1, but it was 0"),
        (steps(10), "b", "data = 'b', but it was 'a'"),
    ],
)
def test_resuming_with_other_settings_names_the_setting(
    tmp_path: Path, config: LoopConfig, data: str, setting: str
) -> None:
    run(tmp_path, steps(10))
    with pytest.raises(CheckpointError, match=setting):
        run(tmp_path, config, resume=True, data=data)


def test_a_damaged_state_is_an_error(tmp_path: Path) -> None:
    run(tmp_path, steps(4))
    (tmp_path / STATE_FILE).write_bytes((tmp_path / STATE_FILE).read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"damaged.*start again with another --output"):
        run(tmp_path, steps(4), resume=True)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, value: float) -> None:
    def loss(network: nn.Module, step: int, share: float) -> Tensor:
        return loss_of(network, step) * (value if step == 25 else 1)

    with pytest.raises(TrainingDivergedError, match=r"at step 25; .*try a lower --lr"):
        run(tmp_path, steps(40), loss)
    assert read_log(tmp_path / LOG_FILE)[-1]["step"] == 24
    resumed, _ = run(tmp_path, steps(40), resume=True)
    assert all(bool(weight.isfinite().all()) for weight in resumed.parameters())


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    """The loss of the step before was a number, its gradient was not."""

    def loss(network: nn.Module, step: int, share: float) -> Tensor:
        steep = (0 * network.get_parameter("head.bias")).sum().sqrt()
        return loss_of(network, step) + (steep if step == 7 else 0)

    with pytest.raises(TrainingDivergedError, match=r"weights are no longer finite after step 7; its last checkpoint"):
        run(tmp_path, steps(40), loss)
    assert read_log(tmp_path / LOG_FILE)[-1]["step"] == 4


def test_what_is_slow_to_read_is_read_every_few_steps(tmp_path: Path) -> None:
    """As on a GPU: the log and the weights are those of a run that reads every loss at once."""
    config, looks = steps(40), []
    crew = Crew()
    agree = crew.agree
    crew.place = SlowToRead()
    crew.agree = lambda seconds, losses, stop: looks.append(len(losses)) or agree(seconds, losses, stop)
    often, _ = run(tmp_path / "often", config)
    rarely = train(TinyNet(), loss_of, Seen(), tmp_path / "rarely", config, identity={}, console=QUIET, crew=crew)
    assert same(often, rarely)
    assert looks == [3, 1, 2, 2, 1, 3] * 3 + [3, 1]  # every third step, and where a validation follows
    one, other = (read_log(tmp_path / name / LOG_FILE) for name in ("often", "rarely"))
    assert [(row["step"], row["loss"]) for row in one] == [(row["step"], row["loss"]) for row in other]

    def nan_at_25(network: nn.Module, step: int, share: float) -> Tensor:
        return loss_of(network, step) * (math.nan if step == 25 else 1)

    with pytest.raises(TrainingDivergedError, match="the loss is nan at step 25"):
        train(TinyNet(), nan_at_25, Seen(), tmp_path / "nan", config, identity={}, console=QUIET, crew=crew)


class SlowToRead(Place):
    @property
    def look_every(self) -> int:
        return 3


def test_a_network_is_compiled_where_it_is_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compiled.append(self))
    crew, network = Crew(Place(compiled=True)), TinyNet()
    averaged = train(network, loss_of, Seen(), tmp_path, steps(1), identity={}, console=QUIET, crew=crew)
    assert compiled == [network] and averaged is not network


def test_the_time_budget_is_kept(tmp_path: Path) -> None:
    start = time.perf_counter()
    _, seen = run(tmp_path, LoopConfig(minutes=0.01, precision="fp32"))
    seconds = time.perf_counter() - start
    assert 0.6 <= seconds < 3
    (row,) = read_log(tmp_path / LOG_FILE)
    assert row["minutes"] == pytest.approx(0.01, abs=0.02)
    assert row["step"] == seen.steps[-1] > 5


def test_validations_are_spread_over_the_time(tmp_path: Path) -> None:
    _, seen = run(tmp_path, LoopConfig(minutes=0.01, precision="fp32", validate_every=0.002))
    assert 3 <= len(seen.steps) <= 6


def test_where_a_validation_takes_longer_than_their_interval_most_of_the_time_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def step_takes_a_second(network: nn.Module, step: int, share: float) -> Tensor:
        clock.now += 1
        return loss_of(network, step, share)

    class TakesThree(Seen):
        def __call__(self, averaged: nn.Module, state: LoopState) -> Mapping[str, float]:
            clock.now += 180
            return super().__call__(averaged, state)

    slow, config = TakesThree(), LoopConfig(minutes=60, precision="fp32", validate_every=2)
    train(TinyNet(), step_takes_a_second, slow, tmp_path, config, identity={}, console=QUIET)
    assert slow.steps[-1] > 0.75 * 3600 and len(slow.steps) == 5


def test_the_rate_warms_up_and_falls_to_a_hundredth() -> None:
    config = steps(1000, learning_rate=1.0)
    rates = [config.rate(step, config.share_done(step, 0)) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert 0.95 < max(rates) <= 1
    assert rates[500] == pytest.approx(0.505)
    assert rates[1000] == pytest.approx(0.01)
    assert np.all(np.diff(rates[100:]) <= 0)


def test_the_time_used_counts_over_resumptions() -> None:
    config = LoopConfig(minutes=2)
    assert [config.share_done(9, seconds) for seconds in (0, 60, 120, 500)] == [0, 0.5, 1, 1]


def test_muon_gets_the_inner_weights_and_adam_the_rest() -> None:
    network = TinyNet()
    muon, adam = ([p for group in o.param_groups for p in group["params"]] for o in make_optimizers(network, steps(1)))
    assert [id(p) for p in muon] == [id(network.tail.weight)]
    assert {id(p) for p in adam} == {id(network.head.weight), id(network.head.bias), id(network.tail.bias)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--minutes and --steps, expected one"),
        ({"minutes": 1, "steps": 1}, "--minutes and --steps, expected one"),
        ({"minutes": 0}, "--minutes: got 0"),
        ({"minutes": math.nan}, "--minutes: got nan"),
        ({"steps": -3}, "--steps: got -3"),
        ({"steps": 3, "learning_rate": 0}, "--lr: got 0"),
        ({"steps": 3, "precision": "int8"}, "--precision: got 'int8'"),
        ({"steps": 3, "seed": -1}, "--seed: got -1"),
    ],
)
def test_a_wrong_setting_names_its_flag(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LoopConfig(**options)  # pyright: ignore[reportArgumentType]
