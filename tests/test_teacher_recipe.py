"""Teachers learn from the prior, keep their papers, resume to the bit, and refuse packs without priors."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tiny_data import make_pack
from tiny_priors import make_prior_pack

from fsr.export.write_bundle import network_name
from fsr.runtime.errors import CheckpointError, PackError, TrainingStoppedError
from fsr.train.checkpoint import load_checkpoint
from fsr.train.contestants import open_contestants
from fsr.train.loop import LoopConfig, read_log
from fsr.train.networks.compact import CompactConfig
from fsr.train.networks.kdfsrnet import KdfsrConfig
from fsr.train.prior_views import PALETTE, VIEWS, plain_views, view
from fsr.train.priors import prior_channels, read_priors
from fsr.train.recipes import teacher as recipe_module
from fsr.train.recipes.edge import EdgeRecipe, train_edge
from fsr.train.recipes.teacher import TeacherRecipe, train_teacher

COMPACT = CompactConfig("S", 16, 8, prior=VIEWS["channels"])
QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prior_pack(tmp_path_factory.mktemp("packs") / "priors.safetensors").path


def recipe(pack: Path, output: Path, steps: int = 4, **options: object) -> TeacherRecipe:
    base = TeacherRecipe([pack], COMPACT, output, LoopConfig(steps=steps, precision="fp32"), 4, optimizer="muon")
    return replace(base, **options)  # pyright: ignore[reportArgumentType]


def test_a_compact_teacher_uses_its_prior(pack: Path, tmp_path: Path) -> None:
    """The parts are bands of brightness: whoever sees them restores the face better than who does not."""
    loop = LoopConfig(steps=70, precision="fp32", learning_rate=1e-2)
    train_teacher(recipe(pack, tmp_path / "with", loop=loop), QUIET)
    train_edge(EdgeRecipe([pack], COMPACT.edge, tmp_path / "without", loop, batch=4), QUIET)
    seeing, blind = (read_log(tmp_path / name / "log.csv")[-1]["psnr"] for name in ("with", "without"))
    assert seeing > blind + 0.3


def test_the_published_teacher_learns(pack: Path, tmp_path: Path) -> None:
    small = make_prior_pack(tmp_path / "small.safetensors", size=32, train=8, val=2)
    network = KdfsrConfig(4, 8, blocks=1, prior=VIEWS["rendered"])
    loop = LoopConfig(steps=30, precision="fp32", learning_rate=1e-3)
    model = train_teacher(recipe(small.path, tmp_path / "run", network=network, loop=loop, optimizer="adam"), QUIET)
    losses = [row["loss"] for row in read_log(tmp_path / "run" / "log.csv")]
    assert losses[-1] < 0.8 * losses[0]
    checkpoint = load_checkpoint(model)
    assert (checkpoint.network, checkpoint.config) == ("kdfsrnet", network.to_json())


def test_a_teacher_keeps_its_papers_and_is_neither_ranked_nor_deployed(pack: Path, tmp_path: Path) -> None:
    model = train_teacher(recipe(pack, tmp_path / "run", 1), QUIET)
    checkpoint = load_checkpoint(model)
    assert checkpoint.training["recipe"] == "teacher"
    assert checkpoint.training["sees_prior"] is True
    assert checkpoint.training["data"][0]["licence"] == "public domain"
    (contestant,) = open_contestants(model)
    assert (contestant.name, contestant.sees_prior) == ("run (sees the prior)", True)
    with pytest.raises(CheckpointError, match="only edge students are deployed"):
        network_name(checkpoint)


def test_a_teacher_resumes_to_the_same_bits(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_file(train_teacher(recipe(pack, tmp_path / "whole", 20), QUIET))
    stop_at(monkeypatch, recipe_module, 11)
    with pytest.raises(TrainingStoppedError):
        train_teacher(recipe(pack, tmp_path / "cut", 20), QUIET)
    monkeypatch.undo()
    resumed = load_file(train_teacher(recipe(pack, tmp_path / "cut", 20, resume=True), QUIET))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def stop_at(monkeypatch: pytest.MonkeyPatch, module: object, step: int) -> None:
    """Press Ctrl-C when the recipe asks for the priors of that step."""
    import signal

    real, calls = prior_channels, []

    def pressed(*arguments: object):
        calls.append(None)
        if len(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return real(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(module, "prior_channels", pressed)


def test_a_run_with_other_priors_is_not_resumed(pack: Path, tmp_path: Path) -> None:
    train_teacher(recipe(pack, tmp_path / "run", 1), QUIET)
    other = make_prior_pack(tmp_path / "other.safetensors", unreliable=3)
    with pytest.raises(CheckpointError, match="resumed with priors"):
        train_teacher(recipe(other.path, tmp_path / "run", 1, resume=True), QUIET)


def test_a_pack_without_priors_is_refused_before_training(tmp_path: Path) -> None:
    plain = make_pack(tmp_path / "plain.safetensors").path
    with pytest.raises(PackError, match=r"without facial priors; .*prepare --priors"):
        train_teacher(recipe(plain, tmp_path / "run"), QUIET)
    assert not (tmp_path / "run").exists()


def test_the_rendered_view_has_the_colours_of_the_parts(pack: Path) -> None:
    from fsr.train.pack import open_pack

    priors = read_priors(open_pack(pack), "val")
    shown = plain_views(priors, 3, 128)(range(1, 3))
    labels = priors.part_map[1:3]
    colours = torch.tensor(list(PALETTE.values()))[torch.from_numpy(labels).long()].permute(0, 3, 1, 2)
    torch.testing.assert_close(shown, colours)
    maps = torch.rand(1, 12, 4, 4)
    assert view(maps, 12) is maps
