"""On a real NVIDIA GPU: plans are built and run, and held against ONNX Runtime. `pytest -m gpu`; skipped elsewhere.

`FSR_FLAVOUR` names the TensorRT to try (default: the first that is here), `FSR_SOAK_MINUTES` lengthens the soak.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import gpu_figures
import numpy as np
import pytest
import skimage.data

from fsr.runtime.bundle import Bundle, ModelEntry, default_folder, open_bundle
from fsr.runtime.detect import Detector
from fsr.runtime.engines import Upscaler, choose_detector, choose_engine, file_for, open_engine
from fsr.runtime.engines.cuda import BINDINGS, installed, open_cuda
from fsr.runtime.engines.cuda_device import find_gpu
from fsr.runtime.engines.plans import list_plans
from fsr.runtime.engines.tensorrt import open_plan
from fsr.runtime.engines.trt_library import load_tensorrt
from fsr.runtime.errors import EngineUnavailableError
from fsr.runtime.pipeline import Restorer, models_of_tier

pytestmark = pytest.mark.gpu

TIER = "S"
"""The quickest to build; what is tested does not depend on it."""
BUILD = "from fsr.export.cli import main; main()"


@pytest.fixture(scope="module")
def here() -> str:
    """The flavour of a TensorRT that is here, on a machine with a GPU."""
    try:
        find_gpu()
        open_cuda()
        return load_tensorrt(os.environ.get("FSR_FLAVOUR")).flavour
    except EngineUnavailableError as error:
        pytest.skip(f"needs an NVIDIA GPU and TensorRT: {error}")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(default_folder())


@pytest.fixture(scope="module")
def models(bundle: Bundle) -> list[ModelEntry]:
    return models_of_tier(bundle, TIER)


@pytest.fixture(scope="module")
def built(here: str, models: list[ModelEntry], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `fsr-export build` said, with every plan in a cache of this test's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        names = [part for model in models for part in ("--model", model.name)]
        options = ["build", "--fp32", "--fp16", "--int8", "--flavour", here, *names, "--model", "detector"]
        done = subprocess.run([sys.executable, "-c", BUILD, *options], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1, 3), done.stdout + done.stderr
        yield done.stdout + done.stderr


@pytest.fixture(scope="module")
def flavour(built: str, here: str) -> str:
    """That of `here`, once its plans are built."""
    return here


@pytest.mark.parametrize("bindings", list(BINDINGS))
def test_copies_wait_in_their_stream_and_graphs_repeat_them(bindings: str) -> None:
    """CUDA alone: it needs no TensorRT."""
    try:
        find_gpu()
    except EngineUnavailableError as error:
        pytest.skip(f"needs an NVIDIA GPU: {error}")
    if not installed(bindings):
        pytest.skip(f"{bindings} is not installed")
    cuda, size = open_cuda(bindings=bindings), 1 << 20
    with cuda.current():
        stream, memory, host, start, end = (
            cuda.new_stream(),
            cuda.allocate(size),
            cuda.pin(size),
            cuda.new_event(),
            cuda.new_event(),
        )
        pattern = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        host[:] = pattern
        cuda.copy_in(memory, host, stream)
        cuda.synchronise(stream)
        host[:] = 0
        graph = cuda.capture(lambda: cuda.copy_out(host, memory, stream), stream)
        cuda.synchronise(stream)
        assert not host.any()
        for _ in range(3):
            host[:] = 0
            cuda.record(start, stream)
            cuda.launch(graph, stream)
            cuda.record(end, stream)
            cuda.synchronise(stream)
            np.testing.assert_array_equal(host, pattern)
        assert 0 < cuda.milliseconds(start, end) < 1000
        assert cuda.address(memory) % 256 == 0
        for free, resource in (
            (cuda.free_graph, graph),
            (cuda.free_event, start),
            (cuda.free_event, end),
            (cuda.unpin, host),
            (cuda.free, memory),
            (cuda.free_stream, stream),
        ):
            free(resource)


def test_every_model_has_a_plan_that_passed(models: list[ModelEntry], built: str) -> None:
    plans, damaged = list_plans()
    assert not damaged
    passed = {(plan.record.model, plan.record.key.precision) for plan in plans if plan.passed}
    assert {(model.name, "fp32") for model in models} <= passed, built
    assert any((models[0].name, precision) in passed for precision in ("fp16", "int8")), built


@pytest.mark.parametrize("bindings", list(BINDINGS))
@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "stream"])
def test_faces_are_those_of_onnx_runtime(
    flavour: str, bundle: Bundle, models: list[ModelEntry], bindings: str, graphs: bool
) -> None:
    if not installed(bindings):
        pytest.skip(f"{bindings} is not installed")
    for model in models:
        path = bundle.path(model.files["fp32"])
        shape = (21, model.input_size, model.input_size, 3)
        batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        with Upscaler(open_plan(flavour, path, bindings=bindings, graphs=graphs)) as engine:
            assert np.abs(engine(batch).astype(int) - open_engine("onnxruntime", path)(batch)).max() <= 1
            assert np.abs(engine(batch[:3]).astype(int) - engine(batch)[:3]).max() <= 1


def test_the_detector_finds_what_onnx_runtime_finds(flavour: str, bundle: Bundle) -> None:
    files = bundle.manifest.detector.files
    choice = choose_detector(flavour, "auto", files)
    entry = file_for(files, choice.precision, flavour)
    if choice.engine != flavour or entry is None:
        pytest.skip(f"the detector has no plan: {choice.why_precision}")
    reference = Detector.open(bundle.path(files["fp32"]))
    detector = Detector.open(bundle.path(entry), flavour, precision=choice.precision)
    astronaut = skimage.data.astronaut()
    for frame in (astronaut, astronaut[:300, :400], astronaut, np.rot90(astronaut[:, :300])):
        for expected, got in zip(reference(frame), detector(frame), strict=True):
            np.testing.assert_allclose(got.box_xyxy, expected.box_xyxy, atol=1)  # px, for a face of 90
            np.testing.assert_allclose(got.landmarks, expected.landmarks, atol=1)


def test_a_frame_is_restored_as_on_the_cpu(flavour: str) -> None:
    frame = skimage.data.astronaut()[::3, ::3].copy()
    with (
        Restorer.open(engine=flavour, precision="fp32", tier=TIER) as there,
        Restorer.open(engine="onnxruntime", precision="fp32", tier=TIER) as here,
    ):
        assert flavour in there.description
        difference = np.abs(there(frame).image.astype(int) - here(frame).image)
    assert difference.mean() < 0.1


def test_auto_takes_the_plans(flavour: str, models: list[ModelEntry]) -> None:
    choice = choose_engine("auto", "auto", ["fp32"], models=[model.files for model in models])
    assert choice.engine == flavour and "passed its parity gate" in str(choice)


def test_a_graph_is_no_slower_and_memory_comes_back(flavour: str, bundle: Bundle, models: list[ModelEntry]) -> None:
    path = bundle.path(models[0].files["fp32"])
    figures = list(gpu_figures.latencies(flavour, models[0].name, path, "fp32"))
    by_graphs = {each.graphs: each.median_ms for each in figures if each.batch == 1}
    assert by_graphs[True] <= 1.1 * by_graphs[False], figures
    assert gpu_figures.memory(flavour, path, "fp32")["left_mib"] <= 2


def test_a_damaged_plan_is_refused_before_tensorrt_sees_it(
    flavour: str, bundle: Bundle, models: list[ModelEntry]
) -> None:
    model = models[-1]
    plan = next(p for p in list_plans()[0] if (p.record.model, p.record.key.precision) == (model.name, "fp32"))
    whole = plan.path.read_bytes()
    try:
        for spoilt in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
            plan.path.write_bytes(spoilt)
            with pytest.raises(EngineUnavailableError, match="build it anew"):
                open_plan(flavour, bundle.path(model.files["fp32"]))
    finally:
        plan.path.write_bytes(whole)


def test_it_stays_right_and_small_for_a_while(flavour: str, bundle: Bundle, models: list[ModelEntry]) -> None:
    minutes = float(os.environ.get("FSR_SOAK_MINUTES", "0.2"))
    result = gpu_figures.soak(flavour, bundle.path(models[0].files["fp32"]), "fp32", minutes)
    assert result["calls"] > 0 and result["wrong"] == 0 and result["grown_mib"] <= 16, result
