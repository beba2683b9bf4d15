"""Students learn their teacher's features, need no prior afterwards, resume to the bit, and refuse misfits."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from test_teacher_recipe import stop_at
from tiny_data import make_pack
from tiny_priors import make_prior_pack

from fsr.export.write_bundle import network_name
from fsr.runtime.errors import CheckpointError, PackError, TrainingStoppedError
from fsr.train.batches import FaceBatches
from fsr.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fsr.train.contestants import open_contestants
from fsr.train.degrade import shrink
from fsr.train.distill import Decay, feature_loss
from fsr.train.loop import LoopConfig, read_log
from fsr.train.networks.compact import CompactConfig
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.networks.kdfsrnet import KdfsrConfig, KdfsrNet
from fsr.train.pack import open_pack, read_split
from fsr.train.priors import prior_channels, read_priors
from fsr.train.recipes import student as recipe_module
from fsr.train.recipes.student import StudentRecipe, train_student
from fsr.train.recipes.teacher import TeacherRecipe, train_teacher
from fsr.train.teachers import open_teacher

QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prior_pack(tmp_path_factory.mktemp("packs") / "priors.safetensors", unreliable=2).path


@pytest.fixture(scope="module")
def teacher(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    loop = LoopConfig(steps=20, precision="fp32", learning_rate=1e-2)
    output = tmp_path_factory.mktemp("teacher")
    return train_teacher(TeacherRecipe([pack], CompactConfig("S", 16, 8, 12), output, loop, 4, optimizer="muon"), QUIET)


def recipe(pack: Path, teacher: Path, output: Path, steps: int = 4, **options: object) -> StudentRecipe:
    loop = LoopConfig(steps=steps, precision="fp32", learning_rate=1e-2)
    base = StudentRecipe([pack], teacher, output, loop, batch=4, optimizer="muon")
    return replace(base, **options)  # pyright: ignore[reportArgumentType]


def distance(student: Path, teacher: Path, pack: Path) -> float:
    """How far the student's features are from its teacher's."""
    high, priors = read_split(open_pack(pack), "train"), read_priors(open_pack(pack), "train")
    batches = FaceBatches(shrink(high, 16), high, 8, seed=5)
    draw = batches.draw(0)
    low, _ = batches.take(draw)
    network = load_checkpoint(student).build()
    assert isinstance(network, EdgeNet)
    with torch.no_grad():
        theirs = open_teacher(teacher)(low, prior_channels(priors, draw.indices, draw.mirrored, 128))[1]
        return float(feature_loss(network.with_features(low)[1], theirs))


def test_a_student_comes_nearer_to_its_teachers_features(pack: Path, teacher: Path, tmp_path: Path) -> None:
    listening = train_student(recipe(pack, teacher, tmp_path / "a", 60, decay=Decay(share=1.0)), QUIET)
    alone = train_student(recipe(pack, teacher, tmp_path / "b", 60, decay=Decay(0.0, 0.0, 1.0)), QUIET)
    assert distance(listening, teacher, pack) < 0.6 * distance(alone, teacher, pack)


def test_a_student_of_a_compact_teacher_is_deployed_without_a_prior(pack: Path, teacher: Path, tmp_path: Path) -> None:
    model = train_student(recipe(pack, teacher, tmp_path / "run", multitask=0.1), QUIET)
    checkpoint = load_checkpoint(model)
    assert network_name(checkpoint) == "edge-S-16x8"
    assert checkpoint.weights.keys() == EdgeNet(EdgeConfig("S", 16, 8)).state_dict().keys()
    assert checkpoint.training["teacher"] == open_teacher(teacher).sha256
    assert len(checkpoint.training["data"]) == 1, "the teacher's data is the student's"
    assert [c.input_size for c in open_contestants(model)] == [16]


def test_the_published_pair_learns(tmp_path: Path) -> None:
    """Full structure, one block a stage, 32 px: all nine features, the output and the prior."""
    small = make_prior_pack(tmp_path / "small.safetensors", size=32, train=8, val=2).path
    shape = KdfsrConfig(4, 8, 1, prior=3)
    loop = LoopConfig(steps=10, precision="fp32", learning_rate=1e-3)
    taught = train_teacher(TeacherRecipe([small], shape, tmp_path / "teacher", loop, 4), QUIET)
    loop = LoopConfig(steps=20, precision="fp32", learning_rate=1e-3)
    options = {"optimizer": "adam", "blocks": 2, "loop": loop, "decay": Decay(share=1.0), "multitask": 0.1}
    model = train_student(recipe(small, taught, tmp_path / "run", **options), QUIET)  # pyright: ignore[reportArgumentType]
    losses = [row["loss"] for row in read_log(tmp_path / "run" / "log.csv")]
    assert losses[-1] < 0.6 * losses[0]
    network = load_checkpoint(model).build()
    assert isinstance(network, KdfsrNet)
    assert network.config == KdfsrConfig(4, 8, 2)
    assert [c.output_size for c in open_contestants(model)] == [32]


def test_the_prior_is_predicted_where_it_is_asked_for(pack: Path, teacher: Path, tmp_path: Path) -> None:
    runs = [
        load_file(train_student(recipe(pack, teacher, tmp_path / str(weight), multitask=weight), QUIET))
        for weight in (0.0, 10.0)
    ]
    assert not torch.equal(runs[0]["body.0.weight"], runs[1]["body.0.weight"])


@pytest.mark.parametrize("multitask", [0.0, 0.1])
def test_a_student_resumes_to_the_same_bits(
    pack: Path, teacher: Path, tmp_path: Path, multitask: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while the teacher still counts."""
    options = {"multitask": multitask, "decay": Decay(share=0.7)}
    whole = load_file(train_student(recipe(pack, teacher, tmp_path / "whole", 20, **options), QUIET))
    stop_at(monkeypatch, recipe_module, 9)
    with pytest.raises(TrainingStoppedError):
        train_student(recipe(pack, teacher, tmp_path / "cut", 20, **options), QUIET)
    monkeypatch.undo()
    resumed = load_file(train_student(recipe(pack, teacher, tmp_path / "cut", 20, resume=True, **options), QUIET))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_run_is_resumed_with_its_own_teacher_alone(pack: Path, teacher: Path, tmp_path: Path) -> None:
    train_student(recipe(pack, teacher, tmp_path / "run", 1), QUIET)
    checkpoint = load_checkpoint(teacher)
    checkpoint.weights["edge.head.bias"] += 1
    save_checkpoint(tmp_path / "other.safetensors", checkpoint)
    with pytest.raises(CheckpointError, match="resumed with teacher"):
        train_student(recipe(pack, tmp_path / "other.safetensors", tmp_path / "run", 1, resume=True), QUIET)


def test_packs_and_teachers_that_do_not_fit_are_refused_before_training(
    pack: Path, teacher: Path, tmp_path: Path
) -> None:
    edge = EdgeNet(EdgeConfig("S", 16, 8))
    save_checkpoint(
        tmp_path / "edge.safetensors", Checkpoint("edge", edge.config.to_json(), edge.state_dict(), "runtime")
    )
    other = make_prior_pack(tmp_path / "other.safetensors", framing="celeba178").path
    large = make_prior_pack(tmp_path / "large.safetensors", size=64).path
    plain = make_pack(tmp_path / "plain.safetensors").path
    for faces, path, error, message in (
        (pack, tmp_path / "edge.safetensors", CheckpointError, r"got edge without a prior, .*fsr-train edge --teacher"),
        (other, teacher, CheckpointError, "got a teacher of runtime framing, expected celeba178 as the packs"),
        (large, teacher, PackError, "got crops of 64 px, expected 128 px"),
        (plain, teacher, PackError, "without facial priors"),
        (pack, tmp_path / "none", CheckpointError, "no such file"),
    ):
        with pytest.raises(error, match=message):
            train_student(recipe(faces, path, tmp_path / "run"), QUIET)
        assert not (tmp_path / "run").exists()
