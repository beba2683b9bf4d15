"""Recipe: an edge student from low- and high-resolution faces alone.

packs -> low-resolution pairs -> network -> loss on mirrored batches -> averaged weights -> checkpoint,
with a training curve and a sheet of validation faces beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from ...runtime.errors import CheckpointError, PackError, UsageError
from ..batches import FaceBatches
from ..checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ..degrade import shrink, shrink_from_native
from ..loop import LOG_FILE, LoopConfig, LoopState, read_log, train
from ..losses import LOSSES
from ..metrics import psnr_batch
from ..networks.edge import EdgeConfig, EdgeNet
from ..pack import PackInfo, open_packs, read_split
from ..pictures import save_sheet, save_training_curve
from ..restore import restore

MODEL_FILE = "model.safetensors"
VALIDATION_FACES = 300
SHEET_FACES = 6


@dataclass(frozen=True)
class EdgeRecipe:
    """One run of this recipe."""

    packs: Sequence[Path]
    network: EdgeConfig
    output: Path
    """Folder of the run: checkpoint, state, log, curve and sheet."""
    loop: LoopConfig
    batch: int = 32
    loss: str = "l1"
    """A key of `losses.LOSSES`."""
    native_span: float = 1.0
    """Native sizes of the training faces reach from the input size divided by this to the input size times this."""
    init: Path | None = None
    """Checkpoint to start from."""
    resume: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"--batch: got {self.batch}, expected at least 1")
        if not 1 <= self.native_span <= 4:
            raise UsageError(f"--native-span: got {self.native_span}, expected 1 (exact) to 4, such as 1.5")
        if self.loss not in LOSSES:
            raise UsageError(f"--loss: got {self.loss!r}, expected one of {', '.join(LOSSES)}")


def train_edge(recipe: EdgeRecipe, console: Console | None = None) -> Path:
    """Train as `recipe` says; returns the checkpoint's path."""
    packs = open_packs(recipe.packs, output_size=recipe.network.output_size)
    torch.manual_seed(recipe.loop.seed)
    network = start(recipe, packs[0].framing)
    high = np.concatenate([read_split(pack, "train") for pack in packs])
    low = shrink_from_native(high, recipe.network.input_size, recipe.native_span, recipe.loop.seed)
    batches = FaceBatches(low, high, recipe.batch, recipe.loop.seed)
    validation = Validation(recipe, packs, batches.batch)
    if console and batches.batch < recipe.batch:
        console.print(f"a batch is {batches.batch} faces, not {recipe.batch}: there are no more")

    def loss_of(network: nn.Module, step: int) -> Tensor:
        low, high = batches(step)
        return LOSSES[recipe.loss](network(low).float(), high)

    train(
        network,
        loss_of,
        validation,
        recipe.output,
        recipe.loop,
        identity={
            "network": recipe.network.to_json(),
            "batch": recipe.batch,
            "loss": recipe.loss,
            "native_span": recipe.native_span,
            "data": describe(packs),
        },
        resume=recipe.resume,
        console=console,
    )
    save_training_curve(recipe.output / "curve.png", read_log(recipe.output / LOG_FILE))
    return recipe.output / MODEL_FILE


def start(recipe: EdgeRecipe, framing: str) -> EdgeNet:
    """A new network, or the one of `recipe.init` if it is of the same shape and framing."""
    network = EdgeNet(recipe.network)
    if recipe.init is not None:
        checkpoint = load_checkpoint(recipe.init)
        expected = (recipe.network.to_json(), framing)
        # Places learned from nothing may be added to what was trained without.
        config = {
            **checkpoint.config,
            "positions": checkpoint.config.get("positions", False) or recipe.network.positions,
        }
        if checkpoint.network != "edge" or (config, checkpoint.framing) != expected:
            raise CheckpointError(
                f"--init {recipe.init}: got {checkpoint.network} {checkpoint.config} in {checkpoint.framing} framing, "
                f"expected edge {expected[0]} in {framing} framing"
            )
        network.load_state_dict({**network.state_dict(), **checkpoint.build().state_dict()})
    return network


def describe(packs: Sequence[PackInfo]) -> list[dict[str, Any]]:
    """What a checkpoint says of its data."""
    return [
        {"source": p.source, "licence": p.licence, "faces": p.count("train"), "sha256": p.sha256["train"]}
        for p in packs
    ]


class Validation:
    """Scores the averaged network, saves it, and draws the sheet; a `loop.Observer`."""

    def __init__(self, recipe: EdgeRecipe, packs: Sequence[PackInfo], batch: int) -> None:
        self._recipe, self._packs, self._batch = recipe, packs, batch
        self.high = np.concatenate([read_split(pack, "val") for pack in packs])[:VALIDATION_FACES]
        if not len(self.high):
            raise PackError("got packs without validation faces, expected some; prepare with --val-share above 0")
        self.low = shrink(self.high, recipe.network.input_size)
        self.bicubic = shrink(self.low, recipe.network.output_size)
        self._bicubic_psnr = self._psnr(self.bicubic)

    def _psnr(self, restored: np.ndarray) -> float:
        return float(np.mean(psnr_batch("sparnet", restored, self.high)))

    def __call__(self, averaged: nn.Module, state: LoopState) -> Mapping[str, float]:
        restored = restore(averaged, self.low)
        psnr = self._psnr(restored)
        figures = {"psnr": psnr, "gain": psnr - self._bicubic_psnr}
        recipe = self._recipe
        training = {
            "recipe": "edge",
            "loss": recipe.loss,
            "native_span": recipe.native_span,
            "data": describe(self._packs),
            "steps": state.step,
            "faces_seen": state.step * self._batch,
            "minutes": round(state.seconds / 60, 1),
            "init": load_checkpoint(recipe.init).training if recipe.init else None,
            "validation": {"protocol": "sparnet", **{k: round(v, 3) for k, v in figures.items()}},
        }
        checkpoint = Checkpoint(
            "edge", recipe.network.to_json(), averaged.state_dict(), self._packs[0].framing, training
        )
        save_checkpoint(recipe.output / MODEL_FILE, checkpoint)
        columns = (self.low, self.bicubic, restored, self.high)
        save_sheet(recipe.output / "samples.png", [column[:SHEET_FACES] for column in columns])
        return figures
