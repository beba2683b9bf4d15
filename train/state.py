"""The state of a training run on disk: everything that a resumed run needs to go on as if never stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime.errors import CheckpointError
from .tensor_file import open_tensors, read_all, save_tensors


@dataclass
class LoopState:
    """What a resumed run needs beside weights."""

    step: int = 0
    seconds: float = 0.0
    """Training time so far, over all resumptions."""


def save_state(
    path: Path,
    network: nn.Module,
    averaged: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    identity: Mapping[str, Any],
    state: LoopState,
) -> None:
    """Write everything a resumed run needs, whole or not at all."""
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"averaged/{name}": tensor for name, tensor in averaged.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{index}/{key}": value for key, value in values.items()}
    header = {"state": json.dumps(asdict(state)), "identity": json.dumps(identity)}
    save_tensors(path, {name: tensor.contiguous() for name, tensor in tensors.items()}, header)


def load_state(
    path: Path,
    network: nn.Module,
    averaged: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    identity: Mapping[str, Any],
) -> LoopState:
    """Put a saved run back in place.

    Raises:
        CheckpointError: damaged, or the state of a run with other settings.
    """
    with open_tensors(path, "pt", CheckpointError, "start again with another --output") as (file, header):
        tensors = read_all(file)
    saved = json.loads(header["identity"])
    if changed := [key for key in {**saved, **identity} if saved.get(key) != identity.get(key)]:
        key = changed[0]
        raise CheckpointError(
            f"{path}: resumed with {key} = {identity.get(key)!r}, but it was {saved.get(key)!r}; "
            "repeat its settings or choose another --output"
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    network.load_state_dict(part("network/"))
    averaged.load_state_dict(part("averaged/"))
    for number, optimizer in enumerate(optimizers):
        values: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part(f"optimizer/{number}/").items():
            index, key = name.split("/")
            values.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
    return LoopState(**json.loads(header["state"]))
