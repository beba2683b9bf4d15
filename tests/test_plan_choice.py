"""Which plans are taken where a GPU and TensorRT are said to be there, and what is said where they are not."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_cuda import FakeCuda
from fake_trt_runtime import FakeTensorRT, fixed_plan

from fsr.runtime.bundle import FileEntry, default_folder
from fsr.runtime.engines import AUTO, choose_detector, choose_engine, open_network, plan_choice, tensorrt
from fsr.runtime.engines.cuda_device import Gpu
from fsr.runtime.engines.plan_record import Plan, PlanKey, PlanParity
from fsr.runtime.engines.plans import record_figures, store_plan
from fsr.runtime.engines.trt_library import TensorRT
from fsr.runtime.errors import EngineUnavailableError
from fsr.runtime.pipeline import Restorer

GPU = Gpu("Fake GPU", (9, 0), 2**34, 12040)
MODELS = [
    {"fp32": FileEntry("a.onnx", "a" * 64), "int8": FileEntry("a.int8.onnx", "8" * 64)},
    {"fp32": FileEntry("b.onnx", "b" * 64)},
]
KeptPlan = Callable[..., Plan]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRT:
    """A GPU, CUDA and TensorRT 8.6.0, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cuda = FakeCuda()
    fake = FakeTensorRT(
        lambda handle, work: cuda.put(cuda.streams[handle], work),
        cuda.view,
        lambda handle: cuda.streams[handle].capturing is not None,
    )
    library = fake.library()
    for module in (plan_choice, tensorrt):
        monkeypatch.setattr(module, "find_gpu", lambda: GPU)
        monkeypatch.setattr(module, "load_tensorrt", lambda flavour: library)
        monkeypatch.setattr(module, "open_cuda", lambda **_: cuda)
    monkeypatch.setattr(plan_choice, "find_spec", lambda name: name if name == "tensorrt" else None)
    return library


@pytest.fixture
def keep(here: TensorRT) -> KeptPlan:
    """Puts a plan into the cache; `ms` is its time a face, and measures it."""

    def keep(
        onnx: str, precision: str, ms: float | None = None, failures: list[str] | None = None, gpu: str = GPU.name
    ) -> Plan:
        profiles = [[[n, 4, 4, 3] for n in (1, 4, 16)]]
        key = PlanKey(onnx, precision, "tensorrt", here.version, gpu, ["9.0"], profiles, {})
        plan = store_plan(key, "model", fixed_plan(4), build_seconds=1.0)
        if ms is None:
            return plan
        return record_figures(plan, PlanParity(64, failures or []), {"1": ms, "4": 4 * ms}, str(GPU))

    return keep


def test_auto_takes_the_precision_that_was_measured_fastest(keep: KeptPlan) -> None:
    for onnx in ("a", "b"):
        keep(onnx * 64, "fp32", 0.2)
        keep(onnx * 64, "fp16", 0.1)
    choice = choose_engine(AUTO, AUTO, ["fp32"], models=MODELS)
    assert (choice.engine, choice.precision) == ("tensorrt", "fp16")
    assert "passed its parity gate on this Fake GPU" in str(choice)
    assert "fastest of those measured: fp16 0.100, fp32 0.200 ms a face" in str(choice)


def test_auto_takes_no_plan_that_failed_its_gate_or_was_not_measured(keep: KeptPlan) -> None:
    for onnx in ("a", "b"):
        keep(onnx * 64, "fp32")
        keep(onnx * 64, "fp16", 0.1, ["too far"])
    choice = choose_engine(AUTO, AUTO, ["fp32"], models=MODELS)
    assert choice.engine == "onnxruntime"
    assert "not tensorrt: no plans of tensorrt 8.6.0 that passed their gate on this Fake GPU" in choice.why


def test_auto_needs_a_plan_of_every_model(keep: KeptPlan) -> None:
    keep("8" * 64, "int8", 0.05)
    keep("a" * 64, "fp16", 0.1)
    keep("a" * 64, "fp32", 0.2)
    keep("b" * 64, "fp32", 0.2)
    assert choose_engine(AUTO, AUTO, ["fp32"], models=MODELS).precision == "fp32"
    assert choose_engine(AUTO, AUTO, ["fp32"], models=MODELS[:1]).precision == "int8"


