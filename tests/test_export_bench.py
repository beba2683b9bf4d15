"""The bench runs every file by every engine, and its sums are right; how fast anything is, no test says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import checker, load_model_from_string
from rich.console import Console
from tiny_models import saved, tiny_checkpoint

from fsr.export import bench as measured
from fsr.export import bench_torch
from fsr.export.bench import (
    YARDSTICK,
    BenchConfig,
    Load,
    Runner,
    bench,
    chosen,
    loads_of,
    peaks_of,
    race,
    row_of,
)
from fsr.export.bench_gate import Judge, speeds_of
from fsr.export.bench_memory import memory_of
from fsr.export.bench_result import BenchResult, Row, closing_lines, lines, tables
from fsr.export.bench_torch import BATCHES, COMPILED, EAGER, torch_runners
from fsr.export.cli import main
from fsr.export.yardstick import CHANNELS, MACS, SIDE, yardsticks
from fsr.runtime.bench.figures import Timing
from fsr.runtime.bundle import default_folder, open_bundle
from fsr.runtime.engines import Network, open_network
from fsr.runtime.engines.choice import PROBE
from fsr.runtime.engines.speeds import Speed, kept_speeds, speeds_folder
from fsr.runtime.errors import EngineUnavailableError, UsageError
from fsr.runtime.machine import this_machine
from fsr.runtime.pixels import RgbBatch

NOISE = np.zeros((4, 16, 16, 3), np.uint8)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty one, and where the times will be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return speeds_folder()


def runner(engine: str, precision: str, model: str = "face", file: Path | None = None) -> Runner:
    return Runner(model, engine, precision, "cpu", len, file)


def load(model: str = "face", macs: int | None = 8_000_000) -> Load:
    return Load(model, "4", NOISE, 4, macs)


def test_every_contestant_takes_its_turn_in_every_round() -> None:
    calls: list[tuple[str, int]] = []

    def noted(name: str) -> Runner:
        def run(batch: RgbBatch) -> None:
            calls.append((name, len(batch)))

        return Runner("face", name, "fp32", "cpu", run, None)

    loads = [Load("face", "1", NOISE[:1], 1, None), load()]
    taken = race([noted("a"), noted("b")], loads, 0)
    turn = 1 + measured.CALLS
    one_round = [(name, count) for count in (1, 4) for name in "ab" for _ in range(turn)]
    assert calls == one_round * measured.MIN_ROUNDS
    assert {len(own) for own in taken.values()} == {measured.MIN_ROUNDS * measured.CALLS}
    assert len(taken) == 4 and all(value >= 0 for own in taken.values() for value in own)


def test_rows_are_ratios_to_onnx_runtime_in_fp32_and_shares_of_the_peak(tmp_path: Path) -> None:
    (tmp_path / "int8.onnx").write_bytes(bytes(2500))
    base, ours = runner("onnxruntime", "fp32"), runner("openvino", "int8", file=tmp_path / "int8.onnx")
    faces, others = load(), load("other")
    milliseconds = {(base, faces): [8.0] * 3, (ours, faces): [2.0] * 3, (base, others): [9.0]}
    row = row_of(ours, faces, milliseconds, 12.34, {("cpu", "int8"): 8e9, ("cpu", "fp32"): 1e9})
    assert row == Row("face", "4", "openvino", "int8", Timing(2, 2), 2000, 4, 0.5, 2.5, 12.3)
    unknown = load(macs=None)
    alone = row_of(ours, unknown, {(ours, unknown): [2.0]}, None, {("cpu", "int8"): 8e9})
    assert alone.times_fp32 is None and alone.share_of_peak is None


def test_the_peak_is_the_best_of_all_engines_by_arithmetic() -> None:
    yard = Load(YARDSTICK, "", NOISE, 1, MACS)
    times = {("a", "fp32"): 4.0, ("b", "fp32"): 2.0, ("a", "int8"): 1.0, ("b", "fp16"): 3.0}
    milliseconds = {(runner(*key, model=YARDSTICK), yard): [value] for key, value in times.items()}
    milliseconds[runner("a", "fp32"), load()] = [1e-9]
    assert peaks_of(milliseconds) == {("cpu", "fp32"): MACS / 2e-3, ("cpu", "int8"): MACS / 1e-3}


def test_the_yardstick_is_the_arithmetic_that_it_says() -> None:
    by_precision = yardsticks()
    assert list(by_precision) == ["fp32", "int8"]
    picture = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    means = {}
    for precision, model in by_precision.items():
        parsed = load_model_from_string(model)
        checker.check_model(parsed, full_check=True)
        means[precision] = open_network("onnxruntime", model, precision)(picture)["mean"].ravel()
    weights = [t for t in load_model_from_string(by_precision["fp32"]).graph.initializer if len(t.dims) == 4]
    assert sum(int(np.prod(tensor.dims)) for tensor in weights) * SIDE**2 == MACS
    assert means["fp32"].shape == (CHANNELS,) and means["fp32"].max() > 1
    error = np.abs(means["int8"] - means["fp32"]).mean() / means["fp32"].mean()
    assert 0 < error < 0.1, "int8 that is int8, of the same network"


def test_memory_is_that_of_another_process(tmp_path: Path) -> None:
    (tmp_path / "probe.onnx").write_bytes(PROBE)
    megabytes = memory_of("onnxruntime", tmp_path / "probe.onnx", "fp32", (1, 1, 1, 3))
    assert megabytes is None or 0 <= megabytes < 50
    assert memory_of("onnxruntime", tmp_path / "missing.onnx", "fp32", (1, 1, 1, 3)) is None


def test_loads_are_faces_or_what_the_search_gives_the_detector() -> None:
    models = chosen(open_bundle(default_folder()), ["edge-S-16x8"])
    loads = list(loads_of("edge-S-16x8", models))
    assert [(one.name, one.batch.shape) for one in loads] == [(str(n), (n, 16, 16, 3)) for n in BATCHES]
    assert loads[1].multiply_accumulates == 4 * models[0].multiply_accumulates
    assert [one.batch.shape for one in loads_of("detector", models)] == [(1, 736, 1280, 3), (16, 96, 96, 3)]


def test_a_model_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UsageError, match="--model: got 'edge-XL', expected one of edge-L-16x8, "):
        chosen(open_bundle(default_folder()), ["edge-XL"])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round, one number of faces, and ONNX Runtime alone."""
    monkeypatch.setattr(measured, "MIN_ROUNDS", 1)
    monkeypatch.setattr(measured, "BATCHES", (1,))
    monkeypatch.setattr("fsr.export.check.OPENERS", {"onnxruntime": None})
    monkeypatch.setattr(measured, "yardsticks", lambda: {"fp32": PROBE})  # the real one takes longest


