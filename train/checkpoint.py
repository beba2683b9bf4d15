"""Checkpoints: a network's weights in safetensors, with the network's name and configuration in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..runtime.errors import CheckpointError
from .networks import build_network
from .tensor_file import open_tensors, read_all, save_tensors

FORMAT = "fsr-checkpoint"
VERSION = 1
ADVICE = "train one with fsr-train"
MODEL_FILE = "model.safetensors"
"""In the folder of a run."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what is known of its training."""

    network: str
    """Key of `networks.NETWORKS`."""
    config: dict[str, Any]
    """Fields of the network's configuration."""
    weights: dict[str, Tensor]
    framing: str
    training: dict[str, Any] = field(default_factory=dict)
    """Data with licences, budget, steps and the scores on the validation split."""

    def build(self) -> nn.Module:
        """The network with these weights, in evaluation mode."""
        module = build_network(self.network, self.config)
        try:
            module.load_state_dict(self.weights)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()  # torch lists every tensor below a heading
            raise CheckpointError(f"weights do not fit {self.network} {self.config}: {first}") from error
        return module.eval()


def data_behind(training: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """All data that a checkpoint learned from, and the one that it started from, and so on; None: from nothing."""
    return [] if training is None else data_of(training.get("data", []), training.get("init"))


def data_of(own: Sequence[dict[str, Any]], *before: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """`own`, and all data behind the trainings before, each once: their licences bind what learns from them."""
    every = [*own, *(entry for training in before for entry in data_behind(training))]
    return list({entry["sha256"]: entry for entry in reversed(every)}.values())[::-1]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all."""
    header = {
        "version": VERSION,
        "network": checkpoint.network,
        "config": checkpoint.config,
        "framing": checkpoint.framing,
        "training": checkpoint.training,
    }
    weights = {name: tensor.detach().float().contiguous() for name, tensor in checkpoint.weights.items()}
    save_tensors(path, weights, {FORMAT: json.dumps(header)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: missing, damaged, not a checkpoint, or written by a newer version.
    """
    with open_tensors(path, "pt", CheckpointError, ADVICE) as (file, metadata):
        if FORMAT not in metadata:
            raise CheckpointError(f"{path}: got a safetensors file that is not a checkpoint; {ADVICE}")
        weights = read_all(file)
    header = json.loads(metadata[FORMAT])
    if header["version"] != VERSION:
        raise CheckpointError(
            f"{path}: got checkpoint version {header['version']}, expected {VERSION}; upgrade fsr-edge"
        )
    return Checkpoint(header["network"], header["config"], weights, header["framing"], header["training"])
