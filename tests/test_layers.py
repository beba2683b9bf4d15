"""fsr-export check --layers: where a lower precision loses what, through Polygraphy itself; no GPU is needed."""

from __future__ import annotations

import importlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from bad_int8 import with_quantised_features
from click.testing import CliRunner, Result
from onnx import helper, numpy_helper
from tiny_models import FRAMING, tiny_onnx

from fsr.calibration.parity_set import parity_faces
from fsr.export.cli import main
from fsr.export.graph import Graph
from fsr.export.half import to_half
from fsr.export.layers.bundle_layers import compare_bundle, inspect
from fsr.export.layers.compare import LayerError, compare_layers
from fsr.export.layers.pairs import find_pairs
from fsr.export.layers.section import with_layers
from fsr.export.layers.tensorrt_runner import TensorRTRunner
from fsr.runtime.bundle import file_entry, open_bundle, read_manifest, write_manifest
from fsr.runtime.errors import EngineUnavailableError
from fsr.runtime.pixels import RgbBatch

MODEL = "edge-S-16x8"


@pytest.fixture(scope="module")
def faces() -> RgbBatch:
    return parity_faces(FRAMING, 16, 128).low[:4]


def graph(model: bytes) -> Graph:
    return Graph(onnx.load_model_from_string(model))


def with_weights(model: bytes, layer: str, factor: float) -> bytes:
    """The model with the weights of one layer multiplied, as far as float16 holds them."""
    changed = onnx.load_model_from_string(model)
    (tensor,) = (t for t in changed.graph.initializer if t.name == f"{layer}.weight")
    values = numpy_helper.to_array(tensor)
    more = np.clip(values.astype(np.float32) * factor, -60_000, 60_000)
    tensor.CopyFrom(numpy_helper.from_array(more.astype(values.dtype), tensor.name))
    return changed.SerializeToString()