@pytest.mark.usefixtures("quick")
def test_a_bundle_is_measured_whole(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, tmp_path: Path, cache: Path
) -> None:
    monkeypatch.setattr(measured, "SIDE", 1)
    done = CliRunner().invoke(
        main, ["bench", str(tiny_bundle), "--seconds", "0.01", "--json", str(tmp_path / "bench.json")]
    )
    assert done.exit_code == 0, done.output
    data = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["model"], row["load"]) for row in data["rows"]] == [
        ("edge-S-16x8", "1"),
        ("edge-S-32x4", "1"),
        ("detector", "1280x736"),
        ("detector", "16 looks"),
    ]
    for row in data["rows"]:
        assert (row["engine"], row["precision"], row["times_fp32"]) == ("onnxruntime", "fp32", 1)
        assert row["file_kilobytes"] > 1 and row["items_a_second"] > 0
    assert data["machine"]["packages"]["numpy"] == np.__version__
    assert data["fastest"]["detector 16 looks"] == "onnxruntime fp32"
    assert "pass --checkpoint" in data["skipped"][-1]
    for words in ("edge-S-16x8", "auto, tier S: onnxruntime", "gate, detector: onn", "not measured: torch", "kept in"):
        assert words in done.output
    (kept_file,) = cache.iterdir()
    assert data["kept"].startswith(f"kept in {kept_file}: auto goes by it")
    ((*kept,),) = kept_speeds()[0]
    assert [(speed.engine, speed.precision) for speed in kept] == [("onnxruntime", "fp32")] * 3
    for choice in data["auto"].values():
        assert choice.startswith("onnxruntime (fastest here of what passed its gate), fp32 (fsr-export bench: onnx")


