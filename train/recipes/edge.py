"""Recipe: an edge student from low- and high-resolution faces, and from teachers if there are any.

packs -> low-resolution pairs -> network -> teachers' lessons -> loss on mirrored batches -> averaged weights ->
checkpoint, with a training curve and a sheet of validation faces beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from ...calibration.ranges import METHODS
from ...runtime.errors import CheckpointError, UsageError
from ...runtime.pixels import RgbBatch
from ..batches import FaceBatches
from ..camera import relit
from ..checkpoint import MODEL_FILE, data_of, load_checkpoint
from ..degrade import CLEAN, DEGRADATIONS, ROBUST, degrade
from ..device import use_bf16
from ..distill import Trainee, prior_head, prior_loss
from ..loop import LOG_FILE, LoopConfig, read_log, require_free, train
from ..losses import LOSSES
from ..mirror import is_mirrored, mirror, unmirrored
from ..networks.compact import PRIOR_SIZE
from ..networks.edge import EdgeConfig, EdgeNet
from ..pack import PackInfo, open_packs, read_split
from ..pictures import CURVE_FILE, save_training_curve
from ..priors import CHANNELS, prior_channels, read_priors
from ..processes import Crew
from ..provenance import provenance
from ..qat import FACES, head_in_float, in_int8, to_float, to_int8
from ..reparam import Branches, branch, collapse
from ..restore import restore
from ..state import LoopState
from ..teacher_outputs import Tutor, cache_lessons
from ..tutors import CACHE_FILE, Distillation, Faculty, imitation, lessons_of, match_layers, open_faculty
from ..validation import Validation, describe


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
    distillation: Distillation | None = None
    """What is learned from teachers."""
    multitask: float = 0.0
    """Weight of the loss of the prior that the student predicts from its features in training; 0 for none."""
    branches: Branches | None = None
    """Branches of every layer of the body in training; what is kept is without them."""
    mirror: bool = False
    """Whether the weights are held symmetric, so that a mirrored face comes out mirrored; see `mirror`."""
    qat: str | None = None
    """How ranges are measured, of `calibration.ranges.METHODS`, to compute in int8 while training; None for float."""
    degradation: str = CLEAN
    """Of `degrade.DEGRADATIONS`: how the training faces were seen; robust faces are relit as well."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"--batch: got {self.batch}, expected at least 1")
        if not 1 <= self.native_span <= 4:
            raise UsageError(f"--native-span: got {self.native_span}, expected 1 (exact) to 4, such as 1.5")
        if self.loss not in LOSSES:
            raise UsageError(f"--loss: got {self.loss!r}, expected one of {', '.join(LOSSES)}")
        if self.degradation not in DEGRADATIONS:
            expected = ", ".join(DEGRADATIONS)
            raise UsageError(f"--degradation: got {self.degradation!r}, expected one of {expected}")
        if not self.multitask >= 0:
            raise UsageError(f"--multitask: got {self.multitask}, expected a weight of 0 or more")
        if self.mirror and self.branches:
            raise UsageError("got --mirror and --branches, expected one of them")
        if self.qat:
            self._require_qat(self.qat)

    def _require_qat(self, method: str) -> None:
        if method not in METHODS:
            raise UsageError(f"--qat-method: got {method!r}, expected one of {', '.join(METHODS)}")
        if self.init is None:
            raise UsageError("--qat: got no --init, expected the checkpoint of a trained network to fine-tune")
        if self.branches:
            raise UsageError("got --qat and --branches, expected one of them; fine-tune what a run with branches kept")
        if self.loop.precision == "bf16":
            raise UsageError("got --qat and --precision bf16, expected fp32 or auto: bfloat16 blurs int8's steps")


