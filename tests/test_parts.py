"""Each part is seen working, and seen missing with the line that installs it."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import features

from fsr.runtime import bundle, parts
from fsr.runtime.bundle import default_folder, open_bundle
from fsr.runtime.engines import AUTO, OPENERS, choose_engine, trt_library
from fsr.runtime.engines.cuda_device import Gpu
from fsr.runtime.engines.plan_record import PlanKey, PlanParity
from fsr.runtime.engines.plans import record_figures, store_plan
from fsr.runtime.engines.trt_library import FLAVOURS
from fsr.runtime.errors import EngineUnavailableError
from fsr.runtime.parts import EnginePart, Part, looked_at


def the(name: str, found: list[Part]) -> Part:
    (part,) = [part for part in found if part.name == name]
    return part


def engines(gpus: list[str]) -> dict[str, EnginePart]:
    return {part.name: part for part in parts.engines(gpus)}


def test_every_engine_is_tried_with_the_default_models() -> None:
    found = engines([])
    assert list(found) == list(OPENERS)
    precisions = tuple(dict.fromkeys(p for model in open_bundle(default_folder()).manifest.models for p in model.files))
    runs = f"cpu; runs {', '.join(precisions)}"
    assert found["onnxruntime"] == EnginePart("onnxruntime", True, runs, None, "cpu", precisions)


@pytest.mark.parametrize(
    ("package", "engine", "install"),
    [
        ("onnxruntime", "onnxruntime", "pip install onnxruntime"),
        ("openvino", "openvino", 'pip install "fsr-edge[openvino]"'),
    ],
)
def test_a_missing_engine_has_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, package: str, engine: str, install: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    part = engines([])[engine]
    assert part.works is False and part.install == install
    assert "cannot be imported" in part.detail and install not in part.detail


def no_gpu() -> Gpu:
    raise EngineUnavailableError("the NVIDIA driver finds no GPU")


def test_cuda_is_to_be_installed_only_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: object, precision: str) -> None:
        raise EngineUnavailableError("this onnxruntime has no CUDA; install it with: pip install it")

    monkeypatch.setattr("fsr.runtime.engines.opening.OPENERS", {**OPENERS, "onnxruntime-cuda": refuse})
    monkeypatch.setattr("fsr.runtime.engines.cuda_device.find_gpu", no_gpu)
    without, with_one = engines([])["onnxruntime-cuda"], engines(["H200"])["onnxruntime-cuda"]
    assert (without.detail, without.install) == ("the NVIDIA driver finds no GPU", None)
    assert (with_one.detail, with_one.install) == ("this onnxruntime has no CUDA", "pip install it")


def test_a_precision_that_does_not_run_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "int8.onnx").write_text("no model")
    model = default_folder() / "edge-L-16x8.fp32.onnx"
    monkeypatch.setattr(parts, "_models_to_try", lambda: {"fp32": model, "int8": tmp_path / "int8.onnx"})
    part = engines([])["onnxruntime"]
    assert part.works and part.precisions == ("fp32",)
    assert "runs fp32; not int8: " in part.detail and "int8.onnx: ONNX Runtime cannot open it" in part.detail


def test_auto_says_what_it_takes_and_why() -> None:
    (part,) = parts.auto()
    files = [model.files for model in open_bundle(default_folder()).manifest.models]
    choice = choose_engine(AUTO, AUTO, files[0], models=files)
    assert part.works and part.detail.startswith(f"takes {choice.engine}: {choice.why}; {choice.precision}: ")


def test_the_default_bundle_is_checked_file_by_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole, *models = parts.default_bundle()
    assert whole.works and "every hash holds" in whole.detail
    assert [part.name for part in models] == bundle.open_bundle(default_folder()).names
    assert all("tier " in part.detail and "fp32" in part.detail for part in models)

    damaged = tmp_path / "damaged"
    shutil.copytree(default_folder(), damaged)
    (damaged / "detector.onnx").write_bytes(b"spoilt")
    monkeypatch.setattr(bundle, "default_folder", lambda: damaged)
    (part,) = looked_at("default", parts.default_bundle)
    assert part.works is False and "detector.onnx: got sha256" in part.detail
    assert engines([])["onnxruntime"].works  # the engine is not to blame
    assert engines([])["onnxruntime"].precisions == ()


def make_cameras(monkeypatch: pytest.MonkeyPatch, folder: Path, names: dict[str, str | None]) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(parts, "CAMERAS", folder / "dev")
    monkeypatch.setattr(parts, "CAMERA_NAMES", folder / "names")
    (folder / "dev").mkdir()
    for device, name in names.items():
        (folder / "dev" / device).touch()
        if name is not None:
            (folder / "names" / device).mkdir(parents=True)
            (folder / "names" / device / "name").write_text(f"{name}\n")


def test_cameras_come_in_the_order_of_their_numbers_with_their_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_cameras(monkeypatch, tmp_path, {"video10": "C", "video0": "A", "video2": None})
    found = list(parts.cameras())
    assert [Path(part.name).name for part in found] == ["video0", "video2", "video10"]
    assert [part.detail for part in found] == ["A", "without a name", "C"]
    assert all(part.works for part in found)


def test_a_camera_that_may_not_be_read_has_the_line_that_allows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_cameras(monkeypatch, tmp_path, {"video0": "A"})
    monkeypatch.setattr(os, "access", lambda *_: False)
    (part,) = parts.cameras()
    assert part.works is False and part.install == 'sudo usermod -aG video "$USER"'


def test_no_camera_and_systems_that_list_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_cameras(monkeypatch, tmp_path, {})
    (part,) = parts.cameras()
    assert part.works is False and "plug one in" in part.detail
    monkeypatch.setattr(sys, "platform", "darwin")
    (part,) = parts.cameras()
    assert part.works is None


@pytest.mark.parametrize(
    ("works", "why", "install"),
    [
        (True, "a window can be shown", None),
        (False, "there is no display", None),
        (False, "this OpenCV is headless", parts.INSTALL_WINDOWS),
    ],
)
def test_a_window_needs_a_display_and_an_opencv_that_shows_it(
    monkeypatch: pytest.MonkeyPatch, works: bool, why: str, install: str | None
) -> None:
    window = SimpleNamespace(has_display=lambda: (works, why))
    monkeypatch.setitem(sys.modules, "fsr.runtime.media.window", window)
    assert list(parts.display()) == [Part("window", works, why, install)]


def test_formats_that_pillow_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert the("PNG", list(parts.pictures())).works
    monkeypatch.setattr(features, "check", lambda name: name != "webp")
    found = list(parts.pictures())
    assert [part.name for part in found if not part.works] == ["WebP"]
    assert the("WebP", found).install == "pip install --force-reinstall pillow"


def test_without_pyav_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (part,) = parts.video()
    assert part.works is False and part.install == 'pip install "fsr-edge[video]"'


def test_codecs_that_pyav_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    av = SimpleNamespace(__version__="18", codecs_available={"h264"})
    monkeypatch.setitem(sys.modules, "av", av)
    found = list(parts.video())
    assert the("H.264 reading", found).works
    assert the("H.264 writing", found) == Part(
        "H.264 writing", False, "this PyAV has no libx264", "pip install --force-reinstall av"
    )


def test_a_part_that_cannot_even_be_looked_at_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash() -> None:
        raise OSError("libGL.so.1 is missing")

    monkeypatch.setitem(sys.modules, "fsr.runtime.media.window", SimpleNamespace(has_display=crash))
    assert looked_at("window", parts.display) == [Part("window", False, "OSError: libGL.so.1 is missing")]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.runtime.engines.cuda_device.find_gpu", lambda: Gpu("H200", (9, 0), 2**37, 12040))


def test_without_a_gpu_nothing_of_tensorrt_is_to_be_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse() -> Gpu:
        raise EngineUnavailableError("there is none")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("fsr.runtime.engines.cuda_device.find_gpu", refuse)
    found = list(parts.tensorrt())
    assert [part.name for part in found] == ["GPU", "tensorrt", "tensorrt-rtx", "pycuda", "cuda-bindings", "plans"]
    assert the("GPU", found) == Part("GPU", False, "there is none")
    assert the("plans", found).detail == f"none; fsr-export build makes them, in {tmp_path / 'fsr-edge' / 'engines'}"
    assert [part.install for part in found if part.install] == []


def test_without_a_gpu_each_line_stands_beside_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.runtime.engines.cuda_device.find_gpu", no_gpu)
    monkeypatch.setattr("fsr.runtime.engines.cuda.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    trt_library._load.cache_clear()
    found = list(parts.tensorrt())
    assert the("pycuda", found).detail == 'not installed; for an NVIDIA GPU: pip install "fsr-edge[tensorrt]"'
    assert the("cuda-bindings", found).detail.endswith('; for an NVIDIA GPU: pip install "fsr-edge[cuda]"')
    assert f"; for an NVIDIA GPU: {trt_library.install_line('tensorrt')}" in the("tensorrt", found).detail
    assert not any(part.install for part in found), "nothing here needs them"


def test_on_a_gpu_what_tensorrt_lacks_has_its_line(monkeypatch: pytest.MonkeyPatch, gpu: None) -> None:
    for name in FLAVOURS.values():
        monkeypatch.setitem(sys.modules, name, None)
    trt_library._load.cache_clear()
    monkeypatch.setattr("fsr.runtime.engines.cuda.find_spec", lambda name: None)
    found = list(parts.tensorrt())
    assert the("GPU", found) == Part("GPU", True, "H200, compute capability 9.0, 128.0 GiB, CUDA 12.4")
    assert the("pycuda", found).install == 'pip install "fsr-edge[tensorrt]"'
    assert the("cuda-bindings", found).install == 'pip install "fsr-edge[cuda]"'
    assert (the("tensorrt-rtx", found).install or "").startswith("pip install")


def test_plans_are_listed_with_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpu: None) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    key = PlanKey("a" * 64, "fp16", "tensorrt", "10.3.0", "H200", ["9.0"], [[[1, 4, 4, 3]] * 3], {})
    plan = store_plan(key, "edge-L", b"plan", build_seconds=1)
    record_figures(plan, PlanParity(64, []), {"1": 0.1}, "H200")
    store_plan(replace(key, precision="int8"), "edge-L", b"plan", build_seconds=1)
    (plan.path.parent / "lost.plan").write_bytes(b"?")
    cut = store_plan(replace(key, precision="fp32"), "edge-L", b"plan", build_seconds=1)
    cut.path.write_bytes(b"pla")
    refused = store_plan(replace(key, gpu="B200"), "edge-L", b"plan", build_seconds=1)
    record_figures(refused, PlanParity(64, ["30 dB"]), {}, "B200")
    whole, *plans = [part for part in parts.tensorrt() if part.name.startswith("plan")]
    assert whole.works and whole.detail.startswith("3 in ")
    told = {(part.works, part.detail.rpartition("; ")[2]) for part in plans[:3]}
    assert told == {(True, "1: 0.100 ms"), (None, "not measured"), (False, "fsr-export build --rebuild tries again")}
    assert any("failed the gate: 30 dB; " in part.detail for part in plans[:3])
    damaged = " ".join(part.detail for part in plans[3:] if part.works is False)
    assert "there is no lost.json" in damaged and "got 3 bytes, its record says 4" in damaged


def test_doctor_gives_one_reason_for_a_gpu_that_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.runtime.engines.cuda_device.find_gpu", no_gpu)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    trt_library._load.cache_clear()
    tried, found = engines([]), list(parts.tensorrt())
    assert tried["tensorrt"].detail == tried["onnxruntime-cuda"].detail == the("GPU", found).detail
    library = the("tensorrt-rtx", found)
    assert library.install is None  # nothing here needs it
    assert library.detail.endswith('; builds plans without a GPU too: pip install "fsr-edge[tensorrt-rtx]"')
