"""`fsr-export build` with TensorRT-RTX, which parses and builds for real without a GPU; what only a GPU could tell is
stood in for by ONNX Runtime."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import ModelProto, numpy_helper
from rich.console import Console
from test_export_cli import assert_one_line
from test_qdq import bias, first, scale_of_zero, shifted_zero

from fsr.export.cli import main
from fsr.export.half import to_half
from fsr.export.placement import broken_rules
from fsr.export.tensorrt.build_bundle import BuildRequest, BuildRun
from fsr.export.tensorrt.builder import Order, build
from fsr.export.tensorrt.monitor import Watch
from fsr.export.tensorrt.shapes import Limits, model_profiles
from fsr.export.tensorrt.target import find_target
from fsr.runtime.bundle import check_file, default_folder, file_entry, open_bundle, read_manifest, write_manifest
from fsr.runtime.engines import open_network
from fsr.runtime.engines.cuda_device import Gpu
from fsr.runtime.engines.plans import list_plans, plans_folder
from fsr.runtime.engines.trt_library import TensorRT, load_tensorrt
from fsr.runtime.errors import EngineUnavailableError
from fsr.runtime.files import write_bytes

pytest.importorskip("tensorrt_rtx", reason='builds need TensorRT-RTX: pip install "fsr-edge[tensorrt-rtx]"')

HERE = Path(__file__).parent
NAME, OTHER = "edge-S-16x8", "edge-S-32x4"
GPU = Gpu("NVIDIA Test", (8, 9), 8 << 30, 12040)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fsr-edge" / "engines"


@pytest.fixture(scope="module")
def library() -> TensorRT:
    return load_tensorrt("tensorrt-rtx")


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A released model in every precision."""
    model = open_bundle(default_folder()).model(NAME)
    made = {precision: check_file(default_folder(), model.files[precision]) for precision in ("fp32", "int8")}
    return {**made, "fp16": to_half(made["fp32"], NAME)}


@pytest.fixture
def int8(files: dict[str, bytes]) -> bytes:
    return files["int8"]


@pytest.fixture(scope="module")
def bundle(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(tmp_path_factory.mktemp("bundles") / "all", files)


def bundle_of(folder: Path, files: dict[str, bytes]) -> Path:
    """The default bundle with these files of one model, and a second model in fp32 alone."""
    shutil.copytree(default_folder(), folder, copy_function=linked)
    manifest = read_manifest(folder)
    for precision, data in files.items():
        write_bytes(folder / f"mine.{precision}.onnx", data)
    mine = {precision: file_entry(folder, f"mine.{precision}.onnx") for precision in files}
    by_name = {model.name: model for model in manifest.models}
    other = by_name[OTHER]
    models = [replace(by_name[NAME], files=mine), replace(other, files={"fp32": other.files["fp32"]})]
    write_manifest(folder, replace(manifest, models=models))
    return folder


def linked(source: str, copy: str) -> None:
    Path(copy).symlink_to(Path(source).resolve())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["build", *map(str, arguments)])


def why(result: Result) -> str:
    """The reason that --explain gives for the only job."""
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("  "))
    return line.strip()


def test_every_precision_of_a_model(bundle: Path, cache: Path) -> None:
    result = run("--bundle", bundle, "--model", NAME)
    assert result.exit_code == 0, result.output
    for precision in ("fp32", "fp16", "int8"):
        assert re.search(rf"^{NAME} {precision}: built in .* s, .* MB, parity not measured: ", result.stdout, re.M)
    assert "parity was not measured (they are for compute capabilities" in result.stderr
    assert "--engine auto leaves such plans alone" in result.stderr
    assert result.stderr.count("tensorrt_rtx --onnx=") == 3
    plans, damaged = list_plans()
    assert (len(plans), damaged) == (3, {})
    for plan in plans:
        assert plan.record.parity is None
        assert plan.record.key.gpu is None
        assert "8.9" in plan.record.key.compute_capabilities
        assert plan.record.key.profiles == [[[1, 16, 16, 3], [4, 16, 16, 3], [16, 16, 16, 3]]]
        assert plan.record.key.onnx == open_bundle(bundle).model(NAME).files[plan.record.key.precision].sha256
    assert {path.suffix for path in cache.iterdir()} == {".plan", ".json"}


