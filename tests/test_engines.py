"""Engines take and give uint8 pictures, and say what they cannot run before they run it."""

from __future__ import annotations

import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import skimage.data
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper

from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector
from fsr.runtime.engines import (
    OPENERS,
    Choice,
    Engine,
    FakeEngine,
    Network,
    Upscaler,
    choose_engine,
    open_engine,
    open_network,
)
from fsr.runtime.engines.choice import PROBE
from fsr.runtime.engines.onnx_runtime import CUDA, OnnxRuntimeNetwork
from fsr.runtime.errors import EngineUnavailableError, InputError
from fsr.runtime.pixels import RgbBatch

SIDE, SCALE = 4, 2

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
ON_CPU = ["onnxruntime", pytest.param("openvino", marks=needs_openvino)]
on_every_cpu_engine = pytest.mark.parametrize("name", ON_CPU)


def doubling_model(shape: tuple[str | int, ...] = ("N", SIDE, SIDE, 3), kind: int = TensorProto.UINT8) -> ModelProto:
    """Each pixel twice in both directions, without arithmetic: every level comes back exactly."""
    sides = [side * SCALE if isinstance(side, int) else f"{SCALE} {side}" for side in shape[1:3]]
    enlarged: list[str | int] = [shape[0], *sides, 3]
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


@on_every_cpu_engine
def test_an_engine_says_what_it_is(model: Path, name: str) -> None:
    with open_engine(name, model, "int8") as engine:
        assert (engine.name, engine.precision, engine.device) == (name, "int8", "cpu")
        assert (engine.input_size, engine.output_size) == (SIDE, SIDE * SCALE)


@on_every_cpu_engine
def test_a_network_says_what_it_takes_and_returns(name: str) -> None:
    network = open_network(name, doubling_model(("N", "H", "W", 3)).SerializeToString(), "fp16")
    assert (network.name, network.precision, network.device) == (name, "fp16", "cpu")
    assert network.input_shape == (None, None, None, 3) and network.outputs == ("restored",)


@on_every_cpu_engine
@pytest.mark.parametrize("count", [0, 1, 5])
def test_any_number_of_faces_is_restored(model: Path, rng: np.random.Generator, name: str, count: int) -> None:
    batch = rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    with open_engine(name, model) as engine:
        restored = engine(batch)
    assert restored.dtype == np.uint8 and restored.shape == (count, SIDE * SCALE, SIDE * SCALE, 3)
    np.testing.assert_array_equal(restored, doubled(batch))


@on_every_cpu_engine
def test_pictures_of_any_size_go_through_one_network(rng: np.random.Generator, name: str) -> None:
    network = open_network(name, doubling_model(("N", "H", "W", 3)).SerializeToString())
    for height, width in ((4, 4), (31, 8), (4, 4), (1, 1), (8, 31)):
        batch = rng.integers(0, 256, (2, height, width, 3), np.uint8)
        np.testing.assert_array_equal(network(batch)["restored"], doubled(batch))


@on_every_cpu_engine
def test_strided_and_read_only_batches_give_the_same(model: Path, rng: np.random.Generator, name: str) -> None:
    batch = rng.integers(0, 256, (2, SIDE, 2 * SIDE, 3), np.uint8)[:, :, ::-2]
    fixed = batch.copy()
    fixed.flags.writeable = False
    with open_engine(name, model) as engine:
        np.testing.assert_array_equal(engine(batch), doubled(batch))
        np.testing.assert_array_equal(engine(fixed), doubled(batch))


@on_every_cpu_engine
def test_a_model_may_come_as_bytes_and_leaves_the_batch_alone(rng: np.random.Generator, name: str) -> None:
    batch = rng.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    before = batch.copy()
    engine = open_engine(name, doubling_model().SerializeToString())
    with engine as entered:
        assert entered is engine
        np.testing.assert_array_equal(entered(batch), doubled(before))
    np.testing.assert_array_equal(batch, before)


@on_every_cpu_engine
def test_what_a_call_returned_outlives_the_next_call_and_the_engine(
    model: Path, rng: np.random.Generator, name: str
) -> None:
    batches = rng.integers(0, 256, (3, 2, SIDE, SIDE, 3), np.uint8)
    with open_engine(name, model) as engine:
        restored = [engine(batch) for batch in batches]
    for batch, result in zip(batches, restored, strict=True):
        np.testing.assert_array_equal(result, doubled(batch))


@on_every_cpu_engine
def test_threads_that_share_a_network_get_what_they_asked_for(rng: np.random.Generator, name: str) -> None:
    network = open_network(name, doubling_model(("N", "H", "W", 3)).SerializeToString())
    sizes = rng.integers(1, 40, (200, 3))
    batches = [rng.integers(0, 256, (n % 4 + 1, height, width, 3), np.uint8) for n, height, width in sizes]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(network, batches))
    for batch, result in zip(batches, results, strict=True):
        np.testing.assert_array_equal(result["restored"], doubled(batch))


