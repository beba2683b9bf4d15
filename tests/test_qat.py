"""Quantisation-aware training: it computes what the exported int8 file does, and the loss in int8 falls."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from safetensors.torch import load_file
from test_export_cli import assert_one_line
from tiny_data import make_pack
from tiny_models import FRAMING, TRAINING, saved, tiny_checkpoint, tiny_onnx
from torch.nn import functional as F

from fsr.calibration.parity_set import parity_faces
from fsr.export.graph import Graph, read_float_model
from fsr.export.layer_search import cheap_input
from fsr.export.picture_path import MIDDLE
from fsr.export.qdq import layer_name
from fsr.export.quantize import Calibrated, QuantizeConfig
from fsr.export.to_onnx import bilinear_convolution, from_blocks, to_onnx
from fsr.export.write_bundle import history
from fsr.runtime.bundle import default_folder, open_bundle
from fsr.runtime.engines import open_engine
from fsr.runtime.engines.int8 import int8_is_exact
from fsr.runtime.errors import TrainingStoppedError, UsageError
from fsr.runtime.pixels import RgbBatch
from fsr.train.batches import FaceBatches
from fsr.train.checkpoint import Checkpoint, load_checkpoint
from fsr.train.cli import main
from fsr.train.loop import LoopConfig, read_log
from fsr.train.metrics import psnr_batch
from fsr.train.mirror import is_mirrored, mirror, unmirrored
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.qat import Int8Bilinear, Int8Conv, Steps, head_in_float, to_float, to_int8
from fsr.train.recipes.edge import EdgeRecipe, train_edge
from fsr.train.reparam import Branches
from fsr.train.restore import restore

NETWORK = EdgeConfig("S", 16, 8)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("packs") / "faces.safetensors").path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with every fourth channel of a layer 60 times as loud and read as much more quietly.

    In float it computes what it did; in int8, where a tensor has one scale, the other channels have a few steps.
    """
    checkpoint = tiny_checkpoint(16, 8)
    weights = {name: value.clone() for name, value in checkpoint.weights.items()}
    for name in ("weight", "bias"):
        weights[f"body.3.{name}"][::4] *= 60
    weights["body.4.weight"][:, ::4] /= 60
    return saved(replace(checkpoint, weights=weights), tmp_path_factory.mktemp("hostile"))


def recipe(pack: Path, init: Path | None, output: Path, steps: int = 6, **options: object) -> EdgeRecipe:
    base = EdgeRecipe([pack], NETWORK, output, LoopConfig(steps=steps), batch=4, init=init)
    return replace(base, **{"qat": "mse", **options})  # pyright: ignore[reportArgumentType]


def run(settings: EdgeRecipe) -> Path:
    return train_edge(settings, Console(file=io.StringIO()))


def loud(config: EdgeConfig) -> Checkpoint:
    """Random weights, biases and positions."""
    torch.manual_seed(0)
    network = EdgeNet(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias") or name == "positions":
                parameter.normal_(std=0.05)
        network.tail.weight *= 5
    return Checkpoint("edge", config.to_json(), network.state_dict(), FRAMING, TRAINING)


def in_int8(model: bytes, calibrating: RgbBatch, low: RgbBatch) -> RgbBatch:
    """Faces restored by a float ONNX model that is quantised as `fsr-export quantize` would at its first attempt."""
    calibrated = Calibrated.measure(model, calibrating, "minmax")
    quantised = calibrated.quantized(QuantizeConfig(float_layers=cheap_input(calibrated)))
    with open_engine("onnxruntime", quantised, "int8") as engine:
        return engine(low)


@pytest.mark.parametrize(
    ("config", "head_is_int8"),
    [(NETWORK, False), (EdgeConfig("S", 64, 4), True), (EdgeConfig("S", 64, 4, positions=True, tail=1), False)],
)
def test_it_computes_what_the_exported_int8_file_does(config: EdgeConfig, head_is_int8: bool) -> None:
    """Within a grey level at 95% of the values: a sum added up in float may be rounded to the next step, which later
    layers spread. What int8 does to the picture is 20 times as much."""
    if not int8_is_exact("onnxruntime"):
        pytest.skip("this processor's int8 saturates in ONNX Runtime: what it computes is not what the file says")
    checkpoint = tiny_checkpoint(16, 8) if config == NETWORK else loud(config)
    low = parity_faces(FRAMING, config.input_size, config.output_size, 16).low
    student = checkpoint.build()
    assert isinstance(student, EdgeNet)
    in_float = restore(student, low).astype(int)
    ours = restore(to_int8(student, low, "minmax"), low).astype(int)
    assert isinstance(student.head, Int8Conv) == head_is_int8
    theirs = in_int8(tiny_onnx(16, 8) if config == NETWORK else to_onnx(checkpoint), low, low).astype(int)
    apart = np.abs(ours - theirs)
    assert (apart <= 1).mean() > 0.95
    assert apart.mean() < np.abs(in_float - theirs).mean() / 20


@pytest.mark.parametrize("scale", [4, 8])
def test_the_picture_is_enlarged_as_int8_does_it(scale: int) -> None:
    """Wherever the exact value is not halfway between two levels; there to the even one, in part of a batch too."""
    low = np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16)).astype(np.float32)
    kernel = bilinear_convolution(scale, 1)
    with torch.no_grad():
        kernel.weight.mul_(128).round_().div_(128)
        blocks = kernel.double()(F.pad(torch.from_numpy(low).double() - MIDDLE, [1] * 4, mode="replicate"))
    wanted = from_blocks(blocks.round(), scale).permute(0, 3, 1, 2) + MIDDLE
    enlarge, pictures = Int8Bilinear(scale), torch.from_numpy(low) / 255
    assert ((blocks % 1) == 0.5).double().mean() > 0.005
    assert torch.equal((enlarge(pictures) * 255).round(), wanted.float())
    assert torch.equal(enlarge(pictures[:1]), enlarge(pictures)[:1])


