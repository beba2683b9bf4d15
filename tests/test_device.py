"""Where training runs is chosen, said and refused in sentences; and a step leaves nothing behind on another device."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import two_processes
from rich.console import Console
from tiny_data import crops
from tiny_priors import make_prior_pack
from torch import nn

from fsr.runtime.errors import EngineUnavailableError, UsageError
from fsr.train import device
from fsr.train.batches import FaceBatches
from fsr.train.checkpoint import Checkpoint, save_checkpoint
from fsr.train.degrade import shrink
from fsr.train.device import CPU, GPU_LOOKS, Place, choose_place, use_bf16
from fsr.train.loop import LoopConfig, follow, make_optimizers
from fsr.train.networks import name_of
from fsr.train.networks.compact import CompactConfig, CompactNet
from fsr.train.networks.edge import EdgeConfig
from fsr.train.networks.kdfsrnet import KdfsrConfig, KdfsrNet
from fsr.train.processes import Crew
from fsr.train.recipes import edge, student, teacher
from fsr.train.recipes.edge import EdgeRecipe, train_edge
from fsr.train.recipes.student import StudentRecipe, train_student
from fsr.train.recipes.teacher import TeacherRecipe, train_teacher
from fsr.train.teachers import Teacher, open_teacher
from fsr.train.tutors import Distillation

COMPACT, PUBLISHED = CompactConfig("S", 16, 8, 12), KdfsrConfig(16, 8, 1, 3)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that multiply bfloat16, as far as torch is asked."""
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_device_name": lambda device: "NVIDIA Test",
        "get_device_capability": lambda device: (8, 0),
        "mem_get_info": lambda device: (1000, 4000),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(device, "find_spec", lambda name: object())


@pytest.mark.usefixtures("two_gpus")
def test_auto_takes_a_gpu_and_says_so() -> None:
    place = choose_place()
    assert (place.device, place.compiled, place.look_every) == (torch.device("cuda:0"), True, GPU_LOOKS)
    assert place.describe("auto") == (
        "in bfloat16 (--precision auto: bfloat16 in hardware) on cuda:0, NVIDIA Test (--device auto: torch sees a GPU),"
        " compiled"
    )
    assert choose_place("cuda").describe("fp32") == "in float32 on cuda:0, NVIDIA Test, compiled"


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_named_by_its_number_and_every_process_takes_its_own() -> None:
    assert choose_place("cuda:1").device == torch.device("cuda:1")
    assert [choose_place("auto", local=n, processes=2).device.index for n in (0, 1)] == [0, 1]
    for asked, processes, message in (
        ("cuda:2", 1, "--device cuda:2: got 2 GPUs, numbered from 0; give one of them"),
        ("auto", 3, "--device auto: got 2 GPUs on this machine for 3 processes, .*--nproc-per-node 2"),
    ):
        with pytest.raises(EngineUnavailableError, match=message):
            choose_place(asked, processes=processes)
    with pytest.raises(UsageError, match="--device cuda:1: got one GPU for 2 processes, expected cuda"):
        choose_place("cuda:1", processes=2)


@pytest.mark.usefixtures("two_gpus")
def test_what_is_not_compiled_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_place(compiled=False).describe("fp32").endswith(", not compiled: --no-compile")
    assert choose_place().without_compiling("a reason").describe("fp32").endswith(", not compiled: a reason")
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    assert choose_place().describe("fp32").endswith(", not compiled: triton is not installed")
    assert "compiled" not in Place().without_compiling("a reason").describe("fp32")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_without_bfloat16_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda:0")
    assert use_bf16("auto", gpu) and not use_bf16("fp32", gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert use_bf16("bf16", gpu) and not use_bf16("auto", gpu)


@pytest.mark.parametrize(
    ("built", "reason"), [(None, "this torch is built without CUDA"), ("12.8", "torch sees no GPU")]
)
def test_without_a_gpu_auto_takes_the_cpu_and_cuda_is_refused(
    monkeypatch: pytest.MonkeyPatch, built: str | None, reason: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_place().describe("fp32").endswith(f"(--device auto: {reason})")
    assert choose_place("cpu") == Place(CPU)
    with pytest.raises(EngineUnavailableError, match=f"--device cuda: {reason}; give --device cpu, or install"):
        choose_place("cuda")


@pytest.mark.parametrize("asked", ["gpu", "cuda:", "cuda:x", "mps", ""])
def test_another_device_is_an_error(asked: str) -> None:
    with pytest.raises(UsageError, match=f"--device: got '{asked}', expected auto, cpu, cuda or one GPU"):
        choose_place(asked)


@pytest.mark.usefixtures("two_gpus")
def test_faces_that_do_not_fit_stay_in_the_computers_memory_and_it_says_so() -> None:
    high = np.array(crops(size=64))
    batches = FaceBatches(shrink(high, 16), high, 4, 0, Crew(Place(torch.device("cuda:0"))))
    assert batches.remarks == [
        "the 24 training faces, 0.0 GB, stay in the computer's memory: they do not fit on cuda:0"
    ]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", [form for form in two_processes.FORMS if form != "qat"])
def test_edge_networks_compile_in_one_piece(form: str) -> None:
    """Traced without a break; `eager` needs no compiler."""
    network, low = two_processes.network_of(form), torch.rand(2, 3, 16, 16)
    compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="eager")
    torch.testing.assert_close(compiled(low)[0], network(low)[0])


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("network", [CompactNet(COMPACT), KdfsrNet(PUBLISHED)], ids=["compact", "kdfsrnet"])
def test_teachers_compile_in_one_piece(network: nn.Module) -> None:
    low, maps = torch.rand(2, 3, 16, 16), torch.rand(2, network.config.prior, 128, 128)  # pyright: ignore
    compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="eager")
    torch.testing.assert_close(compiled(low, maps), network(low, maps))