@on_every_cpu_engine
def test_threads_that_share_a_detector_find_the_same_faces(name: str) -> None:
    detector = Detector.open(default_detector(), name)
    frames = [np.ascontiguousarray(skimage.data.astronaut()[:256, left : left + 256]) for left in range(60, 140, 10)]
    alone = [[(face.score, *face.box_xyxy.tolist()) for face in detector(frame)] for frame in frames]
    assert all(len(faces) == 1 for faces in alone)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(detector, frames * 3))
    assert [[(face.score, *face.box_xyxy.tolist()) for face in faces] for faces in together] == alone * 3


@needs_openvino
def test_openvino_finds_the_faces_that_onnx_runtime_finds() -> None:
    frame = skimage.data.astronaut()[:300, :400]
    (expected,), (got,) = (Detector.open(default_detector(), name)(frame) for name in ("onnxruntime", "openvino"))
    np.testing.assert_allclose(got.box_xyxy, expected.box_xyxy, atol=1e-2)  # px
    np.testing.assert_allclose(got.landmarks, expected.landmarks, atol=1e-2)
    assert abs(got.score - expected.score) < 1e-4


@needs_openvino
def test_openvino_computes_in_float32_with_one_thread_a_call(model: Path) -> None:
    network: Any = open_network("openvino", model)
    setting = network._compiled.get_property
    assert "float32" in str(setting("INFERENCE_PRECISION_HINT"))
    assert setting("INFERENCE_NUM_THREADS") == setting("NUM_STREAMS")
    assert not setting("ENABLE_CPU_PINNING")


FREED_ELSEWHERE = """
import signal, threading
from fsr.runtime.engines import open_network
from fsr.runtime.engines.choice import PROBE

held = [open_network("openvino", PROBE)]
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("stopped")
"""


