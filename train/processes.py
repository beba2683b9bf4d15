"""The processes that train one network together: one alone, or one a GPU on one machine or several.

torchrun starts them, Lightning Fabric connects them. Each draws its own part of every batch and gradients are averaged,
so that all of them move the same weights in the same way, as one process with the whole batch would. The first says and
writes everything, and its clock is the one that counts.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from ..runtime.errors import CheckpointError, UsageError
from .device import Place, choose_place


class Crew:
    """One process alone: it agrees with itself."""

    rank, count = 0, 1

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place()

    @property
    def device(self) -> torch.device:
        return self.place.device

    @property
    def first(self) -> bool:
        """Whether this process says and writes what all have done."""
        return self.rank == 0

    def describe(self, precision: str) -> str:
        """What is trained on, and why; precision: of `LoopConfig`."""
        return self.place.describe(precision)

    @property
    def hardware(self) -> str:
        """Such as `a CPU`, or `4 processes, each on one NVIDIA H200`."""
        return self.place.hardware if self.count == 1 else f"{self.count} processes, each on {self.place.hardware}"

    def console(self) -> Console:
        """Where the first process speaks and the others keep silent."""
        return Console(stderr=True, quiet=not self.first)

    def part(self, batch: int) -> slice:
        """Which faces of a batch, a multiple of `count`, are this process's own."""
        own = batch // self.count
        return slice(self.rank * own, (self.rank + 1) * own)

    def require_same(self, began: Mapping[str, Any]) -> None:
        """Refuse processes that began differently; began: what JSON can hold.

        Raises:
            CheckpointError: they did, in every process.
        """

    def average_gradients(self, network: nn.Module) -> None:
        """Give every process the mean of all processes' gradients."""

    def follow_first(self, network: nn.Module) -> None:
        """Give every process the first one's weights: processors of different kinds round differently."""

    def agree(self, seconds: float, losses: Sequence[Tensor], stop: bool) -> tuple[float, list[float], bool]:
        """What all go by: the first one's clock, the means of the losses, and whether any wishes to stop."""
        return seconds, [loss.item() for loss in losses], stop

    def wait(self) -> None:
        """Until all are here."""

    def one_first(self) -> AbstractContextManager[Any]:
        """What is done inside is done by the first process, then by the others."""
        return nullcontext()


class Together(Crew):
    """One of several processes."""

    def __init__(self, place: Place, fabric: Any) -> None:
        """fabric: a launched `lightning_fabric.Fabric`."""
        super().__init__(place)
        self.rank, self.count = fabric.global_rank, fabric.world_size
        self._fabric = fabric

    def describe(self, precision: str) -> str:
        return f"in {self.count} processes, the first {super().describe(precision)}"

    def require_same(self, began: Mapping[str, Any]) -> None:
        everyone: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(everyone, json.dumps(began))
        first, *others = [json.loads(one) for one in everyone]
        for rank, other in enumerate(others, 1):
            for key in {**first, **other}:
                if other.get(key) != first.get(key):
                    raise CheckpointError(
                        f"process {rank} began with {key} = {other.get(key)!r}, process 0 with {first.get(key)!r}; "
                        "give every machine the same command, packs and --output folder"
                    )

    def average_gradients(self, network: nn.Module) -> None:
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        with _as_one(gradients) as one:
            torch.distributed.all_reduce(one)  # Fabric's own waits for all first, at every step
            one /= self.count

    def follow_first(self, network: nn.Module) -> None:
        with _as_one([weight for weight in network.state_dict().values() if weight.is_floating_point()]) as one:
            torch.distributed.broadcast(one, 0)

    def agree(self, seconds: float, losses: Sequence[Tensor], stop: bool) -> tuple[float, list[float], bool]:
        # Sums: of the seconds, all but the first say 0.
        said = torch.tensor([seconds if self.first else 0.0, float(stop)], dtype=torch.float64, device=self.device)
        said = torch.cat([said, torch.stack([*losses]) / self.count])
        torch.distributed.all_reduce(said)
        seconds, wishes, *means = said.tolist()
        return seconds, means, wishes > 0

    def wait(self) -> None:
        self._fabric.barrier()

    def one_first(self) -> AbstractContextManager[Any]:
        return self._fabric.rank_zero_first()


@contextmanager
def _as_one(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the tensors in one piece, since many small messages are slow; what becomes of it becomes of them."""
    one = torch.cat([tensor.reshape(-1) for tensor in tensors])
    yield one
    for tensor, part in zip(tensors, one.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


@contextmanager
def parting(device: torch.device) -> Iterator[None]:
    """Disconnect the processes in the end: where Gloo's threads outlive Python they abort what has gone well.

    device: of this process's networks.
    """
    try:
        yield
    except BaseException:
        # One process may have failed alone. NCCL would wait for the others; of Gloo they learn it at once, and torchrun
        # ends this one with them: not before it has said why.
        if device.type == "cpu":
            atexit.register(torch.distributed.destroy_process_group)
        raise
    torch.distributed.destroy_process_group()


@contextmanager
def open_crew(device: str = "auto", *, compiled: bool = True) -> Iterator[Crew]:
    """Yield this process's crew: itself, or what torchrun has started.

    device: of `choose_place`; compiled: whether networks are compiled on GPUs.

    Raises:
        ModuleNotFoundError: there are several processes and lightning_fabric is not installed.
        UsageError: machines have different numbers of processes; or as `choose_place` raises.
        EngineUnavailableError: as `choose_place` raises.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        crew = Crew(choose_place(device, compiled=compiled))
        crew.place.set_arithmetic()
        yield crew
        return
    count, local, here = (int(os.environ[name]) for name in ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    if count % here:
        raise UsageError(f"got {here} of {count} processes on this machine, expected as many on each")
    place = choose_place(device, compiled=compiled, local=local, processes=here)
    place.set_arithmetic()
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=place.device.type,
        devices=here,
        num_nodes=count // here,
        strategy=DDPStrategy(cluster_environment=TorchElasticEnvironment()),
    )
    fabric.launch()
    with parting(place.device):
        yield Together(place, fabric)