# PyTorch's device "meta" knows shapes alone, and refuses to compute with what lies on the CPU as a GPU would.
META = torch.device("meta")


class StepWasDone(Exception):
    """Ends a recipe after its step."""


def one_step(network: nn.Module, loss_of: Callable[..., Any], *given: object, crew: Crew, **options: Any) -> nn.Module:
    """Instead of `loop.train`: one step, forwards and backwards."""
    config = LoopConfig(steps=1)
    network = network.to(crew.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizers = (options.get("optimizers_of") or make_optimizers)(network, config)
    loss = loss_of(network, 0, 0.0)
    assert loss.device == crew.device
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    follow(network, network, 0.5)
    raise StepWasDone


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prior_pack(tmp_path_factory.mktemp("packs") / "priors.safetensors", unreliable=2).path


def saved(network: nn.Module, folder: Path) -> Path:
    name, config = name_of(network)
    path = folder / f"{name}.safetensors"
    save_checkpoint(path, Checkpoint(name, config, network.state_dict(), "runtime", {"data": []}))
    return path


EDGE: Mapping[str, Callable[[Path], dict[str, object]]] = {
    "plain": lambda taught_by: {"loss": "psnr"},
    "mirror": lambda taught_by: {"mirror": True, "multitask": 0.1},
    "taught": lambda taught_by: {"distillation": Distillation([taught_by], features=True, live=True)},
}


@pytest.mark.parametrize("form", EDGE)
def test_a_step_of_the_edge_recipe_is_made_on_its_device(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(edge, "train", one_step)
    taught_by = saved(CompactNet(COMPACT), tmp_path)
    network = EdgeConfig("S", 16, 8, positions=True)
    plain = EdgeRecipe([pack], network, tmp_path / "run", LoopConfig(steps=1, precision="fp32"), 4)
    recipe = replace(plain, **EDGE[form](taught_by))  # pyright: ignore[reportArgumentType]
    with pytest.raises(StepWasDone):
        train_edge(recipe, Console(file=io.StringIO()), Crew(Place(META)))


@pytest.mark.parametrize("config", [COMPACT, PUBLISHED])
def test_a_step_of_the_teachers_and_the_students_recipe_is_made_on_its_device(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: CompactConfig | KdfsrConfig
) -> None:
    opened: list[Teacher] = []

    def remembered(path: Path) -> Teacher:
        opened.append(open_teacher(path))
        return opened[-1]

    monkeypatch.setattr(teacher, "train", one_step)
    monkeypatch.setattr(student, "train", one_step)
    monkeypatch.setattr(student, "open_teacher", remembered)
    crew, loop = Crew(Place(META)), LoopConfig(steps=1, precision="fp32")
    with pytest.raises(StepWasDone):
        train_teacher(TeacherRecipe([pack], config, tmp_path / "a", loop, 2), Console(file=io.StringIO()), crew)
    network = CompactNet(config) if isinstance(config, CompactConfig) else KdfsrNet(config)
    taught_by = saved(network, tmp_path)
    recipe = StudentRecipe([pack], taught_by, tmp_path / "b", loop, blocks=1, batch=2, multitask=0.1)
    with pytest.raises(StepWasDone):
        train_student(recipe, Console(file=io.StringIO()), crew)
    assert {weight.device for weight in opened[0].network.parameters()} == {META}