@needs_openvino
@pytest.mark.skipif(sys.platform == "win32", reason="there, signals have no stack of their own")
def test_ctrl_c_is_survived_once_another_thread_freed_openvino() -> None:
    """OpenVINO unmapped the signal stack of the thread that had loaded it: the signal was a segmentation fault."""
    done = subprocess.run([sys.executable, "-c", FREED_ELSEWHERE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


def test_the_network_is_freed_at_the_end_even_after_an_error(model: Path) -> None:
    network = OnnxRuntimeNetwork(model, threads=2)
    freed = weakref.ref(network)
    engine = Upscaler(network)
    del network
    with pytest.raises(ValueError, match="from the body"), engine:
        assert freed() is not None
        raise ValueError("from the body")
    assert freed() is None


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
@on_every_cpu_engine
def test_other_batches_are_refused_by_what_they_are(model: Path, batch: NDArray[np.uint8], name: str) -> None:
    with open_engine(name, model) as engine, pytest.raises(InputError) as caught:
        engine(batch)
    assert f"got a batch of {batch.dtype} {batch.shape}, expected uint8 (N, {SIDE}, {SIDE}, 3)" in str(caught.value)


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
@on_every_cpu_engine
def test_models_that_take_something_else_are_refused(model: ModelProto, name: str) -> None:
    with pytest.raises(EngineUnavailableError, match=r"got a model that takes .*fsr-export"):
        open_engine(name, model.SerializeToString())


@on_every_cpu_engine
def test_models_that_return_something_else_are_refused(name: str) -> None:
    model = doubling_model()
    del model.graph.node[-1:]  # the cast back
    model.graph.node[-1].output[0] = "restored"
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    checker.check_model(model)
    with pytest.raises(EngineUnavailableError, match=r"got a model that returns float32 \(1, 8, 8, 3\)"):
        open_engine(name, model.SerializeToString())


@pytest.mark.parametrize(
    ("name", "called"), [("onnxruntime", "ONNX Runtime"), pytest.param("openvino", "OpenVINO", marks=needs_openvino)]
)
def test_what_is_no_model_is_refused_by_name(tmp_path: Path, name: str, called: str) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    for file in ("text.onnx", "missing.onnx"):
        with pytest.raises(EngineUnavailableError, match=f"{file}: {called} cannot open it: .+"):
            open_engine(name, tmp_path / file)
    with pytest.raises(EngineUnavailableError, match=f"the model: {called} cannot open it: .+"):
        open_engine(name, b"not a model")


@pytest.mark.parametrize("call", [lambda name: open_network(name, PROBE), choose_engine], ids=["open", "choose"])
def test_an_unknown_engine_names_the_known_and_no_other_is_taken(call: Any) -> None:
    with pytest.raises(EngineUnavailableError, match="got engine 'tensorflow', expected one of: onnxruntime, "):
        call("tensorflow")


@pytest.mark.parametrize(
    ("name", "package", "install"),
    [
        ("onnxruntime", "onnxruntime", "pip install onnxruntime"),
        ("onnxruntime-cuda", "onnxruntime", "pip install onnxruntime"),
        ("auto", "onnxruntime", "pip install onnxruntime"),
        ("openvino", "openvino", r'pip install "fsr-edge\[openvino\]"'),
    ],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, install: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineUnavailableError, match=f"install it with: {install}$"):
        choose_engine(name)


def test_importing_the_engines_imports_no_engine() -> None:
    code = "import fsr.runtime.engines, sys; print(*{'onnxruntime', 'openvino'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_the_probe_is_an_onnx_file_that_changes_nothing() -> None:
    checker.check_model(onnx.load_model_from_string(PROBE))
    network = open_network("onnxruntime", PROBE)
    batch = np.arange(6, dtype=np.uint8).reshape(2, 1, 1, 3)
    np.testing.assert_array_equal(network(batch)["same"], batch)


@on_every_cpu_engine
def test_an_engine_asked_for_is_taken(name: str) -> None:
    assert choose_engine(name) == Choice(name, "asked for by name")


class GpuRuntime(SimpleNamespace):
    """As much of onnxruntime-gpu as is needed to open a session, on a machine whose GPU works or does not."""

    def __init__(self, *, listed: bool, works: bool) -> None:
        super().__init__(SessionOptions=SimpleNamespace)
        self.listed, self.works = listed, works
        self.asked: list[Any] = []

    def get_available_providers(self) -> list[str]:
        return [CUDA] * self.listed + ["CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        print("Failed to load libcudnn.so.9")  # noqa: T201 as the original does

    def InferenceSession(self, model: Any, options: Any, providers: list[Any], enable_fallback: int) -> Any:
        assert enable_fallback == 0
        self.asked = providers
        cuda = [CUDA] * (self.works and providers[0][0] == CUDA)
        return SimpleNamespace(
            get_providers=lambda: [*cuda, "CPUExecutionProvider"],
            get_inputs=lambda: [SimpleNamespace(name="image", type="tensor(uint8)", shape=["N", 1, 1, 3])],
            get_outputs=lambda: [SimpleNamespace(name="same")],
        )


def test_auto_takes_the_gpu_that_works(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    runtime = GpuRuntime(listed=True, works=True)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    assert choose_engine("auto") == Choice("onnxruntime-cuda", "its CUDA provider works here")
    network: Network = open_network("onnxruntime-cuda", PROBE)
    assert (network.name, network.device) == ("onnxruntime-cuda", "cuda")
    ((provider, settings),) = runtime.asked
    assert provider == CUDA and settings["use_tf32"] == "0"
    assert capfd.readouterr().out == ""


def test_auto_says_that_the_gpu_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", GpuRuntime(listed=True, works=False))
    choice = choose_engine("auto")
    assert choice.engine == "onnxruntime"
    assert choice.why.startswith("the CUDA provider does not work: onnxruntime could not start CUDA")


@pytest.mark.parametrize(
    ("listed", "reason"), [(False, "this onnxruntime has no CUDA"), (True, "onnxruntime could not start CUDA")]
)
def test_a_gpu_asked_for_is_never_replaced_by_the_cpu(
    monkeypatch: pytest.MonkeyPatch, listed: bool, reason: str
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", GpuRuntime(listed=listed, works=False))
    for call in (choose_engine, lambda name: open_network(name, PROBE)):
        with pytest.raises(EngineUnavailableError, match=f'{reason}.*pip install "onnxruntime-gpu'):
            call("onnxruntime-cuda")


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", GpuRuntime(listed=False, works=False))
    assert choose_engine("auto") == Choice("onnxruntime", "no CUDA provider in this onnxruntime")


@pytest.mark.gpu
def test_the_gpu_gives_what_the_cpu_gives(model: Path, rng: np.random.Generator) -> None:
    try:
        engine: Engine = open_engine("onnxruntime-cuda", model)
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    batch = rng.integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    with engine:
        assert engine.device == "cuda"
        np.testing.assert_array_equal(engine(batch), doubled(batch))


def test_the_fake_engine_enlarges_and_refuses_what_the_real_one_refuses() -> None:
    engine = FakeEngine(16, 4)
    assert engine(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 64, 64, 3)
    assert (engine(np.full((2, 16, 16, 3), 7, np.uint8)) == 7).all()
    with pytest.raises(InputError, match="expected uint8"):
        engine(np.zeros((2, 8, 8, 3), np.uint8))
    assert "fake" not in OPENERS


class _Counting:
    """A `Network` that repeats every pixel, and notes the sizes of its batches."""

    name, precision, outputs = "counting", "fp32", ("restored",)

    def __init__(self, device: str, scale: int) -> None:
        self.device, self._scale = device, scale
        self.input_shape: tuple[int | None, ...] = (None, 64, 64, 3)
        self.batches: list[int] = []

    def __call__(self, batch: RgbBatch) -> dict[str, NDArray[Any]]:
        self.batches.append(len(batch))
        return {"restored": batch.repeat(self._scale, 1).repeat(self._scale, 2)}


@pytest.mark.parametrize(("device", "scale", "batches"), [("cpu", 2, [9]), ("cpu", 4, [4, 4, 1]), ("cuda", 4, [9])])
def test_a_cpu_takes_many_large_faces_in_pieces(device: str, scale: int, batches: list[int]) -> None:
    network = _Counting(device, scale)
    faces = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    restored = Upscaler(network)(faces)
    assert network.batches == [1, *batches]
    np.testing.assert_array_equal(restored, faces.repeat(scale, 1).repeat(scale, 2))
