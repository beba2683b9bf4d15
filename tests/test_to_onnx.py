"""The exported file is what engines take, and computes what PyTorch computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tiny_models import tiny_checkpoint, tiny_onnx
from torch.nn import functional as F

from fsr.calibration.parity_set import parity_faces
from fsr.export.to_onnx import (
    IR_VERSION,
    OPSET,
    Difference,
    bilinear_convolution,
    check_graph,
    compare,
    from_blocks,
    require_parity,
    to_blocks,
    to_onnx,
)
from fsr.runtime.engines import open_engine
from fsr.runtime.errors import ParityError
from fsr.runtime.pixels import RgbBatch, to_float_nchw
from fsr.train.checkpoint import Checkpoint
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.restore import restore

SHAPES = [(16, 8), (32, 4), (64, 4)]
each_shape = pytest.mark.parametrize(("input_size", "scale"), SHAPES)


def harsh_faces(input_size: int, count: int) -> RgbBatch:
    """Faces of four times the contrast, so that the outputs reach below 0 and above 1."""
    low = parity_faces("runtime", input_size, 128, count).low.astype(np.float64)
    return np.clip((low - 128) * 4 + 128, 0, 255).astype(np.uint8)


def described(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]


@each_shape
def test_takes_and_returns_uint8_nhwc_of_any_batch(input_size: int, scale: int) -> None:
    model = onnx.load_from_string(tiny_onnx(input_size, scale))
    output_size = input_size * scale
    low = ("low", TensorProto.UINT8, ["batch", input_size, input_size, 3])
    restored = ("restored", TensorProto.UINT8, ["batch", output_size, output_size, 3])
    assert [described(value) for value in model.graph.input] == [low]
    assert [described(value) for value in model.graph.output] == [restored]


@pytest.mark.parametrize(("scale", "unshuffle"), [(4, 1), (4, 2), (8, 1)])
def test_the_skip_is_bilinear_enlargement_up_to_the_border(scale: int, unshuffle: int) -> None:
    low = torch.rand(2, 3, 8 * unshuffle, 8 * unshuffle, generator=torch.Generator().manual_seed(scale))
    with torch.no_grad():
        blocks = bilinear_convolution(scale, unshuffle)(F.pad(low, [1] * 4, mode="replicate"))
        enlarged = from_blocks(blocks, scale * unshuffle).permute(0, 3, 1, 2)
    torch.testing.assert_close(enlarged, F.interpolate(low, scale_factor=float(scale), mode="bilinear"))


def test_blocks_hold_the_pixels_and_give_them_back() -> None:
    pixels = torch.arange(2 * 16 * 16 * 3.0).reshape(2, 16, 16, 3)
    blocks = to_blocks(pixels, 8)
    assert blocks[1, 3 * (8 * 2 + 5) + 1, 0, 1] == pixels[1, 2, 8 + 5, 1]
    torch.testing.assert_close(from_blocks(blocks, 8), pixels)


@each_shape
def test_is_of_the_versions_that_old_parsers_read(input_size: int, scale: int) -> None:
    model = onnx.load_from_string(tiny_onnx(input_size, scale))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert (OPSET, model.ir_version, IR_VERSION) == (17, 8, 8)
    assert not model.functions
    onnx.checker.check_model(model, full_check=True)


@each_shape
def test_casts_first_and_last_and_rounds_what_it_has_clipped(input_size: int, scale: int) -> None:
    graph = onnx.load_from_string(tiny_onnx(input_size, scale)).graph
    operators = [node.op_type for node in graph.node if node.op_type != "Constant"]
    assert operators[0] == operators[-1] == "Cast"
    assert operators.count("Cast") == 2
    assert operators.index("Clip") < operators.index("Round") < len(operators) - 1
    assert graph.node[0].input[0] == "low"
    assert graph.node[-1].output[0] == "restored"


@each_shape
def test_says_what_it_is_and_nothing_of_where_it_was_made(input_size: int, scale: int) -> None:
    data = tiny_onnx(input_size, scale)
    model = onnx.load_from_string(data)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said == {"network": "edge", "framing": "runtime", "layout": "uint8 NHWC RGB"}
    assert (model.producer_name, model.producer_version) == ("fsr-edge", "")
    for node in model.graph.node:
        assert not node.metadata_props and not node.doc_string
    here = Path(__file__).resolve()
    for trace in (str(here.parent.parent), str(Path.home()) + "/", "site-packages", ".py", "torch", "namespace"):
        assert trace.encode() not in data, trace


@each_shape
@pytest.mark.parametrize("count", [1, 3, 64])
def test_equals_pytorch_within_a_grey_level(input_size: int, scale: int, count: int) -> None:
    low = harsh_faces(input_size, count)
    with open_engine("onnxruntime", tiny_onnx(input_size, scale)) as engine:
        got = engine(low)
    expected = restore(tiny_checkpoint(input_size, scale).build(), low)
    assert got.shape == expected.shape == (count, input_size * scale, input_size * scale, 3)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_positions_are_exported() -> None:
    network = EdgeNet(EdgeConfig("S", 32, 4, positions=True))
    assert network.positions is not None
    torch.nn.init.normal_(network.positions)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    checkpoint = Checkpoint("edge", network.config.to_json(), network.state_dict(), "runtime")
    assert compare(checkpoint, to_onnx(checkpoint), harsh_faces(32, 8)).max <= 1


@each_shape
def test_those_faces_need_clipping(input_size: int, scale: int) -> None:
    """Or else the test above would not see a graph that wraps around."""
    with torch.inference_mode():
        restored = tiny_checkpoint(input_size, scale).build()(
            torch.from_numpy(to_float_nchw(harsh_faces(input_size, 3)))
        )
    assert (restored < -2 / 255).float().mean() > 0.02
    assert (restored > 257 / 255).float().mean() > 0.02


def test_each_face_is_restored_on_its_own() -> None:
    low = parity_faces("runtime", 16, 128, 3).low
    with open_engine("onnxruntime", tiny_onnx(16, 8)) as engine:
        together, alone = engine(low), np.concatenate([engine(face[None]) for face in low])
    np.testing.assert_allclose(together.astype(int), alone, atol=1)


def tiny_graph(operators: list[str], opset: int = OPSET) -> onnx.ModelProto:
    """uint8 -> float -> the operators -> uint8, each where `operators` names it."""
    nodes, name, tensors = [], "low", {"zero": np.float32(0), "top": np.float32(255)}
    for index, operator in enumerate(operators):
        output = f"value_{index}" if index + 1 < len(operators) else "restored"
        inputs = [name, "zero", "top"] if operator == "Clip" else [name]
        to = TensorProto.FLOAT if index == 0 else TensorProto.UINT8
        nodes.append(helper.make_node(operator, inputs, [output]))
        if operator == "Cast":
            nodes[-1].attribute.append(helper.make_attribute("to", to))
        name = output
    kinds = [TensorProto.UINT8 if operators[end] == "Cast" else TensorProto.FLOAT for end in (0, -1)]
    values = [
        helper.make_tensor_value_info(n, k, ["batch", 16, 16, 3]) for n, k in zip(("low", name), kinds, strict=True)
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), key) for key, value in tensors.items()]
    graph = helper.make_graph(nodes, "tiny", values[:1], values[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def test_accepts_the_layout_it_asks_for() -> None:
    check_graph(tiny_graph(["Cast", "Relu", "Clip", "Round", "Cast"]))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (tiny_graph(["Cast", "Relu", "Clip", "Round", "Cast"], opset=18), "got an ONNX file of opset 18, expected 17"),
        (tiny_graph(["Cast", "Relu", "Clip", "Cast"]), "expected Cast ... Clip, Round, Cast"),
        (tiny_graph(["Cast", "Relu", "Round", "Cast"]), "expected Cast ... Clip, Round, Cast"),
        (tiny_graph(["Cast", "Clip", "Round"]), "expected Cast ... Clip, Round, Cast"),
        (tiny_graph(["Relu", "Clip", "Round"]), "expected Cast ... Clip, Round, Cast"),
        (tiny_graph(["Cast", "Round", "Clip", "Relu", "Relu", "Relu", "Relu", "Cast"]), "expected Cast ... Clip"),
    ],
    ids=["opset", "no Round", "no Clip", "no last Cast", "no Cast", "not at the end"],
)
def test_refuses_another_graph(model: onnx.ModelProto, message: str) -> None:
    with pytest.raises(ParityError, match=message):
        check_graph(model)


def changed(model: bytes, name: str, amount: float) -> bytes:
    """The model with every value of one of its tensors moved."""
    proto = onnx.load_from_string(model)
    (tensor,) = (entry for entry in proto.graph.initializer if entry.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(amount), name))
    return proto.SerializeToString()


def test_compare_finds_them_equal() -> None:
    low = parity_faces("runtime", 16, 128).low
    difference = compare(tiny_checkpoint(16, 8), tiny_onnx(16, 8), low)
    assert difference.faces == 64
    assert difference.max <= 1
    assert difference.mean < 0.01
    require_parity(difference)


def test_compare_finds_a_changed_bias() -> None:
    """Of the tail, by 10 grey levels: so far apart is every pixel that is not clipped."""
    low = parity_faces("runtime", 16, 128, 5).low
    model = changed(tiny_onnx(16, 8), "tail.bias", 10)
    difference = compare(tiny_checkpoint(16, 8), model, low, batch=2)
    assert difference.faces == 5
    assert difference.max in (10, 11)
    assert difference.mean == pytest.approx(10, abs=0.6)
    with pytest.raises(ParityError, match=r"by up to 1[01] grey levels on 5 faces, expected at most 1; nothing was"):
        require_parity(difference)


def test_one_grey_level_is_parity_and_two_are_not() -> None:
    require_parity(Difference(faces=3, max=1, mean=0.9))
    with pytest.raises(ParityError) as caught:
        require_parity(Difference(faces=3, max=2, mean=0.0001))
    assert caught.value.exit_code == 3
