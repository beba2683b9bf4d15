"""Q/DQ in a graph: where it stands, what it computes, and that the validator sees every way to get it wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from tiny_models import FRAMING, tiny_onnx

from fsr.calibration.int8 import MAX_BIAS, PAIR, weight_scales
from fsr.calibration.parity_set import parity_faces
from fsr.export.graph import Graph, read_float_model
from fsr.export.placement import broken_rules, require_placement
from fsr.export.qdq import to_int8
from fsr.export.quantize import Calibrated, QuantizeConfig
from fsr.export.to_onnx import bilinear_convolution
from fsr.runtime.errors import InputError, ParityError
from fsr.runtime.pixels import RgbBatch

HEAD, TAIL = "head", "tail"


def low(input_size: int, count: int = 16) -> RgbBatch:
    return parity_faces(FRAMING, input_size, 128, count).low


@pytest.fixture(scope="module")
def calibrated() -> Calibrated:
    return Calibrated.measure(tiny_onnx(16, 8), low(16), "minmax")


@pytest.fixture(scope="module")
def by_four() -> Calibrated:
    """Of a network whose enlargement is computed in INT8 too."""
    return Calibrated.measure(tiny_onnx(64, 4), low(64), "minmax")


@pytest.fixture
def model(calibrated: Calibrated) -> ModelProto:
    return onnx.load_model_from_string(calibrated.quantized(QuantizeConfig()))


def optimised_operators(model: bytes, path: Path) -> Counter[str]:
    """What ONNX Runtime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("kept", [(), (HEAD,)])
def test_onnx_runtime_runs_every_layer_in_int8(kept: tuple[str, ...], calibrated: Calibrated, tmp_path: Path) -> None:
    operators = optimised_operators(calibrated.quantized(QuantizeConfig(float_layers=kept)), tmp_path / "o.onnx")
    assert operators["QLinearConv"] == len(calibrated.layers) - len(kept) == 11 - len(kept)
    assert operators["Conv"] + operators["FusedConv"] == len(kept)
    assert operators["Relu"] == 0
    assert operators["QLinearAdd"] == 1
    assert operators["Clip"] == operators["Round"] == 0


def test_onnx_runtime_runs_every_layer_in_int8_where_it_enlarges_by_4(by_four: Calibrated, tmp_path: Path) -> None:
    operators = optimised_operators(by_four.quantized(QuantizeConfig()), tmp_path / "o.onnx")
    assert (operators["QLinearConv"], operators["Conv"] + operators["FusedConv"]) == (7, 0)
    assert operators["QLinearAdd"] == 1
    assert operators["Clip"] == operators["Round"] == 0


def test_the_reason_for_leaving_zero_points_out_still_holds(calibrated: Calibrated, tmp_path: Path) -> None:
    """Were they written out, ONNX Runtime would compute nearly every layer in float; if that changes, write them."""
    operators = optimised_operators(calibrated.quantized(QuantizeConfig(tensorrt_8=True)), tmp_path / "o.onnx")
    assert operators["FusedConv"] >= 8


def test_both_layouts_agree_where_nothing_is_clipped(calibrated: Calibrated) -> None:
    fast, strict = (calibrated.quantized(QuantizeConfig(tensorrt_8=strict)) for strict in (False, True))
    a, b = (np.asarray(onnxruntime.InferenceSession(m).run(None, {"low": low(16)})[0], int) for m in (fast, strict))
    assert np.abs(a - b).mean() < 0.3  # grey levels: float sums in another order, where a step rounds the other way
    assert len(fast) < 0.5 * len(strict)  # weights are stored in a quarter of the bytes


def test_int8_weights_are_those_of_the_float_model(calibrated: Calibrated, model: ModelProto) -> None:
    floats, graph = Graph(calibrated.model), Graph(model)
    weights = [dequantize for conv in graph.nodes("Conv") if (dequantize := graph.maker(conv.input[1])) is not None]
    assert len(weights) == len(calibrated.layers)
    for dequantize in weights:
        stored, scale = (graph.constants[name] for name in dequantize.input[:2])
        assert stored.dtype == np.int8
        name = dequantize.input[0].removesuffix("_q")
        least = 40 if name == "skip.weight" else 63  # every channel uses its range
        assert np.abs(stored.astype(int)).reshape(len(stored), -1).max(1).min() >= least
        original = floats.constants[name]
        assert np.abs(stored * scale.reshape(-1, 1, 1, 1) - original).max() <= 0.5001 * scale.max()


