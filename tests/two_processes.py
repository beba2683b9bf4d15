"""What each process of `test_processes.py` does: python -m torch.distributed.run ... two_processes.py FOLDER

The test does the same in one process and compares. Every process leaves FOLDER/RANK.json and its trained weights.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import save_file
from tiny_data import crops
from torch import Tensor, nn

from fsr.runtime.command_line import error_sentences
from fsr.runtime.errors import FsrError, OutputError
from fsr.train.batches import FaceBatches
from fsr.train.degrade import shrink
from fsr.train.distill import Trainee
from fsr.train.loop import LoopConfig, make_optimizers, train
from fsr.train.mirror import mirror
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.processes import Crew, open_crew
from fsr.train.qat import to_int8
from fsr.train.reparam import Branches, branch
from fsr.train.state import LoopState

HIGH = np.array(crops()[:16])
LOW = shrink(HIGH, 16)
Loss = Callable[[nn.Module, int, float], Tensor]
FORMS: Mapping[str, Callable[[EdgeNet], EdgeNet]] = {
    "plain": lambda network: network,
    "branches": lambda network: branch(network, Branches()),
    "mirror": mirror,
    "qat": lambda network: to_int8(network, LOW, "minmax"),
}
STEPS = LoopConfig(steps=4, precision="fp32", learning_rate=0.1)


def network_of(form: str) -> Trainee:
    torch.manual_seed(0)
    return Trainee(FORMS[form](EdgeNet(EdgeConfig("S", 16, 8, positions=True))))


def loss_on(crew: Crew) -> Loss:
    batches = FaceBatches(LOW, HIGH, 8, 0, crew)

    def loss_of(network: nn.Module, step: int, share: float) -> Tensor:
        low, high = batches(step)
        return (network(low)[0].float() - high).abs().mean()

    return loss_of


def run(network: nn.Module, folder: Path, crew: Crew, config: LoopConfig = STEPS, **options: object) -> nn.Module:
    """Train; returns the averaged network."""
    given = {"loss_of": loss_on(crew), "identity": {}, "console": Console(file=io.StringIO()), "crew": crew}
    return train(network, observe=nothing, folder=folder, config=config, **{**given, **options})  # pyright: ignore


def nothing(averaged: nn.Module, state: LoopState) -> Mapping[str, float]:
    return {}


def gradient(crew: Crew, form: str) -> Tensor:
    """Of the first step's whole batch, or of this process's part and averaged."""
    network = network_of(form)
    loss_on(crew)(network, 0, 0.0).backward()
    crew.average_gradients(network)
    return torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])


def plain_descent(network: nn.Module, config: LoopConfig) -> list[torch.optim.Optimizer]:
    """As much as the gradients differ, so do the weights: Muon and Adam make much of little."""
    return [torch.optim.SGD(network.parameters(), lr=config.learning_rate)]


def trained(folder: Path, crew: Crew) -> dict[str, Tensor]:
    """By name: every form's first gradient, and what a few steps add to its weights and to their averages."""
    found = {f"{form}/gradient": gradient(crew, form) for form in FORMS}
    for form in FORMS:
        for optimizers_of in (plain_descent, make_optimizers):
            name = f"{form}/{optimizers_of.__name__}"
            network = network_of(form)
            averaged = run(network, folder / name, crew, optimizers_of=optimizers_of)
            found[f"{name}/network"] = flat(network) - flat(network_of(form))
            found[f"{name}/averaged"] = flat(averaged) - flat(network_of(form))
    return found


def flat(network: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def error_of(act: Callable[[], object]) -> str:
    """The name of the error that ends it and what it says."""
    try:
        act()
    except FsrError as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def diverged(folder: Path, crew: Crew) -> str:
    """The loss of the second process alone is no number in step 3."""

    def loss_of(network: nn.Module, step: int, share: float) -> Tensor:
        return healthy(network, step, share) * (float("nan") if crew.rank == 1 and step == 3 else 1)

    healthy = loss_on(crew)
    config = LoopConfig(steps=20, precision="fp32")
    return error_of(lambda: run(network_of("plain"), folder, crew, config, loss_of=loss_of))


def stopped(folder: Path, crew: Crew) -> str:
    """The second process alone is asked to stop in step 3."""

    def loss_of(network: nn.Module, step: int, share: float) -> Tensor:
        if crew.rank == 1 and step == 3:
            signal.raise_signal(signal.SIGTERM)
        return healthy(network, step, share)

    healthy = loss_on(crew)
    config = LoopConfig(steps=100, precision="fp32")
    return error_of(lambda: run(network_of("plain"), folder, crew, config, loss_of=loss_of))


def by_the_clock(folder: Path, crew: Crew) -> float:
    """The last step of a run by the clock, and the share of it done then; the second process's clock stands still."""
    seen: list[float] = []

    def loss_of(network: nn.Module, step: int, share: float) -> Tensor:
        seen.append(step + share)
        return healthy(network, step, share)

    healthy, before = loss_on(crew), time.perf_counter
    if crew.rank == 1:
        time.perf_counter = lambda: 0.0
    try:
        run(network_of("plain"), folder, crew, LoopConfig(minutes=0.01, precision="fp32"), loss_of=loss_of)
    finally:
        time.perf_counter = before
    return seen[-1]


def sum_after_following(crew: Crew) -> float:
    """Of weights that are 1 in the first process and 2 in the second."""
    network = nn.Linear(3, 1, bias=False)
    nn.init.constant_(network.weight, 1 + crew.rank)
    crew.follow_first(network)
    return network.weight.sum().item()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with open_crew("cpu") as crew:
        save_file(trained(folder / "trained", crew), folder / f"{crew.rank}.safetensors")
        said = {
            "crew": crew.describe("fp32"),
            "diverged": diverged(folder / "diverged", crew),
            "stopped": stopped(folder / "stopped", crew),
            "clock": by_the_clock(folder / "clock", crew),
            "data": error_of(lambda: run(network_of("plain"), folder / "data", crew, identity={"data": crew.rank})),
            "following": sum_after_following(crew),
        }
    said["parted"] = not torch.distributed.is_initialized()
    (folder / f"{crew.rank}.json").write_text(json.dumps(said))


@contextmanager
def slow_end() -> Iterator[None]:
    try:
        yield
    finally:
        time.sleep(2 if os.environ["RANK"] == "0" else 0)


def fail() -> None:
    """The first process alone fails and is slow to say so; the second waits for it."""
    with error_sentences(), slow_end(), open_crew("cpu") as crew:
        network = nn.Linear(3, 1)
        crew.follow_first(network)
        if crew.first:
            raise OutputError("log.csv: cannot be written: No space left on device")
        crew.follow_first(network)


if __name__ == "__main__":
    assert os.environ["WORLD_SIZE"] == "2"
    fail() if "fail" in sys.argv else main(Path(sys.argv[1]))