@pytest.mark.parametrize("text", [run("--help").output, (HERE.parent / "docs" / "tensorrt.md").read_text("utf-8")])
def test_examples_ask_the_packages_bundle_for_what_it_has(text: str) -> None:
    examples = [line for line in re.findall(r"fsr-export build .*", text) if "--bundle" not in line]
    asked = {precision for line in examples for precision in re.findall("--(fp32|fp16|int8)", line)}
    assert asked and asked <= set(open_bundle(default_folder()).model(NAME).files)


def test_what_is_there_is_used_and_what_changed_is_built(bundle: Path, cache: Path) -> None:
    fixed = ("--bundle", bundle, "--model", NAME, "--int8", "--explain")
    assert why(run(*fixed)) == "build: there is none yet"
    assert why(run(*fixed)).startswith("use: built 20")
    assert "asked for is 256" in why(run(*fixed, "--workspace", 256))
    assert "there is one for shapes" in why(run(*fixed, "--batch", "1,1,1"))
    assert "asked for is 8.6" in why(run(*fixed, "--compute-capability", "8.6"))
    assert why(run(*fixed, "--rebuild")) == "build: --rebuild asks for it"
    plan = max(cache.glob("*.plan"), key=lambda path: path.stat().st_mtime_ns)
    plan.write_bytes(plan.read_bytes()[:1000])
    assert "got 1000 bytes, its record says" in why(run(*fixed))
    plan.with_suffix(".json").write_text("{")
    assert "cannot be read as JSON" in why(run(*fixed))
    assert why(run(*fixed)).startswith("use: built 20")