def test_a_hostile_network_loses_less_in_int8(pack: Path, hostile: Path, tmp_path: Path) -> None:
    faces = parity_faces(FRAMING, 16, 128, 24)

    def psnr(restored: RgbBatch) -> float:
        return float(psnr_batch("sparnet", restored, faces.high).mean())

    def loss(path: Path) -> float:
        """What int8 loses against the originals, in dB."""
        checkpoint = load_checkpoint(path)
        return psnr(restore(checkpoint.build(), faces.low)) - psnr(in_int8(to_onnx(checkpoint), faces.low, faces.low))

    loop = LoopConfig(steps=80, learning_rate=2e-3, precision="fp32")
    tuned = run(recipe(pack, hostile, tmp_path / "qat", loop=loop))
    plain = run(recipe(pack, hostile, tmp_path / "plain", loop=loop, qat=None))
    before, after, without = loss(hostile), loss(tuned), loss(plain)
    assert before > 2
    assert after < before / 5
    assert after < without / 3


def test_what_is_kept_is_a_float_checkpoint_that_says_so(pack: Path, hostile: Path, tmp_path: Path) -> None:
    said = io.StringIO()
    model = train_edge(recipe(pack, hostile, tmp_path / "run", qat="minmax"), Console(file=said, width=200))
    assert "computing in int8, its head in float, ranges by minmax on 16 training faces: " in said.getvalue()
    assert "training in float32" in said.getvalue()
    checkpoint = load_checkpoint(model)
    assert checkpoint.weights.keys() == EdgeNet(NETWORK).state_dict().keys()
    assert checkpoint.training["qat"] == {"method": "minmax"}
    assert history(checkpoint.training).endswith(", computing in INT8")
    last = read_log(tmp_path / "run" / "log.csv")[-1]
    assert last["psnr_int8"] != last["psnr"]