def test_a_way_around_the_network_whose_weights_int8_cannot_hold_stays_in_float(calibrated: Calibrated) -> None:
    """Rounded to 7 bits, any others would show as a pattern."""
    other = ModelProto()
    other.CopyFrom(calibrated.model)
    weights = next(tensor for tensor in other.graph.initializer if tensor.name == "skip.weight")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(0.99), weights.name))
    graph = Graph(onnx.load_model_from_string(Calibrated(other, calibrated.ranges).quantized(QuantizeConfig())))
    (skip,) = (conv for conv in graph.nodes("Conv") if graph.maker(conv.input[1]) is None)
    on_the_way, maker = [], graph.maker(skip.input[0])
    while maker is not None:
        on_the_way.append(maker.op_type)
        maker = graph.maker(maker.input[0])
    assert "Cast" in on_the_way
    assert "DequantizeLinear" not in on_the_way


def without_details(calibrated: Calibrated) -> Calibrated:
    """A network that says nothing beside the enlarged picture."""
    silent = ModelProto()
    silent.CopyFrom(calibrated.model)
    for tensor in silent.graph.initializer:
        if tensor.name in ("tail.weight", "tail.bias"):
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
    return Calibrated(silent, calibrated.ranges)


def restored(model: bytes, faces: RgbBatch) -> NDArray[np.int_]:
    return np.asarray(onnxruntime.InferenceSession(model).run(None, {"low": faces})[0], int)


def test_int8_enlarges_by_4_to_the_nearest_grey_level(by_four: Calibrated) -> None:
    """Every level comes through, at the border too, where the picture is white, black and in between."""
    silent = without_details(by_four)
    faces = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    faces[0], faces[1], faces[2, ::2] = 0, 255, 128
    exact = restored(silent.model.SerializeToString(), faces)
    for strict in (False, True):
        np.testing.assert_array_equal(restored(silent.quantized(QuantizeConfig(tensorrt_8=strict)), faces), exact)


def test_int8_enlarges_by_8_to_the_nearest_grey_level_but_for_twists(calibrated: Calibrated) -> None:
    """Flat colours and slopes in any direction come through as they are; noise, all twists, within 2 levels."""
    silent = without_details(calibrated)
    down, right = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    slopes = [np.full((16, 16), 0), np.full((16, 16), 255), 16 * down, 255 - 13 * right, 3 * down + 11 * right]
    smooth = np.stack([np.stack([slope] * 3, -1) for slope in slopes]).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    for strict in (False, True):
        model = silent.quantized(QuantizeConfig(tensorrt_8=strict))
        exact = restored(silent.model.SerializeToString(), smooth)
        np.testing.assert_array_equal(restored(model, smooth), exact)
        apart = np.abs(restored(model, noise) - restored(silent.model.SerializeToString(), noise))
        assert apart.max() <= 2
        assert apart.mean() < 0.5


def test_values_that_are_only_moved_keep_their_scale(by_four: Calibrated) -> None:
    graph = Graph(onnx.load_model_from_string(by_four.quantized(QuantizeConfig())))
    moved = 0
    for mover in (*graph.nodes("Transpose"), *graph.nodes("Reshape")):
        before, users = graph.maker(mover.input[0]), graph.users(mover.output[0])
        if before is not None and before.op_type == "DequantizeLinear" and users[0].op_type == "QuantizeLinear":
            assert graph.constants[before.input[1]] == graph.constants[users[0].input[1]]
            moved += 1
    assert moved >= 2


