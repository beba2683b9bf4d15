"""The teachers of an edge student: which they are, what they give, and how they give it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..runtime.errors import UsageError
from ..runtime.pixels import RgbBatch
from .batches import Draw, faces_of
from .distill import Adapters, Decay, evenly, feature_loss, require_fit
from .networks.edge import EdgeConfig, EdgeNet
from .priors import Priors, prior_channels
from .teacher_outputs import Lesson
from .teachers import Teacher, open_teacher, require_same_task

CACHE_FILE = "lessons.safetensors"


@dataclass(frozen=True)
class Distillation:
    """What an edge student learns from trained networks."""

    teachers: Sequence[Path]
    """Checkpoints; the mean of their outputs teaches, and the features of the first."""
    students: Sequence[Path] = ()
    """Checkpoints whose outputs teach instead of the teachers': a published student beside its own teacher."""
    output: bool = True
    """Whether outputs are distilled."""
    features: bool = False
    """Whether features are distilled, through 1x1 adapters."""
    weight: float = 0.5
    """Of the loss against the teachers' output; the loss against the original has the rest."""
    decay: Decay = field(default_factory=lambda: Decay(features=0.003, share=0.3))
    """Of the features' loss."""
    layers: int = 3
    """Layers whose features are distilled, at equal distances."""
    live: bool = False
    """Whether the teachers run at every step; otherwise once, into `cache`."""
    cache: Path | None = None
    """File of the lessons, which runs on the same faces may share; by default in the folder of the run."""

    def __post_init__(self) -> None:
        if not self.teachers:
            raise UsageError("--student: got it without --teacher; give it as --teacher to distil its output")
        if self.students and not (self.output and self.features):
            idle = "--student" if self.features else "--teacher"
            raise UsageError(
                f"--student: got only one of output and features in --distill, so that no {idle} would teach; expected "
                "--distill output,features, or one --teacher alone"
            )
        if self.live and self.cache is not None:
            raise UsageError("got --live-teacher and --teacher-cache, expected one of them")
        if not (self.output or self.features):
            raise UsageError("--distill: got nothing, expected output, features or both")
        if not 0 <= self.weight <= 1:
            raise UsageError(f"--distill-weight: got {self.weight}, expected 0 (the original) to 1 (the teacher)")
        if self.layers < 1:
            raise UsageError(f"--feature-layers: got {self.layers}, expected at least 1")


def parts_named(text: str) -> tuple[bool, bool]:
    """Whether output and features are distilled, from a list such as `output,features`.

    Raises:
        UsageError: something else is named.
    """
    names = {name.strip() for name in text.split(",")}
    if not names <= {"output", "features"}:
        raise UsageError(f"--distill: got {text!r}, expected output, features or output,features")
    return "output" in names, "features" in names


@dataclass(frozen=True)
class Faculty:
    """Opened teachers; a `Tutor` that runs them."""

    output: Sequence[Teacher]
    """The mean of their outputs is given; may be none."""
    features: Teacher | None
    layers: Sequence[int] = ()
    """Of the features that are given."""
    priors: Priors | None = None
    """Of the training faces, for teachers that see them."""

    @property
    def all(self) -> list[Teacher]:
        """Every teacher, once."""
        return once([*self.output, self.features])

    def to(self, device: torch.device) -> Faculty:
        """The same, their networks moved to `device`."""
        for teacher in self.all:
            teacher.network.to(device)
        return self

    @property
    def see_priors(self) -> bool:
        return any(teacher.prior for teacher in self.all)

    def __call__(self, draw: Draw, low: Tensor, *, features: bool = True) -> Lesson:
        source = self.features if features else None
        said = {teacher.path: self.say(teacher, draw, low) for teacher in once([*self.output, source])}
        outputs = [said[teacher.path][0].float() for teacher in self.output]
        chosen = [said[source.path][1][layer] for layer in self.layers] if source else []
        return Lesson(torch.stack(outputs).mean(0) if outputs else None, chosen)

    def say(self, teacher: Teacher, draw: Draw, low: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What one teacher makes of the low faces as drawn: restored faces and features."""
        if not teacher.prior:
            return teacher(low)
        assert self.priors is not None
        return teacher(low, prior_channels(self.priors, draw.indices, draw.mirrored, teacher.prior_size, low.device))


def once(teachers: Sequence[Teacher | None]) -> list[Teacher]:
    """The teachers without repetitions and gaps."""
    return list({teacher.path: teacher for teacher in teachers if teacher}.values())


def open_faculty(distillation: Distillation, network: EdgeConfig, framing: str) -> Faculty:
    """Open the teachers and check them against the student.

    Raises:
        CheckpointError: one is damaged, or restores faces of another size, scale or framing.
    """
    teachers = [open_teacher(path) for path in distillation.teachers]
    students = [open_teacher(path) for path in distillation.students]
    for teacher in (*teachers, *students):
        require_same_task(teacher, network.input_size, network.scale, framing)
    return Faculty(students or teachers if distillation.output else [], teachers[0] if distillation.features else None)


def match_layers(faculty: Faculty, student: EdgeNet, most: int, low: RgbBatch) -> tuple[Faculty, Adapters | None]:
    """Choose up to `most` layers whose features are distilled, and make the student's adapters to them.

    low: training faces, uint8 (N, h, h, 3); one is looked at.

    Raises:
        CheckpointError: features are of other sizes.
    """
    if faculty.features is None:
        return faculty, None
    draw = Draw(np.zeros(1, np.int64), np.zeros(1, bool))
    face = faces_of(low, draw)
    theirs, ours = faculty.say(faculty.features, draw, face)[1], student.with_features(face)[1]
    count = min(most, len(theirs), len(ours))
    places, layers = evenly(len(ours), count), evenly(len(theirs), count)
    ours, theirs = [ours[place] for place in places], [theirs[layer] for layer in layers]
    require_fit(f"--teacher {faculty.features.path}", ours, theirs)
    adapters = Adapters(places, [feature.shape[1] for feature in ours], [feature.shape[1] for feature in theirs])
    return replace(faculty, layers=layers), adapters


def imitation(
    distillation: Distillation,
    criterion: Callable[[Tensor, Tensor], Tensor],
    restored: Tensor,
    high: Tensor,
    adapted: Sequence[Tensor],
    lesson: Lesson,
    share_done: float,
) -> Tensor:
    """The loss of a student with a teacher: (1 - w) against the original, w against the lesson, and the features'.

    restored, high: float (B, 3, H, H); adapted: the student's features after their adapters, if `lesson` has features.
    """
    loss = criterion(restored, high)
    if lesson.output is not None:
        loss = (1 - distillation.weight) * loss + distillation.weight * criterion(restored, lesson.output)
    if lesson.features:
        weight = distillation.decay.feature_weight(share_done)
        loss = loss + weight * feature_loss(adapted, lesson.features, relative=True)
    return loss


def lessons_of(distillation: Distillation, faculty: Faculty) -> dict[str, Any]:
    """What the lessons depend on beside the faces: teachers by the hashes of their files, and the layers."""
    return {
        "output": [teacher.sha256 for teacher in faculty.output],
        "features": faculty.features.sha256 if faculty.features else None,
        "layers": distillation.layers if faculty.features else 0,
    }
