"""Recipe: a teacher that sees a facial prior, taken from the original, beside the low-resolution face.

packs with priors -> low-resolution pairs -> network -> loss on mirrored batches -> averaged weights -> checkpoint.
KDFSRNet's teacher or its compact kin; its own figures are never compared with those of networks that see no prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from ...runtime.errors import UsageError
from ..batches import FaceBatches
from ..checkpoint import MODEL_FILE
from ..degrade import shrink
from ..loop import LOG_FILE, LoopConfig, read_log, require_free, train
from ..losses import LOSSES
from ..networks import name_of
from ..networks.compact import CompactConfig, CompactNet
from ..networks.kdfsrnet import KdfsrConfig, KdfsrNet
from ..optimizers import OPTIMIZERS
from ..pack import open_packs, read_split
from ..pictures import CURVE_FILE, save_training_curve
from ..prior_views import plain_views, view
from ..priors import prior_channels, read_priors, require_priors
from ..processes import Crew
from ..provenance import provenance
from ..validation import Validation, describe, validated


@dataclass(frozen=True)
class TeacherRecipe:
    """One run of this recipe."""

    packs: Sequence[Path]
    network: KdfsrConfig | CompactConfig
    """A KDFSRNet with a prior of 0 channels is trained without one, to see what the prior gives."""
    output: Path
    """Folder of the run."""
    loop: LoopConfig
    batch: int = 8
    loss: str = "l1"
    """A key of `losses.LOSSES`."""
    optimizer: str = "adam"
    """A key of `optimizers.OPTIMIZERS`."""
    resume: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"--batch: got {self.batch}, expected at least 1")


def train_teacher(recipe: TeacherRecipe, console: Console | None = None, crew: Crew | None = None) -> Path:
    """Train as `recipe` says, alone on the CPU unless there is a crew; returns the checkpoint's path."""
    crew = crew or Crew()
    console = console or crew.console()
    config = recipe.network
    require_free(recipe.output, recipe.resume)
    packs = open_packs(recipe.packs, output_size=config.output_size)
    if config.prior:
        require_priors(packs)
    high = np.concatenate([read_split(pack, "train") for pack in packs])
    batches = FaceBatches(shrink(high, config.input_size), high, recipe.batch, recipe.loop.seed, crew)
    for remark in batches.remarks:
        console.print(remark)
    priors = read_priors(packs, "train") if config.prior else None
    shown = None
    if config.prior:
        of_faces = read_priors(packs, "val")
        shown = plain_views(of_faces.take(validated(len(of_faces))), config.prior, config.prior_size)
    torch.manual_seed(recipe.loop.seed)
    network = CompactNet(config) if isinstance(config, CompactConfig) else KdfsrNet(config)
    settings = {"loss": recipe.loss, "optimizer": recipe.optimizer, "data": describe(packs)}
    papers = {"recipe": "teacher", "sees_prior": bool(config.prior), **settings, "init": None}
    papers.update(provenance(recipe.loop, crew))
    observe = Validation(packs, config.input_size, recipe.output, batches.batch, papers, prior=shown)

    def loss_of(network: nn.Module, step: int, share: float) -> Tensor:
        draw = batches.draw(step)
        low, high = batches.take(draw)
        if priors is None:
            return LOSSES[recipe.loss](network(low).float(), high)
        maps = prior_channels(priors, draw.indices, draw.mirrored, config.prior_size, low.device)
        return LOSSES[recipe.loss](network(low, view(maps, config.prior)).float(), high)

    name, fields = name_of(network)
    identity: dict[str, Any] = {"network": {name: fields}, "batch": recipe.batch, **settings}
    if config.prior:
        identity["priors"] = [asdict(pack.priors) for pack in packs if pack.priors]
    train(
        network,
        loss_of,
        observe,
        recipe.output,
        recipe.loop,
        identity=identity,
        optimizers_of=OPTIMIZERS[recipe.optimizer],
        resume=recipe.resume,
        console=console,
        crew=crew,
        batch=batches.batch,
    )
    if crew.first:
        save_training_curve(recipe.output / CURVE_FILE, read_log(recipe.output / LOG_FILE))
    return recipe.output / MODEL_FILE