def test_it_resumes_to_the_same_bits(
    pack: Path, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_file(run(recipe(pack, hostile, tmp_path / "whole", 10)))
    real = FaceBatches.draw

    def draw(batches: FaceBatches, step: int):
        if step == 4:
            signal.raise_signal(signal.SIGINT)
        return real(batches, step)

    monkeypatch.setattr(FaceBatches, "draw", draw)
    with pytest.raises(TrainingStoppedError):
        run(recipe(pack, hostile, tmp_path / "cut", 10))
    monkeypatch.undo()
    assert float(load_file(tmp_path / "cut" / "state.safetensors")["network/student.body.0.reads.scale"]) > 0
    resumed = load_file(run(recipe(pack, hostile, tmp_path / "cut", 10, resume=True)))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_mirrored_network_stays_mirrored(pack: Path, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(16, 8)
    student = checkpoint.build()
    assert isinstance(student, EdgeNet)
    plain = unmirrored(mirror(student))
    init = saved(replace(checkpoint, weights=plain.state_dict()), tmp_path)
    low = parity_faces(FRAMING, 16, 128, 8).low
    # In int8 a tie may fall to another side in the mirror image: not to the bit, but nearly everywhere.
    student = to_int8(plain, low, "mse")
    mirrored = restore(student, np.ascontiguousarray(low[:, :, ::-1]))[:, :, ::-1].astype(int)
    assert (np.abs(mirrored - restore(student, low)) <= 1).mean() > 0.98
    kept = load_checkpoint(run(recipe(pack, init, tmp_path / "run", mirror=True)))
    network = kept.build()
    assert isinstance(network, EdgeNet) and is_mirrored(network)
    assert not torch.equal(network.tail.weight, to_float(student).tail.weight)


def test_gradients_pass_the_rounding_and_stop_at_what_is_clipped() -> None:
    for signed, expected, gradient in (
        (False, [0, 0, 2, 2, 128, 255, 255], [0, 1, 1, 1, 1, 1, 0]),
        (True, [-128, 0, 2, 2, 127, 127, 127], [0, 1, 1, 1, 0, 0, 0]),
    ):
        values = torch.tensor([-130, 0.5, 1.5, 2.5, 127.6, 255, 256]) / 4
        values.requires_grad_()
        rounded = Steps(0.25, signed=signed)(values)
        rounded.sum().backward()
        assert (rounded * 4).tolist() == expected
        assert values.grad is not None and values.grad.tolist() == gradient


def test_the_head_is_in_float_where_export_leaves_it_so() -> None:
    bundle = open_bundle(default_folder())
    for model in bundle.manifest.models:
        graph = Graph(read_float_model(bundle.path(model.files["fp32"]).read_bytes(), model.name))
        head = graph.nodes("Conv")[0]
        positions = [user.op_type for user in graph.users(head.output[0])] == ["Add"]
        calibrated = Calibrated(graph.model, {})
        in_int8 = [layer for layer in calibrated.layers if layer not in cheap_input(calibrated)]
        network = EdgeNet(EdgeConfig(model.tier, model.input_size, model.scale, positions))
        assert head_in_float(network) == (layer_name(head) not in in_int8), model.name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": None}, "--qat: got no --init, expected the checkpoint of a trained network to fine-tune"),
        ({"branches": Branches()}, "got --qat and --branches, expected one of them"),
        ({"loop": LoopConfig(steps=1, precision="bf16")}, "got --qat and --precision bf16, expected fp32 or auto"),
        ({"qat": "median"}, "--qat-method: got 'median', expected one of minmax, entropy, percentile, mse"),
    ],
)
def test_what_does_not_go_together(options: dict[str, object], message: str, tmp_path: Path) -> None:
    fits = recipe(tmp_path / "pack", tmp_path / "init", tmp_path / "run")
    with pytest.raises(UsageError, match=message):
        replace(fits, **options)  # pyright: ignore[reportArgumentType]


def test_the_command(pack: Path, hostile: Path, tmp_path: Path) -> None:
    arguments = ["edge", "-p", str(pack), "-o", str(tmp_path / "run"), "--tier", "S", "--input-size", "16"]
    arguments += ["--scale", "8", "--steps", "1", "--batch", "4", "--qat"]
    assert_one_line(CliRunner().invoke(main, arguments), "--qat: got no --init")
    result = CliRunner().invoke(main, [*arguments, "--init", str(hostile), "--qat-method", "percentile"])
    assert result.exit_code == 0, result.output
    assert load_checkpoint(tmp_path / "run" / "model.safetensors").training["qat"] == {"method": "percentile"}


def test_what_the_command_does_not_say_is_as_in_the_checkpoint(pack: Path, hostile: Path, tmp_path: Path) -> None:
    """Tier M by 32 px x 4 is the default, and 1 that of the tail in tier S."""
    plain = ["edge", "-p", str(pack), "-o", str(tmp_path / "run"), "--steps", "1", "--batch", "4", "--qat"]
    plain += ["--init", str(hostile)]
    result = CliRunner().invoke(main, plain)
    assert result.exit_code == 0, result.output
    config = load_checkpoint(tmp_path / "run" / "model.safetensors").config
    assert config == load_checkpoint(hostile).config and config["tail"] == 3
    plain[plain.index("-o") + 1] = str(tmp_path / "other")
    other = CliRunner().invoke(main, [*plain, "--tier", "L", "--input-size", "16", "--scale", "8"])
    assert_one_line(other, "expected edge {'tier': 'L', 'input_size': 16")
