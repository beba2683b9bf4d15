"""On a real NVIDIA GPU: training gives what the CPU gives, compiled and in bfloat16 too. `pytest -m gpu`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from rich.console import Console
from test_device import COMPACT, saved
from tiny_priors import make_prior_pack

from fsr.train.device import why_no_gpu
from fsr.train.loop import LOG_FILE, LoopConfig, read_log
from fsr.train.networks.compact import CompactNet
from fsr.train.networks.edge import EdgeConfig
from fsr.train.processes import open_crew
from fsr.train.recipes.edge import EdgeRecipe, train_edge
from fsr.train.recipes.student import StudentRecipe, train_student
from fsr.train.recipes.teacher import TeacherRecipe, train_teacher
from fsr.train.tutors import Distillation

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(why_no_gpu()), reason=f"needs a GPU that PyTorch can use: {why_no_gpu()}"),
    pytest.mark.filterwarnings("default"),  # what a compiler warns of is not ours
]
NETWORK = EdgeConfig("S", 16, 8, positions=True)
STEPS = LoopConfig(steps=30, precision="fp32")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prior_pack(tmp_path_factory.mktemp("packs") / "priors.safetensors", unreliable=2).path


def run(train, recipe, device: str, compiled: bool = False) -> tuple[list[dict[str, float]], str]:
    """The log of a run, and what it said."""
    said = io.StringIO()
    with open_crew(device, compiled=compiled) as crew:
        train(recipe, Console(file=said, width=300), crew)
    return read_log(recipe.output / LOG_FILE), said.getvalue()


@pytest.mark.parametrize("compiled", [False, True], ids=["as written", "compiled"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains_as_the_cpu_does(pack: Path, tmp_path: Path, precision: str, compiled: bool) -> None:
    loop = LoopConfig(steps=30, precision=precision)
    here, _ = run(train_edge, EdgeRecipe([pack], NETWORK, tmp_path / "cpu", STEPS, 8), "cpu")
    there, said = run(train_edge, EdgeRecipe([pack], NETWORK, tmp_path / "gpu", loop, 8), "cuda", compiled)
    assert "training faces, 0.0 GB, are on cuda:0" in said
    assert ("compiled" in said) and ("not compiled" in said) is not compiled
    for one, other in zip(here, there, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.02)
        assert other["psnr"] == pytest.approx(one["psnr"], abs=0.1)


FORMS: Mapping[str, dict[str, object]] = {
    "mirror": {"mirror": True, "multitask": 0.1},
    "lessons": {"features": True},
    "live": {"features": True, "live": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_edge_recipe_trains(pack: Path, tmp_path: Path, form: str) -> None:
    options = dict(FORMS[form])
    if form != "mirror":
        options = {"distillation": Distillation([saved(CompactNet(COMPACT), tmp_path)], **options)}  # pyright: ignore
    log, _ = run(train_edge, EdgeRecipe([pack], NETWORK, tmp_path / "run", STEPS, 8, **options), "cuda", True)  # pyright: ignore
    assert log[-1]["loss"] < log[0]["loss"]


def test_int8_is_trained_and_a_run_goes_on(pack: Path, tmp_path: Path) -> None:
    run(train_edge, EdgeRecipe([pack], NETWORK, tmp_path / "float", STEPS, 8), "cuda")
    init = tmp_path / "float" / "model.safetensors"
    log, said = run(train_edge, EdgeRecipe([pack], NETWORK, tmp_path / "int8", STEPS, 8, init=init, qat="mse"), "cuda")
    assert log[-1]["psnr_int8"] > log[0]["psnr_int8"] - 0.1 and "not compiled" in said
    _, said = run(train_edge, EdgeRecipe([pack], NETWORK, tmp_path / "float", STEPS, 8, resume=True), "cpu")
    assert "resumed at step 30" in said


def test_teacher_and_student_train(pack: Path, tmp_path: Path) -> None:
    run(train_teacher, TeacherRecipe([pack], COMPACT, tmp_path / "teacher", STEPS, 4, optimizer="muon"), "cuda", True)
    taught_by = tmp_path / "teacher" / "model.safetensors"
    log, _ = run(train_student, StudentRecipe([pack], taught_by, tmp_path / "student", STEPS, batch=4), "cuda", True)
    assert torch.tensor([row["loss"] for row in log]).isfinite().all()
