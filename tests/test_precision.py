"""int8 is taken where it is right and fast, and what was taken is said with its reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from fsr.runtime.bundle import FileEntry, Manifest, file_entry, open_bundle, write_manifest
from fsr.runtime.engines import AUTO, choice, choose_detector, choose_engine, int8, open_network
from fsr.runtime.engines.choice import INT8_ENGINES
from fsr.runtime.engines.int8 import INT8_PROBE, LARGEST, SUM, WEIGHT, int8_is_exact, why_not_int8
from fsr.runtime.errors import BundleError, EngineUnavailableError
from fsr.runtime.machine import Machine, this_machine
from fsr.runtime.pipeline import Restorer
from fsr.runtime.pixels import RgbImage

CHANNELS = 32
BOTH = ("fp32", "int8")


def make_probe() -> ModelProto:
    """Convolutions of int8, uint8 and int8 again whose products are all as large as can be, and of one sign."""
    signs = np.where(np.arange(CHANNELS) % 2, -WEIGHT, WEIGHT).astype(np.int8)[:, None, None, None]
    second = CHANNELS // 2 * 9 * 27 * LARGEST * WEIGHT**2
    tensors = {
        "weight1": np.tile(signs, (1, 3, 3, 3)),
        "weight2": np.tile(signs, (1, CHANNELS, 3, 3)),
        "weight3": np.tile(np.sign(signs) * signs.reshape(1, CHANNELS, 1, 1), (1, 1, 3, 3)),
        "ones": np.ones(CHANNELS, np.float32),
        "zeros": np.zeros(CHANNELS, np.int8),
        "zero": np.int8(0),
        "step0": np.float32(1),
        "step1": np.float32(27 * LARGEST * WEIGHT / 255),
        "step2": np.float32(second / LARGEST),
        "step3": np.float32(SUM / LARGEST),
    }
    nodes = [
        helper.make_node("Transpose", ["image"], ["image_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["image_nchw"], ["image_float"], to=TensorProto.FLOAT),
        *quantised("image_float", "step0", "input1"),
        helper.make_node("DequantizeLinear", ["weight1", "ones", "zeros"], ["float1"], axis=0),
        helper.make_node("Conv", ["input1", "float1"], ["conv1"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["conv1"], ["relu"]),
        *quantised("relu", "step1", "input2", []),
        helper.make_node("DequantizeLinear", ["weight2", "ones", "zeros"], ["float2"], axis=0),
        helper.make_node("Conv", ["input2", "float2"], ["conv2"], kernel_shape=[3, 3]),
        *quantised("conv2", "step2", "input3"),
        helper.make_node("DequantizeLinear", ["weight3", "ones", "zeros"], ["float3"], axis=0),
        helper.make_node("Conv", ["input3", "float3"], ["conv3"], kernel_shape=[3, 3]),
        *quantised("conv3", "step3", "sums"),
    ]
    graph = helper.make_graph(
        nodes,
        "int8 probe",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 7, 7, 3])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["N", CHANNELS, 1, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def quantised(value: str, step: str, output: str, zero: Sequence[str] = ("zero",)) -> list[NodeProto]:
    """Without a zero point it is uint8 from 0."""
    return [
        helper.make_node("QuantizeLinear", [value, step, *zero], [f"{output}_int8"]),
        helper.make_node("DequantizeLinear", [f"{output}_int8", step, *zero], [output]),
    ]


def test_the_probe_is_what_its_description_says() -> None:
    probe = make_probe()
    checker.check_model(probe, full_check=True)
    assert onnx.load_model_from_string(INT8_PROBE) == probe


@pytest.mark.parametrize("engine", [name for name in INT8_ENGINES if find_spec(name)])
def test_this_processor_computes_int8_exactly(engine: str) -> None:
    """On AVX2 alone because no two neighbouring weights reach beyond 16 bits."""
    if not int8.FAST & set(this_machine().vector_extensions or ()):
        pytest.skip("this processor has no fast int8, or the system does not tell")
    assert int8_is_exact(engine)
    assert why_not_int8(engine) is None


def test_saturated_sums_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ONNX Runtime gave them on an emulated Haswell: right in sign, a 25th in size."""
    sums = np.where(np.arange(CHANNELS) % 2, -SUM, SUM).astype(np.float32).reshape(1, CHANNELS, 1, 1)
    for factor, exact in ((1, True), (5 / 127, False), (126 / 127, True), (120 / 127, False)):
        network = Fixed({"sums": (sums * factor).astype(np.float32)})
        monkeypatch.setattr(int8, "open_network", lambda *_, network=network: network)
        assert int8_is_exact("any") is exact