def test_a_changed_model_is_built_anew(bundle: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    fixed = ("--model", NAME, "--int8", "--explain")
    why(run("--bundle", bundle, *fixed))
    model = onnx.load_model_from_string(files["int8"])
    model.producer_name = "another"
    other = bundle_of(tmp_path / "other", {**files, "int8": model.SerializeToString()})
    assert "the ONNX file changed from" in why(run("--bundle", other, *fixed))


def test_list_and_clean(bundle: Path, cache: Path) -> None:
    assert run("--list").stderr.startswith("0 plans, 0 damaged, 0.0 MB in ")
    run("--bundle", bundle, "--model", NAME, "--fp16", "--int8")
    result = run("--list")
    assert f"{NAME} int8 for compute capability 8.0" in result.stdout
    assert "parity not measured" in result.stdout
    (cache / "stray.plan").write_bytes(b"x")
    assert "damaged: " in run("--list").stdout
    assert "2 plans removed" in run("--clean", "--model", NAME).stdout
    assert "1 plans removed" in run("--clean").stdout
    assert list(cache.iterdir()) == []
    assert_one_line(run("--list", "--clean"), "got both")
    assert_one_line(
        run("--clean", "--model", "nosuch"), "got model 'nosuch', expected one of: edge-L-16x8, ", "detector"
    )
    assert "0 plans removed" in run("--clean", "--model", NAME).stdout


def test_list_sees_every_damage(bundle: Path, cache: Path) -> None:
    run("--bundle", bundle, "--model", NAME)
    whole, short, changed = sorted(cache.glob("*.plan"))
    short.write_bytes(short.read_bytes()[:-1])
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    result = run("--list")
    assert result.exit_code == 0 and result.stderr.startswith("1 plans, 2 damaged, ")
    assert whole.name in result.stdout
    assert re.search(rf"^damaged: .*{re.escape(short.name)}: got \d+ bytes, its record says ", result.stdout, re.M)
    assert re.search(rf"^damaged: .*{re.escape(changed.name)}: got sha256 ", result.stdout, re.M)


def test_what_is_no_plan_is_listed_and_cleaned_without_a_crash(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "dangling.plan").symlink_to("nowhere")
    (cache / "folder.plan").mkdir()
    (cache / "other.json").mkdir()
    (cache / "other.plan").write_bytes(b"x")
    assert run("--list").stderr.startswith("0 plans, 3 damaged, ")
    result = run("--clean")
    assert "1 plans removed" in result.stdout
    assert_one_line(result, "folder.plan: cannot be removed: ", "other.json: cannot be removed: ", "remove it yourself")
    assert sorted(path.name for path in cache.iterdir()) == ["folder.plan", "other.json", "other.plan"]


def test_a_cache_that_cannot_be_written_or_read(bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = ("--bundle", bundle, "--model", NAME, "--int8")
    run(*fixed)

    def refuse(folder: Path, *unused: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", refuse)
        patch.setattr(Path, "unlink", refuse)
        assert why(run(*fixed, "--explain")).startswith("use: built")  # nothing is to be written
        assert_one_line(run(*fixed, "--rebuild"), "nothing can be written there: Permission denied")
        assert_one_line(run("--clean"), "cannot be removed: Permission denied")
    assert len(list_plans()[0]) == 1
    monkeypatch.setattr(Path, "iterdir", refuse)
    for arguments in (["--list"], ["--clean"], fixed):
        assert_one_line(run(*arguments), f"{cache}: the plans there cannot be read: Permission denied; ")


def test_what_a_build_is_writing_is_neither_listed_nor_cleaned(cache: Path) -> None:
    cache.mkdir(parents=True)
    new, old = cache / ".m.fp16.12.partial.plan", cache / ".m.fp16.99999999.partial.plan"
    for path in (new, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert run("--list").stderr.startswith("0 plans, 0 damaged, 0.0 MB")
    assert "0 plans removed" in run("--clean").stdout
    assert list(cache.iterdir()) == [new]


def test_int8_that_cannot_be_built_falls_back_aloud(files: dict[str, bytes], tmp_path: Path) -> None:
    model = onnx.load_model_from_string(files["int8"])
    asymmetric(model)
    broken = bundle_of(tmp_path / "broken", {**files, "int8": model.SerializeToString()})
    result = run("--bundle", broken, "--model", NAME, "--int8")
    assert result.exit_code == 1, result.output
    assert re.search(rf"{NAME} int8: .* cannot read .*zero point.*; falling back to fp16", result.stderr)
    assert re.search(rf"^{NAME} int8: FAILED: .*zero point", result.stdout, re.M)
    assert re.search(rf"^{NAME} fp16: built in", result.stdout, re.M)
    assert [plan.record.key.precision for plan in list_plans()[0]] == ["fp16"]


def test_the_detector_falls_back_once_each_way(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle_of(tmp_path / "detectors", files)
    manifest = read_manifest(folder)
    detectors = {precision: file_entry(folder, f"mine.{precision}.onnx") for precision in files}
    write_manifest(folder, replace(manifest, detector=replace(manifest.detector, files=detectors)))

    def refuse(*unused: object, **more: object) -> None:
        raise EngineUnavailableError("too small")

    monkeypatch.setattr("fsr.export.tensorrt.build_bundle.build", refuse)
    for asked, other in (("int8", "fp16"), ("fp16", "int8")):
        result = run("--bundle", folder, "--model", "detector", f"--{asked}")
        assert_one_line(result, "nothing could be built: too small")
        assert re.findall("falling back to (.*)", result.stderr) == [other]
        assert re.findall("^detector (.*): FAILED", result.stdout, re.M) == [asked, other]


def test_what_the_bundle_lacks(bundle: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    floats = bundle_of(tmp_path / "fp32", {"fp32": files["fp32"]})
    assert_one_line(run("--bundle", floats, "--fp16"), "has none; make one with: fsr-export half")
    result = run("--bundle", floats, "--fp32", "--fp16", "--model", NAME)
    assert_one_line(result, "not all that was asked for is in the bundle", exit_code=1)
    assert f"{NAME}: the bundle has no fp16 of it for TensorRT; fp32 stands in" in result.stderr
    assert run("--clean").exit_code == 0
    result = run("--bundle", bundle, "--int8", "--model", NAME, "--model", OTHER)
    assert result.exit_code == 1, result.output
    assert f"{OTHER}: the bundle has no int8 of it for TensorRT; fp32 stands in" in result.stderr
    assert {str(plan).partition(" for ")[0] for plan in list_plans()[0]} == {f"{NAME} int8", f"{OTHER} fp32"}


def test_the_detector(files: dict[str, bytes], tmp_path: Path) -> None:
    """One frame of any size, and closer looks in batches; in the precision that there is for TensorRT."""
    folder = bundle_of(tmp_path / "half", files)
    manifest = read_manifest(folder)
    floats = manifest.detector.files["fp32"]
    write_bytes(folder / "half.onnx", to_half(check_file(folder, floats), "detector"))
    detector = replace(manifest.detector, files={"fp32": floats, "fp16": file_entry(folder, "half.onnx")})
    write_manifest(folder, replace(manifest, detector=detector))
    result = run("--bundle", folder, "--model", "detector", "--fp32", "--frame", "320x240")
    assert result.exit_code == 1, result.output
    assert "detector: the bundle has no fp32 of it for TensorRT; fp16 stands in" in result.stderr
    write_manifest(folder, replace(manifest, detector=replace(manifest.detector, files={"fp32": floats})))
    assert_one_line(run("--bundle", folder, "--model", "detector"), "fsr-export half makes it for TensorRT")
    (plan,) = list_plans()[0]
    frames, looks = plan.record.key.profiles
    assert (frames[0], frames[2]) == ([1, 32, 32, 3], [1, 256, 320, 3])
    assert looks[2][0] == 16
    assert "--profile=1" in result.stderr


def test_options_that_do_not_fit(bundle: Path, tmp_path: Path) -> None:
    assert_one_line(run("--bundle", bundle, "--model", "edge-XL"), "got model 'edge-XL'", f"{OTHER}, detector")
    assert_one_line(run("--compute-capability", "9.0"), "got 9.0, expected some of 7.5")
    assert_one_line(run("--flavour", "tensorrt", "--compute-capability", "8.9"), "add --flavour tensorrt-rtx")
    assert_one_line(run("--workspace", "0"), "--workspace: got 0")
    assert_one_line(run("--bundle", tmp_path), "not a bundle")
    result = run("--bundle", bundle, "--model", NAME, "--fp32", "--timing-cache", tmp_path / "t")
    assert "times nothing while it builds, so there is none to keep" in result.stderr
    assert_one_line(run("--bundle", bundle, "--model", NAME, "--workspace", "1"), "; raise --workspace, or lower ")


def test_without_tensorrt_one_sentence_says_what_to_do(bundle: Path, cache: Path) -> None:
    result = separately(bundle, "tensorrt", "tensorrt_rtx")
    assert result.returncode == 2
    (error,) = result.stderr.splitlines()
    assert error.startswith("error: nothing can be built here: ")
    assert error.endswith('install it with: pip install "fsr-edge[tensorrt-rtx]"')


def test_it_needs_neither_torch_nor_onnx(bundle: Path, cache: Path) -> None:
    result = separately(bundle, "torch", "onnx", "onnxscript", "safetensors", "matplotlib", "skimage")
    assert result.returncode == 0, result.stderr
    assert f"{NAME} fp32: built in" in result.stdout


def separately(bundle: Path, *hidden: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, where these modules cannot be imported, and no GPU is seen."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({hidden!r}))"
    start = f"{hide}; from fsr.export.cli import main; main()"
    arguments = ["build", "--bundle", str(bundle), "--model", NAME, "--fp32"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **variables}
    command = [sys.executable, "-c", start, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a driver that says there is a GPU, and CUDA 12.4, which is less than TensorRT-RTX needs."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("gcc builds the driver that stands in for Linux's, and is not here")
    folder = tmp_path_factory.mktemp("driver")
    command = ["gcc", "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", str(HERE / "fake_driver.c"), "-ldl"]
    subprocess.run([*command, "-o", str(folder / "libcuda.so.1")], check=True)
    return str(folder)


def test_a_driver_that_is_too_old_to_open_the_plan(bundle: Path, cache: Path, driver: str) -> None:
    if find_spec("cuda") is None:
        pytest.skip('plans are opened through CUDA: pip install "fsr-edge[cuda]"')
    result = separately(bundle, "pycuda", LD_LIBRARY_PATH=driver, FAKE_CAPABILITY="89")
    assert result.returncode == 1, result.stderr
    *_, error = result.stderr.splitlines()
    assert error.startswith(f"error: {NAME} fp32 cannot be tried on this Fake GPU: "), result.stderr
    assert "cudaError 35" in error and "; the NVIDIA driver is older than the CUDA that this TensorRT needs" in error
    assert "build it anew" not in result.stderr and f"{NAME} fp32: built in" in result.stdout


def test_a_gpu_without_a_package_for_cuda(bundle: Path, cache: Path, driver: str) -> None:
    result = separately(bundle, "pycuda", "cuda", LD_LIBRARY_PATH=driver, FAKE_CAPABILITY="89")
    assert result.returncode == 1, result.stderr
    assert result.stderr.endswith(
        'neither pycuda nor cuda-bindings is installed; install it with: pip install "fsr-edge[cuda]"\n'
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [("803", "the NVIDIA driver does not start: CUDA_ERROR_OTHER"), ("100", "the NVIDIA driver finds no GPU")],
)
def test_a_gpu_that_does_not_work_is_passed_over_aloud(
    bundle: Path, cache: Path, driver: str, code: str, said: str
) -> None:
    result = separately(bundle, LD_LIBRARY_PATH=driver, FAKE_INIT=code)
    assert result.returncode == 0, result.stderr
    assert re.match(rf"building with tensorrt-rtx .*, no GPU of this machine \({said}\), compute", result.stderr)


def test_ctrl_c_stops_a_build_and_stores_nothing(bundle: Path) -> None:
    stop = Event()

    def press(phase: str, share: float) -> None:
        if share > 0.3:
            stop.set()

    with pytest.raises(KeyboardInterrupt):
        BuildRun(BuildRequest(bundle, ["fp32"], [NAME]), lambda line: None)(lambda job, n, of: press, stop)
    assert list_plans() == ([], {})


def test_progress_runs_from_nothing_to_all(files: dict[str, bytes], library: TensorRT) -> None:
    shares: list[float] = []
    watch = Watch(lambda phase, share: shares.append(share), Event())
    order = Order("tiny", files["fp32"], model_profiles(16, Limits()))
    build(library, order, watch=watch)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.8 < shares[-1] <= 1


@pytest.mark.parametrize("capability", ["7.5", "8.6", "8.9", "12.0"])
def test_released_models_build_for(capability: str, library: TensorRT) -> None:
    """The smallest in fp16, the largest in the precision it is released in and that costs most; the documentation says
    how long all of them take."""
    released, target = open_bundle(default_folder()), find_target("tensorrt-rtx", [capability])
    small, large = released.model(OTHER), released.model("edge-L-16x8")
    half = to_half(check_file(released.folder, small.files["fp32"]), small.name)
    data = check_file(released.folder, large.files["int8"])
    for name, model, side in ((small.name, half, small.input_size), (large.name, data, large.input_size)):
        built = build(library, Order(name, model, model_profiles(side, Limits()), members=target.members))
        assert len(built.plan) > 100_000
        assert built.seconds < 60


def asymmetric(model: ModelProto) -> None:
    """Values from 0 around a zero point of -128, as quantize_static writes them by default."""
    scale = first(model, "QuantizeLinear").input[1]
    model.graph.initializer.append(numpy_helper.from_array(np.array(-128, np.int8), "shift"))
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[1] == scale:
            node.input[:] = [node.input[0], scale, "shift"]


def unsigned(model: ModelProto) -> None:
    asymmetric(model)
    shift = next(tensor for tensor in model.graph.initializer if tensor.name == "shift")
    shift.CopyFrom(numpy_helper.from_array(np.array(128, np.uint8), "shift"))


def wrong_axis(model: ModelProto) -> None:
    """Scales along the inputs of weights that have another number of outputs."""
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.attribute and len(set(shapes[node.input[0]][:2])) == 2:
            node.attribute[0].i = 1


@pytest.mark.parametrize("spoil", [asymmetric, unsigned, shifted_zero, bias, wrong_axis, scale_of_zero])
def test_the_parser_and_the_validator_refuse_alike(
    spoil: Callable[[ModelProto], None], int8: bytes, library: TensorRT
) -> None:
    model = onnx.load_model_from_string(int8)
    assert list(broken_rules(model)) == []
    spoil(model)
    assert list(broken_rules(model)) != []
    with pytest.raises(EngineUnavailableError, match=r"tensorrt-rtx .* cannot read tiny: node \d+: ."):
        build(library, Order("tiny", model.SerializeToString(), model_profiles(16, Limits())))


@pytest.mark.parametrize("data", [b"", b"PK" * 99, b"\x08\x08" + bytes(99)], ids=["empty", "zip", "cut"])
def test_what_is_no_model(data: bytes, library: TensorRT) -> None:
    with pytest.raises(EngineUnavailableError, match="cannot read tiny: "):
        build(library, Order("tiny", data, model_profiles(16, Limits())))


class OnnxNetwork:
    """Stands in for a plan on a GPU: its ONNX file by ONNX Runtime, spoilt where that is asked for."""

    models: dict[str, bytes]
    spoilt: Sequence[str] = ()

    def __init__(self, data: bytes, library: TensorRT, cuda: object, precision: str) -> None:
        assert len(data) > 100_000
        self._network = open_network("onnxruntime", self.models[precision], precision)
        self.name, self.precision, self.device = library.flavour, precision, "cuda"
        self.input_shape, self.outputs = self._network.input_shape, self._network.outputs

    def __call__(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        made = self._network(batch)
        return {name: 255 - value for name, value in made.items()} if self.precision in self.spoilt else made

    def __enter__(self) -> OnnxNetwork:
        return self

    def __exit__(self, *unused: object) -> None: ...


@pytest.fixture
def gpu(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> type[OnnxNetwork]:
    """A GPU that TensorRT-RTX knows, and the network that runs on it."""
    network = type("Network", (OnnxNetwork,), {"models": files})
    monkeypatch.setattr("fsr.export.tensorrt.target.find_gpu", lambda: GPU)
    monkeypatch.setattr("fsr.export.tensorrt.target.FLAVOURS", ["tensorrt-rtx"])
    monkeypatch.setattr("fsr.export.tensorrt.measure.open_cuda", SimpleNamespace)
    monkeypatch.setattr("fsr.export.tensorrt.measure.TensorRtNetwork", network)
    monkeypatch.setattr("fsr.export.tensorrt.measure.RUNS", 10)
    return network


def test_on_a_gpu_parity_and_time_are_measured(bundle: Path, gpu: type[OnnxNetwork]) -> None:
    result = run("--bundle", bundle, "--model", NAME, "--fp16")
    assert re.search(
        rf"^{NAME} fp16: built .*, parity passed on 64 faces, 1: .* ms, 4: .* ms, 16: .* ms: ", result.stdout
    )
    (plan,) = list_plans()[0]
    assert plan.passed
    assert (plan.record.key.gpu, plan.record.key.compute_capabilities) == ("NVIDIA Test", ["8.9"])
    assert sorted(map(int, plan.record.milliseconds)) == [1, 4, 16]
    assert plan.record.measured_on is not None
    assert "NVIDIA Test" in plan.record.measured_on and "CUDA 12.4" in plan.record.measured_on
    assert "parity passed" in why(run("--bundle", bundle, "--model", NAME, "--fp16", "--explain"))


def test_what_fails_the_gate_is_refused_and_the_next_is_built(bundle: Path, gpu: type[OnnxNetwork]) -> None:
    gpu.spoilt = ["int8"]
    result = run("--bundle", bundle, "--model", NAME, "--int8")
    assert_one_line(result, f"{NAME} int8 failed the gate: ", exit_code=3)
    assert "; falling back to fp16" in result.stderr
    assert f"{NAME} int8: REFUSED: " in result.stdout
    assert f"{NAME} fp16: built in" in result.stdout
    assert {plan.record.key.precision: plan.passed for plan in list_plans()[0]} == {"int8": False, "fp16": True}
    again = run("--bundle", bundle, "--model", NAME, "--int8", "--explain")
    assert again.exit_code == 3
    assert "  refuse: built 20" in again.stdout and "--rebuild tries again" in again.stdout
    gpu.spoilt = []
    assert run("--bundle", bundle, "--model", NAME, "--int8", "--rebuild").exit_code == 0


def test_what_was_built_but_not_measured_is_measured_later(
    bundle: Path, gpu: type[OnnxNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> object:
        raise EngineUnavailableError("neither pycuda nor cuda-bindings is here")

    fixed = ("--bundle", bundle, "--model", NAME, "--fp32", "--explain")
    with monkeypatch.context() as patch:
        patch.setattr("fsr.export.tensorrt.measure.open_cuda", missing)
        result = run(*fixed)
        assert_one_line(
            result, f"{NAME} fp32 cannot be tried on this NVIDIA Test: neither pycuda nor cuda-bindings", exit_code=1
        )
    assert "not measured yet" in why(run(*fixed))
    assert json.loads(next(plans_folder().glob("*.json")).read_text())["parity"]["failures"] == []
    assert "parity passed" in why(run(*fixed))


def test_a_gpu_that_no_flavour_builds_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.export.tensorrt.target.find_gpu", lambda: Gpu("NVIDIA H200", (9, 0), 1 << 37, 13000))
    with pytest.raises(EngineUnavailableError, match=r"builds for compute capability .*, NVIDIA H200 has 9\.0"):
        find_target()


def test_the_bar_is_drawn_on_a_terminal_alone(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fsr.export.tensorrt.command import build as build_and_show

    console = Console(force_terminal=True, stderr=True, width=100)
    build_and_show(BuildRequest(bundle, ["fp32"], [NAME]), console, explain=False)
    captured = capsys.readouterr()
    assert "1 of 1" in captured.err
    assert captured.out.startswith(f"{NAME} fp32: built in")