@pytest.mark.usefixtures("quick")
def test_an_engine_that_runs_files_of_the_bundle_alone_is_measured(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    """As TensorRT, which has plans of those: it has no peak, and all else."""

    def only_files(name: str, model: object, precision: str = "fp32") -> Network:
        if not isinstance(model, Path):
            raise EngineUnavailableError("no plan of that")
        return open_network(name, model, precision)

    monkeypatch.setattr(measured, "SIDE", 1)
    monkeypatch.setattr(measured, "open_network", only_files)
    monkeypatch.setattr(measured, "memory_of", lambda *_: 1.0)
    result = bench(BenchConfig(tiny_bundle, ["edge-S-16x8"], [], 0), Console(quiet=True))
    assert [(row.engine, row.share_of_peak) for row in result.rows] == [("onnxruntime", None)]
    assert "peak fp32 onnxruntime: no plan of that" in result.skipped


@pytest.mark.usefixtures("quick")
def test_pytorch_runs_where_its_checkpoint_is_given(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, tmp_path: Path
) -> None:
    def refuse(network: object) -> None:
        raise RuntimeError("no C++ compiler\nat all")

    monkeypatch.setattr(measured, "SIDE", 1)
    monkeypatch.setattr("torch.compile", refuse)
    monkeypatch.setattr(measured, "memory_of", lambda *_: 1.0)
    checkpoint = saved(tiny_checkpoint(16, 8), tmp_path)
    config = BenchConfig(tiny_bundle, ["edge-S-16x8"], [checkpoint], 0)
    result = bench(config, Console(quiet=True))
    assert [row.engine for row in result.rows] == ["onnxruntime", EAGER]
    assert result.rows[1].file_kilobytes is None and result.rows[1].times_fp32 is not None
    assert result.skipped == [f"edge-S-16x8 {COMPILED}: RuntimeError: no C++ compiler"]


def test_what_pytorch_runs_is_the_network(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.compile", lambda network: network)
    models = open_bundle(tiny_bundle).manifest.models
    found = list(torch_runners(models, [saved(tiny_checkpoint(16, 8), tmp_path)], [], Console(quiet=True)))
    assert [parts[:4] for parts in found] == [("edge-S-16x8", engine, "fp32", "cpu") for engine in (EAGER, COMPILED)]
    bundle = open_bundle(tiny_bundle)
    network = open_network("onnxruntime", bundle.path(bundle.model("edge-S-16x8").files["fp32"]))
    batch = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    (expected,) = network(batch).values()
    for *_, run in found:
        np.testing.assert_allclose(np.asarray(run(batch), int), expected.astype(int), atol=1)


def test_a_checkpoint_of_no_model_of_the_bundle_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    models = open_bundle(tiny_bundle).manifest.models[1:]
    with pytest.raises(UsageError, match="--checkpoint: got one of edge-S-16x8, expected one of edge-S-32x4"):
        list(torch_runners(models, [saved(tiny_checkpoint(16, 8), tmp_path)], [], Console(quiet=True)))


def test_without_torch_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_torch, "find_spec", lambda name: None)
    skipped: list[str] = []
    assert not list(torch_runners([], [Path("any")], skipped, Console(quiet=True)))
    assert skipped == ["torch: it is not installed"]


def test_the_table_marks_the_fastest_and_leaves_out_what_is_not_known() -> None:
    rows = [
        Row("face", "1", "onnxruntime", "fp32", Timing(2, 1.5), 500, 1, 0.75, 100, 20),
        Row("face", "1", "openvino", "int8", Timing(1, 0.5), 1000, 3, None, None, None),
    ]
    auto = {"tier S": "onnxruntime"}
    result = BenchResult(this_machine(), "tiny", 3, {"cpu fp32": 50}, None, auto, ["torch: no"], rows)
    console = Console(width=120)
    with console.capture() as captured:
        for table in tables(result):
            console.print(table)
        console.print("\n".join([*lines(result), *closing_lines(result)]))
    text = captured.get()
    for words in ("2 (1.5)", "3.00", "75%", "cpu fp32 50", "its gate, face: openvino int8 at 1", "torch: no"):
        assert words in text
    assert "None" not in text
    assert json.loads(result.to_json())["fastest"] == {"face 1": "openvino int8"}


def test_what_fails_its_gate_is_never_the_fastest() -> None:
    rows = [
        Row("face", "1", "onnxruntime", "fp32", Timing(2, 2), 500, 1, None, 1, 1),
        Row("face", "1", "openvino", "int8", Timing(1, 1), 1000, 2, None, 1, 1, ["loses 3 dB"]),
        Row("other", "1", "openvino", "int8", Timing(1, 1), 1000, None, None, 1, 1, ["loses 3 dB"]),
    ]
    result = BenchResult(this_machine(), "tiny", 3, {}, None, {}, [], rows)
    assert result.fastest() == {"face 1": "onnxruntime fp32"}
    said = list(closing_lines(result))
    assert "fastest here of what passed its gate, other: none at 1" in said
    assert "failed its gate, auto leaves it alone: face int8 openvino: loses 3 dB" in said
    console = Console(width=120)
    with console.capture() as captured:
        for table in tables(result):
            console.print(table)
    assert "int8, failed" in captured.get()


def test_networks_are_judged_by_what_they_restore_and_find(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    judge = Judge(bundle)
    network = open_network("onnxruntime", bundle.path(bundle.model("edge-S-16x8").files["fp32"]))
    detector = open_network("onnxruntime", bundle.path(bundle.manifest.detector.files["fp32"]))
    assert judge.failures("edge-S-16x8", network, "fp32") == judge.failures("detector", detector, "fp32") == []

    class Changed:
        """A network whose results are a little larger."""

        def __init__(self, network: Network) -> None:
            self.name, self.precision, self.device = network.name, network.precision, network.device
            self.input_shape, self.outputs, self._network = network.input_shape, network.outputs, network

        def __call__(self, batch: RgbBatch) -> dict[str, np.ndarray]:
            return {name: value // 2 + value // 4 for name, value in self._network(batch).items()}

    (reason,) = judge.failures("edge-S-16x8", Changed(network), "fp32")
    assert "grey levels off" in reason
    assert judge.failures("detector", Changed(detector), "fp32")


def test_what_is_kept_is_the_time_of_a_face_and_of_a_picture(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    parts = ("onnxruntime", "fp32", Timing(9, 4), 1, None, None)
    rows = [
        Row("edge-S-16x8", "1", *parts, 1, None),
        Row("edge-S-16x8", "4", *parts, 1, None, ["too far"]),
        Row("edge-S-16x8", "4", EAGER, "fp32", Timing(1, 1), 1, None, None, None, None),
        Row("edge-S-16x8", "4", "tensorrt", "fp32", Timing(1, 1), 1, None, None, 1, None),
        Row("detector", "1280x736", *parts, 1, None),
        Row("detector", "16 looks", *parts, 1, None),
    ]
    model, detector = bundle.model("edge-S-16x8").files["fp32"], bundle.manifest.detector.files["fp32"]
    assert speeds_of(rows, bundle) == [
        Speed(model.sha256, "onnxruntime", "fp32", 2.5, []),
        Speed(detector.sha256, "onnxruntime", "fp32", 4, []),
    ]


@pytest.mark.usefixtures("quick")
def test_times_that_cannot_be_kept_are_shown_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, cache: Path
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    monkeypatch.setattr(measured, "SIDE", 1)
    done = CliRunner().invoke(main, ["bench", str(tiny_bundle), "--model", "edge-S-16x8", "--seconds", "0.01"])
    assert done.exit_code == 0, done.output
    assert re.search(rf"not kept for auto: {cache}/\w+\.json: cannot be written", done.output)


@pytest.mark.usefixtures("quick")
def test_without_onnx_all_but_the_peak_is_measured(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> None:
    """As on a device."""
    monkeypatch.setattr(measured, "find_spec", lambda name: None)
    result = bench(BenchConfig(tiny_bundle, ["edge-S-16x8"], [], 0), Console(quiet=True))
    assert [(row.engine, row.share_of_peak) for row in result.rows] == [("onnxruntime", None)]
    assert result.peaks == {} and 'peak: onnx is not installed: pip install "fsr-edge[export]"' in result.skipped
    assert any(line.endswith("256 channels: unknown") for line in lines(result))


@pytest.mark.usefixtures("quick")
def test_times_are_not_kept_where_that_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, cache: Path
) -> None:
    monkeypatch.setattr(measured, "SIDE", 1)
    result = bench(BenchConfig(tiny_bundle, ["edge-S-16x8"], [], 0, keep=False), Console(quiet=True))
    assert result.kept is None and not cache.exists()
    assert "not timed" in result.auto["tier S"] or "no int8" in result.auto["tier S"]


def test_a_folder_or_file_where_the_figures_belong_is_refused_before_any_work(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", str(tmp_path / "missing"), "--json", str(tmp_path)])
    assert result.exit_code == 2 and "got a folder, expected the name of a file" in result.stderr
    (tmp_path / "mine").write_text("mine")
    result = CliRunner().invoke(main, ["bench", str(tmp_path / "missing"), "--json", str(tmp_path / "mine")])
    assert result.exit_code == 2 and "mine: exists already; choose another --json or remove it" in result.stderr
    assert (tmp_path / "mine").read_text() == "mine"
