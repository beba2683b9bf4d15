"""Recipe: a student that learns what its teacher knows of the facial prior, and needs none.

packs with priors -> low-resolution pairs -> frozen teacher beside the student -> loss against original, features and
output, by the published decay -> averaged weights -> checkpoint. KDFSRNet's teacher gets KDFSRNet's student; a compact
teacher gets the edge network of its tier, whose features have the same shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from ...runtime.errors import CheckpointError, UsageError
from ..batches import FaceBatches
from ..checkpoint import MODEL_FILE, data_of
from ..degrade import shrink
from ..distill import Decay, Trainee, feature_loss, prior_head, prior_loss
from ..loop import LOG_FILE, LoopConfig, read_log, require_free, train
from ..losses import LOSSES, l1
from ..networks import name_of
from ..networks.compact import PRIOR_SIZE, CompactNet
from ..networks.edge import EdgeNet
from ..networks.kdfsrnet import BLOCKS, CHANNELS, KdfsrConfig, KdfsrNet
from ..optimizers import OPTIMIZERS
from ..pack import open_packs, read_split
from ..pictures import CURVE_FILE, save_training_curve
from ..priors import CHANNELS as PRIOR_CHANNELS
from ..priors import prior_channels, read_priors
from ..processes import Crew
from ..provenance import provenance
from ..teachers import Teacher, open_teacher, require_same_task
from ..validation import Validation, describe


@dataclass(frozen=True)
class StudentRecipe:
    """One run of this recipe."""

    packs: Sequence[Path]
    teacher: Path
    """Checkpoint of fsr-train teacher; the student restores what it restores."""
    output: Path
    """Folder of the run."""
    loop: LoopConfig
    blocks: int = BLOCKS["student"]
    """Residual blocks in each stage of a KDFSRNet."""
    batch: int = 8
    loss: str = "l1"
    """Against the original: a key of `losses.LOSSES`."""
    optimizer: str = "adam"
    """A key of `optimizers.OPTIMIZERS`."""
    decay: Decay = field(default_factory=Decay)
    """How much the teacher counts, and for how long."""
    multitask: float = 0.0
    """Weight of the loss of the prior that the student predicts from its last feature in training; 0 for none. The
    value and the form of the loss are a choice of this project."""
    resume: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"--batch: got {self.batch}, expected at least 1")
        if not self.multitask >= 0:
            raise UsageError(f"--multitask: got {self.multitask}, expected a weight of 0 or more")


def train_student(recipe: StudentRecipe, console: Console | None = None, crew: Crew | None = None) -> Path:
    """Train as `recipe` says, alone on the CPU unless there is a crew; returns the checkpoint's path."""
    crew = crew or Crew()
    console = console or crew.console()
    require_free(recipe.output, recipe.resume)
    teacher = open_teacher(recipe.teacher)
    torch.manual_seed(recipe.loop.seed)
    student = student_of(teacher, recipe.blocks)
    config: Any = student.config
    packs = open_packs(recipe.packs, output_size=config.output_size)
    require_same_task(teacher, config.input_size, config.scale, packs[0].framing)
    priors = read_priors(packs, "train")
    high = np.concatenate([read_split(pack, "train") for pack in packs])
    batches = FaceBatches(shrink(high, config.input_size), high, recipe.batch, recipe.loop.seed, crew)
    for remark in batches.remarks:
        console.print(remark)
    head = head_of(student) if recipe.multitask else None
    settings = {
        "loss": recipe.loss,
        "optimizer": recipe.optimizer,
        "teacher": teacher.sha256,
        "decay": asdict(recipe.decay),
        "multitask": recipe.multitask,
    }
    data = data_of(describe(packs), teacher.checkpoint.training)
    papers = {"recipe": "student", **settings, "data": data, "init": None, **provenance(recipe.loop, crew)}
    observe = Validation(packs, config.input_size, recipe.output, batches.batch, papers, alone)
    teacher.network.to(crew.device)

    def loss_of(trained: nn.Module, step: int, share: float) -> Tensor:
        assert isinstance(trained, Trainee)
        draw = batches.draw(step)
        low, high = batches.take(draw)
        restored, features = trained(low)
        loss = LOSSES[recipe.loss](restored.float(), high)
        if not (recipe.decay.listens(share) or trained.prior_head):
            return loss
        maps = prior_channels(priors, draw.indices, draw.mirrored, teacher.prior_size, low.device)
        if recipe.decay.listens(share):
            taught, lessons = teacher(low, maps)
            loss = loss + recipe.decay.feature_weight(share) * feature_loss(features, lessons)
            loss = loss + recipe.decay.output_weight(share) * l1(restored.float(), taught.float())
        if trained.prior_head:
            reliable = torch.from_numpy(priors.reliable[draw.indices]).to(low.device)
            loss = loss + recipe.multitask * prior_loss(trained.prior_head(features[-1]), maps, reliable)
        return loss

    name, fields = name_of(student)
    train(
        Trainee(student, prior_head=head),
        loss_of,
        observe,
        recipe.output,
        recipe.loop,
        identity={
            "network": {name: fields},
            "batch": recipe.batch,
            **settings,
            "data": describe(packs),
            "priors": [asdict(pack.priors) for pack in packs if pack.priors],
        },
        optimizers_of=OPTIMIZERS[recipe.optimizer],
        resume=recipe.resume,
        console=console,
        crew=crew,
        batch=batches.batch,
    )
    if crew.first:
        save_training_curve(recipe.output / CURVE_FILE, read_log(recipe.output / LOG_FILE))
    return recipe.output / MODEL_FILE


def alone(trained: nn.Module) -> nn.Module:
    """The student without the parts that exist only in training."""
    assert isinstance(trained, Trainee)
    return trained.student


def student_of(teacher: Teacher, blocks: int) -> EdgeNet | KdfsrNet:
    """A new student whose features have the shapes of its teacher's.

    Raises:
        CheckpointError: the teacher sees no prior.
    """
    network = teacher.network
    if isinstance(network, KdfsrNet) and network.config.prior:
        return KdfsrNet(KdfsrConfig(network.config.input_size, network.config.scale, blocks))
    if isinstance(network, CompactNet):
        return EdgeNet(network.config.edge)
    raise CheckpointError(
        f"--teacher {teacher.path}: got {teacher.checkpoint.network} without a prior, expected a checkpoint of "
        "fsr-train teacher; from a network without one distil with fsr-train edge --teacher"
    )


def head_of(student: EdgeNet | KdfsrNet) -> nn.Module:
    """From the student's last feature to `priors.prior_channels`."""
    if isinstance(student, EdgeNet):
        return prior_head(student.config.channels, len(PRIOR_CHANNELS), PRIOR_SIZE // student.config.grid)
    return prior_head(CHANNELS, len(PRIOR_CHANNELS), 1)
