"""Float16: near float32, uint8 at both ends, and what cannot be halved is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper
from test_export_cli import assert_one_line
from tiny_models import tiny_onnx

from fsr.export.cli import main
from fsr.export.half import to_half
from fsr.export.parity import gate, measure
from fsr.export.parity_faces import stored_faces
from fsr.runtime.bundle import default_detector, open_bundle
from fsr.runtime.engines import open_engine
from fsr.runtime.errors import InputError


@pytest.mark.parametrize(("input_size", "scale"), [(16, 8), (64, 4)])
def test_everything_between_the_pictures_is_float16(input_size: int, scale: int) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(to_half(tiny_onnx(input_size, scale))))
    ends = [tensor.type.tensor_type.elem_type for tensor in (*model.graph.input, *model.graph.output)]
    assert ends == [TensorProto.UINT8] * 2
    between = {info.type.tensor_type.elem_type for info in model.graph.value_info} - {TensorProto.INT64}
    assert TensorProto.FLOAT16 in between
    assert TensorProto.FLOAT not in between
    assert model.opset_import[0].version == 17


def test_a_model_that_float16_cannot_hold() -> None:
    model = onnx.load_model_from_string(tiny_onnx(16, 8))
    tensor = next(t for t in model.graph.initializer if t.name == "tail.bias")
    tensor.CopyFrom(numpy_helper.from_array(np.full(192, 1e5, np.float32), tensor.name))
    with pytest.raises(InputError, match=r"tail\.bias with values beyond 65504"):
        to_half(model.SerializeToString())


@pytest.mark.parametrize("damage", ["NonZero", "gone"])
def test_a_graph_against_onnx_s_rules_is_one_sentence(damage: str, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(tiny_onnx(16, 8))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    if damage == "gone":
        relu.input[0] = damage
    else:
        relu.op_type = damage
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    result = half(tmp_path / "model.onnx", "-o", tmp_path / "half.onnx")
    assert_one_line(result, f"{tmp_path / 'model.onnx'}: got a graph that breaks ONNX's rules", damage)
    assert not (tmp_path / "half.onnx").exists()


@pytest.mark.parametrize(("data_type", "reason"), [(77, "value 77"), (TensorProto.BFLOAT16, "reshape")])
def test_weights_of_no_type_or_size_are_one_sentence(data_type: int, reason: str) -> None:
    model = onnx.load_model_from_string(tiny_onnx(16, 8))
    model.graph.initializer.add(name="odd", data_type=data_type, dims=[1], raw_data=b"\0" * 4)
    with pytest.raises(InputError, match=f"mine: got a graph that breaks ONNX's rules: .*{reason}"):
        to_half(model.SerializeToString(), "mine")


def test_what_makes_float32_by_itself_is_one_sentence() -> None:
    model = onnx.load_model_from_string(tiny_onnx(16, 8))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    read, position = relu.input[0], list(model.graph.node).index(relu)
    relu.input[0] = "sum"
    added = [("Shape", [read], "shape"), ("ConstantOfShape", ["shape"], "zeros"), ("Add", [read, "zeros"], "sum")]
    for operator, inputs, output in reversed(added):
        model.graph.node.insert(position, helper.make_node(operator, inputs, [output]))
    with pytest.raises(InputError, match=r"mine in float16: got a graph that breaks ONNX's rules: .*Add"):
        to_half(model.SerializeToString(), "mine")


def test_the_detector_casts_first_and_keeps_its_float32_heads() -> None:
    model = onnx.load_model_from_string(to_half(default_detector()))
    assert [node.op_type for node in model.graph.node][:2] == ["Cast", "Transpose"]
    assert {output.type.tensor_type.elem_type for output in model.graph.output} == {TensorProto.FLOAT}
    between = {info.type.tensor_type.elem_type for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
    assert TensorProto.FLOAT16 in between


def test_the_detector_finds_the_same_faces(tiny_bundle: Path, tmp_path: Path) -> None:
    result = half(tiny_bundle, "--model", "detector", "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    counts = re.search(r"of (\d+) faces (\d+) missed and (\d+) added", result.output)
    assert counts, result.output
    faces, missed, added = map(int, counts.groups())
    assert faces > 100
    assert missed + added <= faces // 100  # whose score lies at the threshold: they come and go with any rounding
    assert set(open_bundle(tmp_path / "new").manifest.detector.files) == {"fp32", "fp16"}


def half(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["half", *map(str, arguments)])


def test_a_bundle_gets_its_figures(tiny_bundle: Path, tmp_path: Path) -> None:
    result = half(tiny_bundle, "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    bundle = open_bundle(tmp_path / "new")  # every hash holds
    for model in bundle.manifest.models:
        assert set(model.files) == {"fp32", "fp16"}
        with open_engine("onnxruntime", bundle.path(model.files["fp16"]), "fp16") as engine:
            measured = measure(engine, stored_faces(bundle, model))
        assert gate(measured, "fp16") == []
        assert model.parity[-1] == measured.entry("fp16")
    card = (tmp_path / "new" / "CARD.md").read_text()
    assert card.startswith((tiny_bundle / "CARD.md").read_text().rstrip())
    assert "## FP16" in card
    assert_one_line(half(tmp_path / "new", "-o", tmp_path / "again"), "has fp16 already")
    assert not (tmp_path / "again").exists()


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_onnx(16, 8))
    result = half(tmp_path / "model.onnx", "-o", tmp_path / "half.onnx")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "half.onnx").read_bytes() == to_half(tiny_onnx(16, 8))
    assert_one_line(half(tmp_path / "model.onnx", "-o", tmp_path / "half.onnx"), "half.onnx: exists already")
    assert_one_line(half(tmp_path / "half.onnx", "-o", tmp_path / "x.onnx"), "got a model with float16 weights")


def test_what_is_not_there(tmp_path: Path) -> None:
    assert_one_line(half(tmp_path / "no", "-o", tmp_path / "x"), "no: nothing there; expected a bundle's folder")
    assert_one_line(half(tmp_path, "-o", tmp_path / "x"), "not a bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_model_too_far_from_float32_is_not_written(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def coarse(model: bytes, name: str) -> bytes:
        halved = onnx.load_model_from_string(to_half(model, name))
        for bias in (t for t in halved.graph.initializer if t.data_type == TensorProto.FLOAT16 and len(t.dims) == 1):
            bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float16(20), bias.name))
        return halved.SerializeToString()

    monkeypatch.setattr("fsr.export.half_bundle.to_half", coarse)
    models = [part for name in open_bundle(tiny_bundle).names for part in ("--model", name)]
    result = half(tiny_bundle, *models, "-o", tmp_path / "new")
    assert_one_line(result, "expected at least 50 on every face", "nothing was written", exit_code=3)
    assert list(tmp_path.iterdir()) == []