def by_layer(errors: list[LayerError]) -> dict[str, LayerError]:
    return {error.layer: error for error in errors}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle whose fitted model has a float16 file."""
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    (folder / "half.onnx").write_bytes(to_half(tiny_onnx(16, 8)))
    manifest, entry = read_manifest(folder), file_entry(folder, "half.onnx")
    models = [replace(m, files={**m.files, "fp16": entry}) if m.name == MODEL else m for m in manifest.models]
    write_manifest(folder, replace(manifest, models=models))
    return folder


def test_a_model_beside_itself_differs_nowhere(faces: RgbBatch) -> None:
    errors = compare_layers(tiny_onnx(16, 8), tiny_onnx(16, 8), faces, 1e-6)
    assert len(errors) > 10 and all(error.error == 0 and error.within for error in errors)
    assert {"network.body.0", "network.body.7"} <= by_layer(errors).keys()


def test_float16_loses_little_in_every_layer_and_the_output_is_among_them(faces: RgbBatch) -> None:
    errors = compare_layers(tiny_onnx(16, 8), to_half(tiny_onnx(16, 8)), faces, 0.02)
    assert all(error.within for error in errors)
    assert 1e-5 < by_layer(errors)["network.body.7"].error < 0.02
    assert errors[-1].tensor == graph(tiny_onnx(16, 8)).outputs[0]


def test_the_layer_that_is_wrong_is_named_first_and_those_behind_it_inherit(faces: RgbBatch) -> None:
    spoilt = with_weights(to_half(tiny_onnx(16, 8)), "network.body.3", 1.5)
    errors = compare_layers(tiny_onnx(16, 8), spoilt, faces, 0.02)
    (first, *behind) = [error for error in errors if not error.within]
    assert first.layer == "network.body.3"
    assert first.inherited < 0.02 < first.added
    assert by_layer(behind)["network.body.4"].inherited > 0.02


def test_an_overflow_is_the_worst_there_is(faces: RgbBatch) -> None:
    errors = compare_layers(
        tiny_onnx(16, 8), with_weights(to_half(tiny_onnx(16, 8)), "network.body.3", 1e6), faces, 0.02
    )
    wrong = by_layer(errors)["network.body.3"]
    assert math.isinf(wrong.error) and not wrong.within
    assert by_layer(errors)["network.body.2"].within


def test_of_int8_the_dequantised_tensors_are_compared(faces: RgbBatch) -> None:
    """With a range far too small: what is stored is cut off, and only what is read of it shows that."""
    spoilt = with_quantised_features(tiny_onnx(16, 8), faces, 0.02)
    pairs = find_pairs(graph(tiny_onnx(16, 8)), graph(spoilt))
    quantised = [pair for pair in pairs if pair.counterpart != pair.tensor]
    assert quantised and all(graph(spoilt).maker(p.counterpart).op_type == "DequantizeLinear" for p in quantised)  # pyright: ignore[reportOptionalMemberAccess]
    errors = {error.tensor: error for error in compare_layers(tiny_onnx(16, 8), spoilt, faces, 0.2)}
    first = next(error for error in errors.values() if not error.within)
    assert first.tensor == quantised[0].tensor and first.error > 0.2


def test_what_the_picture_has_no_part_in_is_left_out() -> None:
    model = graph(tiny_onnx(16, 8))
    model.insert([helper.make_node("Identity", ["network.head.bias"], ["no_picture"])], 0)
    pairs = find_pairs(model, model)
    assert len(pairs) == len(model.nodes()) - 1
    assert all(pair.reads and pair.tensor != "no_picture" for pair in pairs)


def test_the_check_writes_layers_into_page_and_json(bundle: Path, tmp_path: Path) -> None:
    page, told = tmp_path / "r.html", tmp_path / "r.json"
    files = ("--report", page, "--json", told)
    result = run(bundle, "--model", MODEL, "--engine", "onnxruntime", "--layers", "--tolerance", "1e-9", *files)
    assert result.exit_code == 0, result.output  # a gate hangs on what comes out alone
    (compared,) = json.loads(told.read_text())["layers"]["compared"]
    assert (compared["model"], compared["precision"], compared["engine"]) == (MODEL, "fp16", "onnxruntime")
    errors = {layer["tensor"]: layer["error"] for layer in compared["layers"]}
    worst_first = [errors[tensor] for tensor in compared["worst_first"]]
    assert worst_first == sorted(errors.values(), reverse=True)
    first = next(layer["tensor"] for layer in compared["layers"] if not layer["within"])
    assert compared["first_beyond"] == first
    assert "Graph Input" in compared["inspected"]
    html = page.read_text()
    assert "<h2>Layers</h2>" in html and "polygraphy inspect model" in html and "network.body.3" in html
    assert html.count("</main>") == 1 and "<h2>Models on" in html
    assert "network.body" in result.stdout and "beyond 1e-09" in result.stdout


def test_without_a_gpu_tensorrt_is_named_as_not_compared(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.export.layers.bundle_layers.find_tensorrt", lambda: (None, "no NVIDIA GPU here"))
    found = compare_bundle(open_bundle(bundle), [MODEL], "all", "all", None, lambda: None)
    assert [str(report.variant) for report in found.reports] == ["fp16 onnxruntime"]
    assert found.not_run == ["TensorRT: no NVIDIA GPU here"]
    page = with_layers("<main></main>", found)
    assert "no NVIDIA GPU here" in page and page.endswith("</main>")


def test_a_bundle_in_float32_alone_has_nothing_to_compare(tiny_bundle: Path) -> None:
    result = run(tiny_bundle, "--model", MODEL, "--engine", "onnxruntime", "--layers")
    assert result.exit_code == 2
    assert "fsr-export half or fsr-export quantize" in result.stderr


@pytest.mark.parametrize("missing", ["polygraphy", "onnx"])
def test_a_missing_package_is_a_sentence_before_any_work(
    missing: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str, package: str | None = None) -> object:
        if name == missing:
            raise ImportError(f"No module named {name!r}")
        return __import__(name)

    monkeypatch.setattr(importlib, "import_module", find)
    monkeypatch.setattr("fsr.export.check_command.check", None)  # it would be called first
    result = run(bundle, "--layers")
    assert result.exit_code == 2
    assert f"--layers needs {missing}" in result.stderr and 'pip install "fsr-edge[layers]"' in result.stderr


def test_tensorrt_rtx_builds_the_model_that_keeps_its_tensors(faces: RgbBatch) -> None:
    """As far as it goes without a GPU: parsed with every output typed, and built."""
    pytest.importorskip("tensorrt_rtx")
    built: list[bytes] = []

    def runner(model: bytes, pictures: np.ndarray) -> object:
        built.append(TensorRTRunner("tensorrt-rtx").plan(model, pictures, compute_capabilities=[(8, 9)])())
        raise InterruptedError

    with pytest.raises(EngineUnavailableError, match="InterruptedError"):
        compare_layers(tiny_onnx(16, 8), to_half(tiny_onnx(16, 8)), faces, 0.02, runner)  # pyright: ignore[reportArgumentType]
    assert len(memoryview(built[0])) > 10_000


def test_inspect_shows_layers() -> None:
    assert "Conv" in inspect(tiny_onnx(16, 8))
