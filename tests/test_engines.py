"""Engines take and give uint8 pictures, and say what they cannot run before they run it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper

from fsr.runtime.engines import OPENERS, Engine, FakeEngine, OnnxRuntimeEngine, open_engine
from fsr.runtime.errors import EngineUnavailableError, InputError

SIDE, SCALE = 4, 2


def doubling_model(shape: tuple[str | int, ...] = ("N", SIDE, SIDE, 3), kind: int = TensorProto.UINT8) -> ModelProto:
    """Each pixel twice in both directions, without arithmetic: every level comes back exactly."""
    enlarged: list[str | int] = [shape[0], SIDE * SCALE, SIDE * SCALE, 3]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Resize", ["float", "", "scales"], ["large"], mode="nearest"),
            helper.make_node("Cast", ["large"], ["restored"], to=TensorProto.UINT8),
        ],
        "doubling",
        [helper.make_tensor_value_info("image", kind, list(shape))],
        [helper.make_tensor_value_info("restored", TensorProto.UINT8, enlarged)],
        [helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, SCALE, SCALE, 1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checker.check_model(doubling_model())
    path = tmp_path_factory.mktemp("model") / "doubling.onnx"
    path.write_bytes(doubling_model().SerializeToString())
    return path


def doubled(batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return batch.repeat(SCALE, axis=1).repeat(SCALE, axis=2)


@pytest.mark.parametrize("name", OPENERS)
def test_an_engine_says_what_it_is(model: Path, name: str) -> None:
    with open_engine(name, model, "int8") as engine:
        assert (engine.name, engine.precision, engine.device) == (name, "int8", "cpu")
        assert (engine.input_size, engine.output_size) == (SIDE, SIDE * SCALE)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_any_number_of_faces_is_restored(model: Path, rng: np.random.Generator, count: int) -> None:
    batch = rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    with open_engine("onnxruntime", model) as engine:
        restored = engine(batch)
    assert restored.dtype == np.uint8 and restored.shape == (count, SIDE * SCALE, SIDE * SCALE, 3)
    np.testing.assert_array_equal(restored, doubled(batch))


def test_strided_batches_give_the_same(model: Path, rng: np.random.Generator) -> None:
    batch = rng.integers(0, 256, (2, SIDE, 2 * SIDE, 3), np.uint8)[:, :, ::-2]
    with open_engine("onnxruntime", model) as engine:
        np.testing.assert_array_equal(engine(batch), doubled(batch))


def test_a_model_may_come_as_bytes_and_leaves_the_batch_alone(rng: np.random.Generator) -> None:
    batch = rng.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    before = batch.copy()
    engine: Engine = OnnxRuntimeEngine(doubling_model().SerializeToString(), threads=2)
    with engine as entered:
        assert entered is engine
        np.testing.assert_array_equal(entered(batch), doubled(before))
    np.testing.assert_array_equal(batch, before)


def test_the_session_is_freed_at_the_end_even_after_an_error(model: Path) -> None:
    engine = OnnxRuntimeEngine(model)
    with pytest.raises(ValueError, match="from the body"), engine:
        assert engine._session is not None
        raise ValueError("from the body")
    assert engine._session is None


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, SIDE, SIDE, 3), np.float32),
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.zeros((1, 3, SIDE, SIDE), np.uint8),
        np.zeros((1, SIDE, SIDE, 4), np.uint8),
        np.zeros((1, SIDE + 1, SIDE, 3), np.uint8),
        np.zeros((0, SIDE, SIDE + 1, 3), np.uint8),
    ],
    ids=["float", "one picture", "nchw", "rgba", "height", "empty of another width"],
)
def test_other_batches_are_refused_by_what_they_are(model: Path, batch: NDArray[np.uint8]) -> None:
    with open_engine("onnxruntime", model) as engine, pytest.raises(InputError) as caught:
        engine(batch)
    assert f"got a batch of {batch.dtype} {batch.shape}, expected uint8 (N, " in str(caught.value)


@pytest.mark.parametrize(
    "model",
    [
        doubling_model(kind=TensorProto.FLOAT),
        doubling_model(shape=("N", "H", "W", 3)),
        doubling_model(shape=("N", SIDE, 2 * SIDE, 3)),
        doubling_model(shape=("N", 3, SIDE, SIDE)),
    ],
    ids=["float", "any size", "not square", "nchw"],
)
def test_models_that_take_something_else_are_refused(model: ModelProto) -> None:
    with pytest.raises(EngineUnavailableError, match=r"got a model that takes .*fsr-export onnx"):
        OnnxRuntimeEngine(model.SerializeToString())


def test_what_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    for name in ("text.onnx", "missing.onnx"):
        with pytest.raises(EngineUnavailableError, match=f"{name}: ONNX Runtime cannot open it"):
            open_engine("onnxruntime", tmp_path / name)
    with pytest.raises(EngineUnavailableError, match="the model: ONNX Runtime cannot open it"):
        OnnxRuntimeEngine(b"not a model")


def test_an_unknown_engine_names_the_known_and_no_other_is_taken(model: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="got engine 'tensorflow', expected one of: onnxruntime"):
        open_engine("tensorflow", model)


def test_without_onnx_runtime_the_way_to_get_it_is_said(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineUnavailableError, match="install it with: pip install onnxruntime"):
        open_engine("onnxruntime", model)


def test_the_fake_engine_enlarges_and_refuses_what_the_real_one_refuses() -> None:
    engine = FakeEngine(16, 4)
    assert engine(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 64, 64, 3)
    assert (engine(np.full((2, 16, 16, 3), 7, np.uint8)) == 7).all()
    with pytest.raises(InputError, match="expected uint8"):
        engine(np.zeros((2, 8, 8, 3), np.uint8))
    assert "fake" not in OPENERS