def test_a_bias_never_overflows() -> None:
    weights = np.zeros((2, 3, 3, 3), np.float32)
    weights[1] = 0.9
    scales = weight_scales(weights, np.array([5, 5], np.float32), 1e-3)
    assert (5 / (1e-3 * scales) <= MAX_BIAS * 1.0001).all()
    assert scales[1] == pytest.approx(1.8 / (PAIR - 1))
    assert set(to_int8(weights, scales)[1].ravel()) <= {63, 64}


@given(st.integers(2, 9), st.sampled_from([1, 3]), st.sampled_from([0.01, 1.0, 3.0]), st.integers(0, 2**32 - 1))
def test_no_two_neighbouring_weights_overflow_16_bits(channels: int, side: int, spread: float, seed: int) -> None:
    """Whichever way an engine lays them out: by channel within a place, or on from one place to the next."""
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((4, channels, side, side)) ** 3 * spread).astype(np.float32)
    steps = to_int8(weights, weight_scales(weights, np.zeros(4, np.float32), 1.0)).astype(int)
    by_place = np.moveaxis(steps, 1, -1).reshape(4, -1)
    rows = by_place.reshape(4, -1, channels) if channels % 2 == 0 else by_place[:, None]
    for row in rows.reshape(-1, rows.shape[-1]):
        pairs = np.pad(row, (0, len(row) % 2)).reshape(-1, 2)
        for sign in (1, -1):
            assert 255 * np.maximum(sign * pairs, 0).sum(1).max() <= np.iinfo(np.int16).max
    assert np.abs(steps).max(axis=(1, 2, 3)).min() >= 63, "no coarser than that asks for"


def test_weights_that_powers_of_two_hold_lose_nothing() -> None:
    sixty_fourths = (np.array([[49, 7, 21, 3]], np.float32)[..., None, None] / 64).astype(np.float32)
    scales = weight_scales(sixty_fourths, np.zeros(1, np.float32), 1.0)
    assert scales.tolist() == [1 / 128]
    assert (to_int8(sixty_fourths, scales) * scales == sixty_fourths).all()


@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("unshuffle", [1, 2])
def test_bilinear_weights_keep_their_sum_in_steps_of_a_power_of_two(scale: int, unshuffle: int) -> None:
    weights = bilinear_convolution(scale, unshuffle).weight.detach().numpy()
    scales = weight_scales(weights, np.zeros(len(weights), np.float32), 1.0)
    assert set(scales) == {1 / 128}
    steps = to_int8(weights, scales).astype(int)
    assert set(steps.sum((1, 2, 3))) == {128}
    assert np.abs(steps - 128 * weights).max() == (0.5 if scale == 8 else 0)


@pytest.mark.parametrize("tensorrt_8", [False, True])
@pytest.mark.parametrize("kept", [(), (HEAD,), (TAIL,), (HEAD, "network.body.3", TAIL)])
def test_what_is_inserted_keeps_the_rules(tensorrt_8: bool, kept: tuple[str, ...], calibrated: Calibrated) -> None:
    config = QuantizeConfig(float_layers=kept, tensorrt_8=tensorrt_8)
    assert list(broken_rules(onnx.load_model_from_string(calibrated.quantized(config)))) == []


def first(model: ModelProto, operator: str, number: int = 0) -> NodeProto:
    return [node for node in model.graph.node if node.op_type == operator][number]


def set_constant(model: ModelProto, name: str, value: np.ndarray) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value, name))


def newer_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 19


def uint8_zero(model: ModelProto) -> None:
    node = first(model, "QuantizeLinear")
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.uint8), "zero"))
    node.input.append("zero")


def of_weights(model: ModelProto) -> NodeProto:
    return next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.attribute)


def shifted_zero(model: ModelProto) -> None:
    dequantize = of_weights(model)
    set_constant(model, dequantize.input[2], np.full(32, 3, np.int8))


def another_axis(model: ModelProto) -> None:
    of_weights(model).attribute[0].i = 1


def scale_of_zero(model: ModelProto) -> None:
    set_constant(model, first(model, "QuantizeLinear").input[1], np.array(0, np.float32))


def unlike_pair(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "other"))
    first(model, "QuantizeLinear").input[1] = "other"