def train_edge(recipe: EdgeRecipe, console: Console | None = None, crew: Crew | None = None) -> Path:
    """Train as `recipe` says, alone on the CPU unless there is a crew; returns the checkpoint's path."""
    crew = crew or Crew()
    console = console or crew.console()
    require_free(recipe.output, recipe.resume)
    packs = open_packs(recipe.packs, output_size=recipe.network.output_size)
    distillation = recipe.distillation
    faculty = open_faculty(distillation, recipe.network, packs[0].framing) if distillation else Faculty((), None)
    priors = read_priors(packs, "train") if recipe.multitask or faculty.see_priors else None
    torch.manual_seed(recipe.loop.seed)
    student = start(recipe, packs[0].framing)
    high = np.concatenate([read_split(pack, "train") for pack in packs])
    if recipe.degradation == ROBUST:
        high = relit(high, recipe.loop.seed)
    low = degrade(high, recipe.network.input_size, recipe.native_span, recipe.loop.seed, recipe.degradation)
    batches = FaceBatches(low, high, recipe.batch, recipe.loop.seed, crew)
    for remark in batches.remarks:
        console.print(remark)
    about = {**papers(recipe, packs, faculty), **provenance(recipe.loop, crew)}
    observe = EdgeValidation(packs, recipe.network.input_size, recipe.output, batches.batch, about, deployed)
    faculty, adapters = match_layers(
        replace(faculty, priors=priors), student, distillation.layers if distillation else 0, low
    )
    shape = recipe.network
    head = prior_head(shape.channels, len(CHANNELS), PRIOR_SIZE // shape.grid) if recipe.multitask else None
    tutor = hire(recipe, faculty, low, console, crew)
    student = trainable(recipe, student, low, observe, console)
    if recipe.qat:
        crew.place = crew.place.without_compiling("--qat computes int8's steps outside of PyTorch")

    def loss_of(trained: nn.Module, step: int, share: float) -> Tensor:
        assert isinstance(trained, Trainee)
        draw = batches.draw(step)
        low, high = batches.take(draw)
        restored, features = trained(low)
        if distillation and tutor:
            lesson = tutor(draw, low, features=distillation.decay.listens(share))
            adapted = trained.adapters(features) if trained.adapters and lesson.features else ()
            loss = imitation(distillation, LOSSES[recipe.loss], restored.float(), high, adapted, lesson, share)
        else:
            loss = LOSSES[recipe.loss](restored.float(), high)
        if trained.prior_head and priors:
            maps = prior_channels(priors, draw.indices, draw.mirrored, PRIOR_SIZE, low.device)
            reliable = torch.from_numpy(priors.reliable[draw.indices]).to(low.device)
            loss = loss + recipe.multitask * prior_loss(trained.prior_head(features[-1]), maps, reliable)
        return loss

    train(
        Trainee(student, adapters, head),
        loss_of,
        observe,
        recipe.output,
        replace(recipe.loop, precision="fp32") if recipe.qat else recipe.loop,
        identity=identity_of(recipe, packs, faculty),
        resume=recipe.resume,
        console=console,
        crew=crew,
        batch=batches.batch,
    )
    if crew.first:
        save_training_curve(recipe.output / CURVE_FILE, read_log(recipe.output / LOG_FILE))
    return recipe.output / MODEL_FILE


def start(recipe: EdgeRecipe, framing: str) -> EdgeNet:
    """A new network, or the one of `recipe.init` if it is of the same shape and framing."""
    network = EdgeNet(recipe.network)
    if recipe.init is not None:
        checkpoint = load_checkpoint(recipe.init)
        before, expected = checkpoint.build(), recipe.network
        if isinstance(before, EdgeNet):  # places learned from nothing may be added to what was trained without
            expected = replace(expected, positions=before.config.positions) if expected.positions else expected
        if (getattr(before, "config", None), checkpoint.framing) != (expected, framing):
            raise CheckpointError(
                f"--init {recipe.init}: got {checkpoint.network} {checkpoint.config} in {checkpoint.framing} framing, "
                f"expected edge {recipe.network.to_json()} in {framing} framing"
            )
        network.load_state_dict({**network.state_dict(), **before.state_dict()})
    return network


def trainable(
    recipe: EdgeRecipe, student: EdgeNet, low: RgbBatch, observe: EdgeValidation, console: Console
) -> EdgeNet:
    """The student in the form whose weights are trained, in place; low: all training faces."""
    if recipe.branches:
        return branch(student, recipe.branches)
    if recipe.mirror and recipe.init and not is_mirrored(student):
        raise CheckpointError(f"--init {recipe.init}: was trained without --mirror; leave it out, or start anew")
    if recipe.qat:
        before, left = observe.psnr_of(student), ", its head in float" if head_in_float(student) else ""
        student = to_int8(student, low, recipe.qat)
        console.print(
            f"computing in int8{left}, ranges by {recipe.qat} on {min(len(low), FACES)} training faces: "
            f"{observe.psnr_of(student):.3f} dB on the validation faces, {before:.3f} in float"
        )
    return mirror(student) if recipe.mirror else student


def hire(recipe: EdgeRecipe, faculty: Faculty, low: RgbBatch, console: Console, crew: Crew) -> Tutor | None:
    """The teachers themselves, or a file of their lessons on the low faces; None without teachers."""
    faculty.to(crew.device)
    if recipe.distillation is None or recipe.distillation.live:
        return faculty if recipe.distillation else None
    about = {**lessons_of(recipe.distillation, faculty), "precision": recipe.loop.precision}
    cache = recipe.distillation.cache or recipe.output / CACHE_FILE
    bf16 = use_bf16(recipe.loop.precision, crew.device)
    with crew.one_first(), torch.autocast(crew.device.type, torch.bfloat16, enabled=bf16):
        return cache_lessons(cache, faculty, low, about, console, crew.device)


def deployed(trained: nn.Module) -> nn.Module:
    """The student alone, of plain 3x3 convolutions."""
    assert isinstance(trained, Trainee)
    return to_float(unmirrored(collapse(trained.student)))


class EdgeValidation(Validation):
    """Also says what an int8 student scores as such; what is kept and scored first computes in float."""

    def psnr_of(self, student: EdgeNet) -> float:
        """Mean over the validation faces, in dB."""
        return self.psnr(restore(student, self.low))

    def __call__(self, averaged: nn.Module, state: LoopState) -> Mapping[str, float]:
        figures = super().__call__(averaged, state)
        assert isinstance(averaged, Trainee)
        return {**figures, "psnr_int8": self.psnr_of(averaged.student)} if in_int8(averaged.student) else figures


def papers(recipe: EdgeRecipe, packs: Sequence[PackInfo], faculty: Faculty) -> dict[str, Any]:
    """What the checkpoint says of its training from the start."""
    init = load_checkpoint(recipe.init).training if recipe.init else None
    return {
        "recipe": "edge",
        "loss": recipe.loss,
        "native_span": recipe.native_span,
        "data": data_of(describe(packs), *(teacher.checkpoint.training for teacher in faculty.all), init),
        **switches(recipe, faculty),
        "init": init,
    }


def identity_of(recipe: EdgeRecipe, packs: Sequence[PackInfo], faculty: Faculty) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was stopped."""
    needs_priors = recipe.multitask or faculty.see_priors
    return {
        "network": recipe.network.to_json(),
        "batch": recipe.batch,
        "loss": recipe.loss,
        "native_span": recipe.native_span,
        "data": describe(packs),
        **({"init": sha256(recipe.init.read_bytes()).hexdigest()} if recipe.init else {}),
        **({"priors": [asdict(pack.priors) for pack in packs if pack.priors]} if needs_priors else {}),
        **switches(recipe, faculty),
    }


def switches(recipe: EdgeRecipe, faculty: Faculty) -> dict[str, Any]:
    """What was switched on beside the plain recipe."""
    said: dict[str, Any] = {}
    if recipe.distillation:
        how = {"weight": recipe.distillation.weight, "decay": asdict(recipe.distillation.decay)}
        said["distillation"] = {**lessons_of(recipe.distillation, faculty), **how}
    if recipe.multitask:
        said["multitask"] = recipe.multitask
    if recipe.branches:
        said["branches"] = asdict(recipe.branches)
    if recipe.mirror:
        said["mirror"] = True
    if recipe.degradation != CLEAN:
        said["degradation"] = recipe.degradation
    if recipe.qat:
        said["qat"] = {"method": recipe.qat}
    return said