def test_auto_says_why_it_leaves_tensorrt(here: TensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no TensorRT plans here; fsr-export build makes them" in choose_engine(AUTO, "fp32", models=MODELS).why
    monkeypatch.setattr(plan_choice, "find_spec", lambda name: None)
    assert "no TensorRT here" in choose_engine(AUTO, "fp32", models=MODELS).why


def test_by_name_it_takes_what_was_not_measured_and_says_so(keep: KeptPlan) -> None:
    for onnx in ("a", "b"):
        keep(onnx * 64, "fp32")
    choice = choose_engine("tensorrt", AUTO, models=MODELS)
    assert choice.precision == "fp32"
    assert choice.why_precision == "its plans are there; parity and speed were not measured"


def test_by_name_without_plans_it_says_what_builds_them(keep: KeptPlan) -> None:
    keep("a" * 64, "fp16", gpu="Other GPU")
    keep("b" * 64, "fp16", 0.1, ["too far"])
    with pytest.raises(
        EngineUnavailableError, match=r"no fp16 plans of tensorrt .* Fake GPU .*fsr-export build --fp16"
    ):
        choose_engine("tensorrt", "fp16", models=MODELS)


def test_plans_that_failed_the_gate_are_named_not_called_absent(keep: KeptPlan) -> None:
    for onnx in ("a", "b"):
        keep(onnx * 64, "fp16", 0.1, [f"{onnx}: 30 dB"])
    failed = r"\(model fp16: one failed the gate: a: 30 dB, and 1 more\)"
    said = f"no fp16 plans of .* {failed}; build them with: fsr-export build --fp16 --rebuild$"
    with pytest.raises(EngineUnavailableError, match=said):
        choose_engine("tensorrt", "fp16", models=MODELS)
    choice = choose_engine(AUTO, AUTO, ["fp32"], models=MODELS)
    assert choice.why.startswith("not tensorrt: no plans of tensorrt 8.6.0 that passed their gate on this Fake GPU (")
    assert "failed the gate: a: 30 dB, and 1 more)" in choice.why and "build them" not in choice.why


def test_auto_leaves_damaged_plans_and_a_cache_that_cannot_be_read(keep: KeptPlan, tmp_path: Path) -> None:
    plans = [keep(onnx * 64, "fp32", 0.2) for onnx in ("a", "b")]
    assert choose_engine(AUTO, AUTO, ["fp32"], models=MODELS).engine == "tensorrt"
    plans[1].path.write_bytes(plans[1].path.read_bytes()[:-1] + b"?")
    choice = choose_engine(AUTO, AUTO, ["fp32"], models=MODELS)
    assert choice.engine == "onnxruntime" and "got sha256" in choice.why
    (tmp_path / "fsr-edge").rename(tmp_path / "elsewhere")
    (tmp_path / "fsr-edge").write_text("in the way")
    choice = choose_engine(AUTO, AUTO, ["fp32"], models=MODELS)
    assert choice.engine == "onnxruntime" and "the plans there cannot be read: Not a directory" in choice.why


def test_the_command_names_a_bundle_that_is_not_the_packages_own(here: TensorRT, tmp_path: Path) -> None:
    mine = tmp_path / "my bundle"
    shutil.copytree(default_folder(), mine)
    said = f"fsr-export build --bundle '{mine}'"
    with pytest.raises(EngineUnavailableError, match=re.escape(said) + "$"):
        Restorer.open(mine, engine="tensorrt")
    with pytest.raises(EngineUnavailableError, match=r"fsr-export build$"):
        Restorer.open(engine="tensorrt")
    assert choose_detector("tensorrt", AUTO, MODELS[0], mine).why_precision.endswith(said)
    assert f"no TensorRT plans here; {said} makes them" in choose_engine(AUTO, models=MODELS, bundle=mine).why
    model = next(mine.glob("edge-S-16x8.fp32*"))
    with pytest.raises(EngineUnavailableError, match=re.escape(f"{said} --fp32 --flavour tensorrt")):
        open_network("tensorrt", model, "fp32")


def test_a_detector_without_a_plan_stays_with_onnx_runtime_and_says_so(keep: KeptPlan) -> None:
    choice = choose_detector("tensorrt", AUTO, MODELS[0])
    assert (choice.engine, choice.precision) == ("onnxruntime", "fp32")
    assert choice.why_precision.startswith("there are no plans of tensorrt 8.6.0 for this Fake GPU")
    keep("a" * 64, "fp16")
    assert choose_detector("tensorrt", AUTO, MODELS[0]).engine == "tensorrt"


@pytest.mark.parametrize(
    ("asked", "taken"), [("int8", "tensorrt fp16"), ("fp16", "tensorrt fp16"), ("fp32", "onnxruntime fp32")]
)
def test_a_detector_is_taken_in_what_is_asked_for_or_more_exact(keep: KeptPlan, asked: str, taken: str) -> None:
    keep("a" * 64, "fp16", 0.1)
    choice = choose_detector("tensorrt", asked, MODELS[0])
    assert f"{choice.engine} {choice.precision}" == taken


def test_the_plan_of_a_model_runs(keep: KeptPlan) -> None:
    model = b"an onnx file"
    keep(hashlib.sha256(model).hexdigest(), "fp16")
    network = open_network("tensorrt", model, "fp16")
    assert (network.name, network.precision, network.device) == ("tensorrt", "fp16", "cuda")
    assert network.input_shape == (None, 4, 4, 3)


def damaged(plan: Plan) -> None:
    plan.path.write_bytes(plan.path.read_bytes()[:-1] + b"?")


def cut(plan: Plan) -> None:
    plan.path.write_bytes(plan.path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [(damaged, "got sha256 "), (cut, r"got \d+ bytes, its record says"), (None, "there is no fp16 plan")],
)
def test_no_byte_of_a_bad_plan_reaches_tensorrt(
    keep: KeptPlan, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Plan], None] | None, sentence: str
) -> None:
    def touched(*_: object, **__: object) -> None:
        raise AssertionError("TensorRT was given a plan")

    plan = keep(hashlib.sha256(b"model").hexdigest(), "fp16", gpu=GPU.name if spoil else "Other GPU")
    if spoil:
        spoil(plan)
    monkeypatch.setattr(tensorrt, "TensorRtNetwork", touched)
    with pytest.raises(EngineUnavailableError, match=f"{sentence}.*fsr-export build"):
        open_network("tensorrt", b"model", "fp16")


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_without_a_gpu_a_run_ends_in_one_sentence(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "no NVIDIA driver was found"

    def refuse() -> Gpu:
        raise EngineUnavailableError(sentence)

    monkeypatch.setattr(plan_choice, "find_gpu", refuse)
    monkeypatch.setattr(tensorrt, "find_gpu", refuse)
    calls = (lambda: Restorer.open(engine=engine), lambda: choose_engine(engine), lambda: open_network(engine, b""))
    for call in calls:
        with pytest.raises(EngineUnavailableError, match=f"^{sentence}$"):
            call()