def float_input(model: ModelProto) -> None:
    quantize = first(model, "QuantizeLinear")
    conv = next(n for n in model.graph.node if n.op_type == "Conv" and n.input[0] == f"{quantize.input[0]}_dq")
    conv.input[0] = quantize.input[0]


def quantised_twice(model: ModelProto) -> None:
    quantize, dequantize = first(model, "QuantizeLinear"), NodeProto()
    again = NodeProto()
    again.CopyFrom(quantize)
    again.output[0] = again.name = "again"
    dequantize.CopyFrom(helper.make_node("DequantizeLinear", ["again", *quantize.input[1:]], ["unused"]))
    model.graph.node.extend([again, dequantize])


def bias(model: ModelProto) -> None:
    conv = first(model, "Conv")
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.zeros(32, np.int32), "b"), numpy_helper.from_array(np.array(1, np.float32), "s")]
    )
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["b", "s"], ["bias"], "bias"))
    conv.input[2] = "bias"


def ahead_of_relu(model: ModelProto) -> None:
    conv, relu, quantize = first(model, "Conv"), first(model, "Relu"), first(model, "QuantizeLinear", 1)
    made, scale = conv.output[0], quantize.input[1]
    model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", [made, scale], ["early_q"], "early_q"),
            helper.make_node("DequantizeLinear", ["early_q", scale], ["early"], "early"),
        ]
    )
    relu.input[0] = "early"


def one_scale(model: ModelProto) -> None:
    dequantize = of_weights(model)
    set_constant(model, dequantize.input[1], np.array(1, np.float32))
    set_constant(model, dequantize.input[2], np.array(0, np.int8))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (newer_opset, "opset 19, expected 17"),
        (uint8_zero, "a zero point other than int8 zeros"),
        (shifted_zero, "a zero point other than int8 zeros"),
        (another_axis, "scales along axis 1, expected 0"),
        (scale_of_zero, "its scale is no constant above 0"),
        (unlike_pair, "dequantised with another scale"),
        (float_input, "int8 weights on a float input"),
        (quantised_twice, "is quantised more than once"),
        (bias, "a quantised bias"),
        (ahead_of_relu, "Q/DQ between it and its Relu"),
        (one_scale, "one scale for all weights"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_validator_finds(spoil: Callable[[ModelProto], None], message: str, model: ModelProto) -> None:
    require_placement(model)
    spoil(model)
    with pytest.raises(ParityError, match=message):
        require_placement(model)


def test_what_has_other_operators_is_refused() -> None:
    model = onnx.load_model_from_string(tiny_onnx(16, 8))
    model.graph.node[-1].domain = "com.example"
    with pytest.raises(InputError, match=r"mine: got node com\.example::Cast, expected plain operators"):
        read_float_model(model.SerializeToString(), "mine")


def test_an_opset_that_tensorrt_cannot_read() -> None:
    model = onnx.load_model_from_string(tiny_onnx(16, 8))
    model.opset_import[0].version = 20
    with pytest.raises(InputError, match="got opset 20, expected at most 17"):
        read_float_model(model.SerializeToString(), "mine")


def test_an_older_opset_is_raised() -> None:
    """YuNet has opset 11, in which weights cannot have a scale a channel."""
    from fsr.runtime.bundle import default_detector

    raised = read_float_model(default_detector(), "the detector")
    assert raised.opset_import[0].version == 17
    image = parity_faces(FRAMING, 16, 128, 1).high
    a, b = (
        onnxruntime.InferenceSession(model).run(None, {"image": image})
        for model in (default_detector(), raised.SerializeToString())
    )
    assert all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("data", [b"", b"PK" * 99])
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(InputError, match="mine: "):
        read_float_model(data, "mine")


def test_float16_is_refused() -> None:
    model = onnx.load_model_from_string(tiny_onnx(16, 8))
    model.graph.initializer[0].data_type = TensorProto.FLOAT16
    with pytest.raises(InputError, match="got a model with float16 weights"):
        read_float_model(model.SerializeToString(), "mine")