class Fixed:
    """A network that returns what it was made with."""

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = values

    def __call__(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        return self.values


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [(["AVX2"], None), (["NEON", "NEON dotprod"], None), (None, None), (["NEON"], "none of AMX, AVX2")],
)
def test_int8_is_fast_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, extensions: list[str] | None, reason: str | None
) -> None:
    def machine() -> Machine:
        return replace(this_machine(), vector_extensions=extensions)

    monkeypatch.setattr(int8, "this_machine", machine)
    monkeypatch.setattr(int8, "int8_is_exact", lambda engine: True)
    found = why_not_int8("onnxruntime")
    assert found is None if reason is None else reason in str(found)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let these engines, and no others, run here, some of them saturating; without a GPU."""

    def let(*engines: str, saturating: tuple[str, ...] = ()) -> None:
        def opened(name: str, *_: object) -> None:
            if name not in engines:
                raise EngineUnavailableError(f"{name} cannot be imported")

        def exact(name: str) -> bool:
            opened(name)
            return name not in saturating

        monkeypatch.setattr(choice, "_cuda", lambda: ("onnxruntime-cuda" in engines, "cuda"))
        monkeypatch.setattr(choice, "open_network", opened)
        for module in (choice, int8):
            monkeypatch.setattr(module, "int8_is_exact", exact)
        monkeypatch.setattr(int8, "this_machine", lambda: replace(this_machine(), vector_extensions=["VNNI"]))

    return let


CASES = [
    # engines here, those that saturate, --engine, --precision, offered -> taken, and a part of why
    (("onnxruntime", "openvino"), (), AUTO, AUTO, BOTH, ("onnxruntime", "int8"), "computed correctly here"),
    (("onnxruntime",), (), AUTO, AUTO, BOTH, ("onnxruntime", "int8"), "computed correctly here"),
    (("onnxruntime", "openvino"), (), AUTO, AUTO, ("fp32",), ("onnxruntime", "fp32"), "there is no int8 in the bundle"),
    (("onnxruntime", "openvino"), (), AUTO, "fp32", BOTH, ("onnxruntime", "fp32"), "asked for"),
    (("onnxruntime", "openvino"), (), AUTO, "int8", BOTH, ("onnxruntime", "int8"), "asked for"),
    (
        ("onnxruntime", "openvino"),
        (),
        "openvino",
        AUTO,
        BOTH,
        ("openvino", "int8"),
        "computed correctly here",
    ),
    (("onnxruntime", "openvino"), (), AUTO, "fp16", ("fp16",), ("onnxruntime", "fp16"), "a CPU computes it in float32"),
    (
        ("onnxruntime", "openvino"),
        ("onnxruntime",),
        AUTO,
        AUTO,
        BOTH,
        ("openvino", "int8"),
        "computed correctly here",
    ),
    (("onnxruntime",), ("onnxruntime",), AUTO, AUTO, BOTH, ("onnxruntime", "fp32"), "int8 saturates"),
    (("openvino",), ("openvino",), "openvino", AUTO, BOTH, ("openvino", "fp32"), "int8 saturates"),
    (("onnxruntime", "onnxruntime-cuda"), (), AUTO, AUTO, BOTH, ("onnxruntime-cuda", "fp32"), "int8 is for CPUs"),
]


@pytest.mark.parametrize(("engines", "saturating", "name", "precision", "offered", "taken", "why"), CASES)
def test_auto_takes_int8_where_it_is_right_and_says_why(
    here: Callable[..., None],
    engines: tuple[str, ...],
    saturating: tuple[str, ...],
    name: str,
    precision: str,
    offered: tuple[str, ...],
    taken: tuple[str, str],
    why: str,
) -> None:
    here(*engines, saturating=saturating)
    got = choose_engine(name, precision, offered)
    assert (got.engine, got.precision) == taken
    assert why in got.why_precision


def test_the_detector_is_in_int8_where_that_gains(here: Callable[..., None]) -> None:
    here("onnxruntime", "openvino")
    cases = [
        ((AUTO, AUTO), ("onnxruntime", "fp32")),
        (("onnxruntime", AUTO), ("onnxruntime", "fp32")),
        (("onnxruntime", "int8"), ("onnxruntime", "fp32")),
        (("openvino", AUTO), ("openvino", "int8")),
        (("openvino", "int8"), ("openvino", "int8")),
        (("openvino", "fp32"), ("openvino", "fp32")),
        ((AUTO, "fp16"), ("onnxruntime", "fp32")),
    ]
    for asked, taken in cases:
        detector = choose_detector(*asked, BOTH)
        assert (detector.engine, detector.precision) == taken
    assert "int8 is likely no faster with onnxruntime" in choose_detector(AUTO, AUTO, BOTH).why_precision
    assert choose_detector("openvino", "int8", ("fp32",)).precision == "fp32"


def test_int8_that_was_asked_for_and_is_wrong_is_refused(here: Callable[..., None]) -> None:
    here("onnxruntime", saturating=("onnxruntime",))
    with pytest.raises(EngineUnavailableError, match=r"--precision int8: not onnxruntime: its int8 saturates.*fp32$"):
        choose_engine("onnxruntime", "int8", BOTH)


@pytest.fixture
def bundle_of(tiny_bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """The tiny bundle with files called int8: for what is chosen, not for what they hold."""

    def make(*parts: str) -> Path:
        folder = tmp_path / "bundle"
        shutil.copytree(tiny_bundle, folder)
        manifest = open_bundle(folder).manifest

        def with_int8(name: str, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
            if name not in parts:
                return files
            shutil.copy(folder / files["fp32"].file, folder / f"{name}.int8.onnx")
            return {**files, "int8": file_entry(folder, f"{name}.int8.onnx")}

        detector = replace(manifest.detector, files=with_int8("detector", manifest.detector.files))
        models = [replace(model, files=with_int8(model.name, model.files)) for model in manifest.models]
        changed: Manifest = replace(manifest, detector=detector, models=models)
        write_manifest(folder, changed)
        return folder

    return make


FACES = ("edge-S-16x8", "edge-S-32x4")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            (*FACES, "detector"),
            [
                "int8 (computed correctly here; not timed: fsr-export bench does), detector: onnxruntime, fp32 "
                "(int8 is likely no faster with onnxruntime; not timed"
            ],
        ),
        (
            FACES,
            [
                "int8 (computed correctly here; not timed: fsr-export bench does), detector: onnxruntime, fp32 "
                "(there is no int8 in the "
                "bundle), tier S"
            ],
        ),
        (FACES[:1], ["onnxruntime on the cpu", "fp32 (there is no int8 in the bundle), tier S"]),
    ],
    ids=["all", "faces", "one model"],
)
def test_a_bundle_is_run_in_int8_where_all_of_a_part_has_it(
    monkeypatch: pytest.MonkeyPatch,
    bundle_of: Callable[..., Path],
    astronaut: RgbImage,
    parts: tuple[str, ...],
    expected: list[str],
) -> None:
    monkeypatch.setattr(choice, "why_not_int8", lambda engine: None)
    with Restorer.open(bundle_of(*parts), engine="onnxruntime") as restorer:
        assert all(words in restorer.description for words in expected), restorer.description
        assert len(restorer(astronaut).faces) == 1


def test_int8_that_a_model_lacks_is_refused_by_its_name(bundle_of: Callable[..., Path]) -> None:
    with pytest.raises(EngineUnavailableError, match="edge-S-32x4: got precision 'int8', expected one of fp32"):
        Restorer.open(bundle_of("edge-S-16x8", "detector"), precision="int8")


def test_a_bundle_whose_detector_is_not_in_fp32_is_refused(bundle_of: Callable[..., Path]) -> None:
    folder = bundle_of("detector")
    manifest = open_bundle(folder).manifest
    files = {"int8": manifest.detector.files["int8"]}
    write_manifest(folder, replace(manifest, detector=replace(manifest.detector, files=files)))
    with pytest.raises(BundleError, match="got a detector in int8, expected fp32"):
        open_bundle(folder)


def test_the_probe_runs_like_any_network() -> None:
    assert open_network("onnxruntime", INT8_PROBE, "int8").input_shape == (None, 7, 7, 3)
