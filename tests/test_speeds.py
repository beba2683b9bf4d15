"""`auto` takes the fastest that passed, as `fsr-export bench` found here, and nothing that was found elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fsr.runtime.bundle import FileEntry
from fsr.runtime.engines import AUTO, choice, choose_detector, choose_engine, speeds
from fsr.runtime.engines.speeds import MOST_RUNS, Speed, keep_speeds, kept_speeds, rank, speeds_folder, where
from fsr.runtime.errors import EngineUnavailableError, OutputError
from fsr.runtime.machine import this_machine

BOTH = ("fp32", "int8")
MODELS = [{precision: FileEntry(f"{name}.onnx", f"{name} {precision}") for precision in BOTH} for name in "ab"]


def timed(engine: str, precision: str, *milliseconds: float, failed: str = "") -> list[Speed]:
    """Of the models in their order."""
    failures = {failed: ["too far"]}
    return [
        Speed(files[precision].sha256, engine, precision, ms, failures.get(files[precision].sha256, []))
        for files, ms in zip(MODELS, milliseconds, strict=False)
    ]


def every(**milliseconds: float) -> list[Speed]:
    """All files of all models by ONNX Runtime and OpenVINO, 100 ms where nothing else is said, such as `ov_int8`."""
    engines = {"ort": "onnxruntime", "ov": "openvino"}
    return [
        speed
        for short, engine in engines.items()
        for kind in BOTH
        for speed in timed(engine, kind, *[milliseconds.get(f"{short}_{kind}", 100)] * 2)
    ]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """An empty cache and a machine of two engines; moves to another one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def move(**changed: str) -> None:
        monkeypatch.setattr(speeds, "where", lambda: {"processor": "A", "onnxruntime": "1", "openvino": "2", **changed})

    def opened(name: str, *_: object) -> None:
        if name not in ("onnxruntime", "openvino"):
            raise EngineUnavailableError(f"{name} cannot be imported")

    monkeypatch.setattr(choice, "open_network", opened)
    monkeypatch.setattr(choice, "_cuda", lambda: (False, "no CUDA"))
    monkeypatch.setattr(choice, "int8_is_exact", lambda name: True)
    monkeypatch.setattr(choice, "why_not_int8", lambda name: None)
    monkeypatch.setattr(choice, "choose_flavour", lambda *_: (None, "", "no TensorRT here"))
    move()
    return move


def test_the_fastest_that_passed_with_every_model_is_taken_and_the_times_are_said() -> None:
    keep_speeds(
        timed("onnxruntime", "fp32", 4, 8)
        + timed("openvino", "fp32", 1)  # of one model alone
        + timed("onnxruntime", "int8", 2, 5)
        + timed("openvino", "int8", 1, 3)
    )
    got = choose_engine(AUTO, AUTO, BOTH, models=MODELS)
    assert (got.engine, got.precision, got.why) == ("openvino", "int8", "fastest here of what passed its gate")
    assert got.why_precision == "fsr-export bench: openvino int8 2, onnxruntime int8 3.5, onnxruntime fp32 6 ms"
    one = choose_engine(AUTO, AUTO, BOTH, models=MODELS[:1])
    assert (one.engine, one.precision) == ("openvino", "fp32"), "1 ms as in int8, and exact"


def test_what_failed_its_gate_with_one_model_is_left_alone() -> None:
    keep_speeds(
        timed("onnxruntime", "fp32", 9, 9)
        + timed("onnxruntime", "int8", 2, 5)
        + timed("openvino", "int8", 1, 3, failed="b int8")
    )
    assert choose_engine(AUTO, AUTO, BOTH, models=MODELS).engine == "onnxruntime"


def test_what_failed_its_gate_is_not_taken_where_the_others_were_not_timed() -> None:
    keep_speeds(timed("onnxruntime", "int8", 2, failed="a int8"))
    got = choose_engine(AUTO, AUTO, BOTH, models=MODELS)
    assert (got.engine, got.precision) == ("openvino", "int8")
    assert "not onnxruntime: its int8 failed the gate here: too far" in got.why
    named = choose_engine("onnxruntime", AUTO, BOTH, models=MODELS)
    assert named.precision == "fp32" and "its int8 failed the gate here" in named.why_precision
    asked = choose_engine("onnxruntime", "int8", BOTH, models=MODELS)
    assert asked.why_precision == "asked for; its int8 failed the gate here: too far"


def test_where_everything_failed_that_is_said() -> None:
    keep_speeds([Speed(s.file, s.engine, s.precision, s.milliseconds, ["too far"]) for s in every()])
    got = choose_engine(AUTO, AUTO, BOTH, models=MODELS)
    assert (got.engine, got.precision) == ("onnxruntime", "fp32")
    assert got.why_precision.endswith("its fp32 failed the gate here: too far")


def test_nothing_is_the_fastest_while_a_precision_was_not_timed() -> None:
    """As where a bundle was measured before it was quantised, which keeps the files in fp32."""
    keep_speeds(timed("onnxruntime", "fp32", 1, 1) + timed("openvino", "fp32", 2, 2))
    got = choose_engine(AUTO, AUTO, BOTH, models=MODELS)
    assert (got.engine, got.precision) == ("onnxruntime", "int8")
    assert got.why_precision == "computed correctly here; not timed: fsr-export bench does"
    exact = choose_engine(AUTO, "fp32", BOTH, models=MODELS)
    assert exact.why_precision == "asked for; fsr-export bench: onnxruntime fp32 1, openvino fp32 2 ms"


def test_what_is_asked_for_by_name_binds_the_choice() -> None:
    keep_speeds(every(ort_fp32=2, ort_int8=3, ov_fp32=1))
    named = choose_engine("onnxruntime", AUTO, BOTH, models=MODELS)
    assert (named.engine, named.precision, named.why) == ("onnxruntime", "fp32", "asked for by name")
    exact = choose_engine(AUTO, "int8", BOTH, models=MODELS)
    assert (exact.engine, exact.precision) == ("onnxruntime", "int8")
    assert exact.why_precision == "asked for; fsr-export bench: onnxruntime int8 3, openvino int8 100 ms"
    both = choose_engine("onnxruntime", "int8", BOTH, models=MODELS)
    assert (both.engine, both.why_precision) == ("onnxruntime", "asked for")


def test_the_detector_goes_by_its_own_times_and_leaves_what_every_size_delays() -> None:
    keep_speeds(every(ort_fp32=30, ort_int8=25, ov_int8=10))
    got = choose_detector(AUTO, AUTO, MODELS[0])
    assert (got.engine, got.precision) == ("onnxruntime", "int8")
    named = choose_detector("openvino", AUTO, MODELS[0])
    assert (named.engine, named.precision) == ("openvino", "int8")
    assert choose_detector(AUTO, "fp32", MODELS[0]).precision == "fp32"


def test_an_engine_that_is_gone_or_wrong_here_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_speeds([*every(ov_int8=2, ort_int8=3), *timed("onnxruntime-cuda", "fp32", 1, 1)])
    monkeypatch.setattr(choice, "int8_is_exact", lambda name: name != "openvino")
    got = choose_engine(AUTO, AUTO, BOTH, models=MODELS)
    assert (got.engine, got.precision) == ("onnxruntime", "int8")


def test_equal_times_go_to_the_usual_engine_and_the_exact_precision() -> None:
    keep_speeds(every(ov_int8=100, ort_int8=102, ort_fp32=104, ov_fp32=200))
    runs, _ = kept_speeds()
    found = rank(MODELS, BOTH, ["onnxruntime", "openvino"], runs)
    assert list(found)[:3] == [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("openvino", "int8")]
    said = choose_engine(AUTO, AUTO, BOTH, models=MODELS).why_precision
    assert said.endswith("onnxruntime fp32 104, onnxruntime int8 102, openvino int8 100 ms; within 5% is equal")
    apart = [every(ov_int8=100, ort_int8=106, ort_fp32=200, ov_fp32=200)]
    assert next(iter(rank(MODELS, BOTH, ["onnxruntime", "openvino"], apart))) == ("openvino", "int8")
    assert rank(MODELS, BOTH, ["onnxruntime"], []) == rank([], BOTH, ["onnxruntime"], runs) == {}


def test_times_of_two_runs_are_never_compared() -> None:
    """A bundle of another minute shares the file in fp32; there everything took half as long."""
    keep_speeds(every(ort_fp32=10, ort_int8=7))
    keep_speeds(timed("onnxruntime", "fp32", 5, 5))
    assert choose_engine(AUTO, AUTO, BOTH, models=MODELS).precision == "int8"
    keep_speeds([*every(ort_fp32=4, ort_int8=6), Speed("other", "onnxruntime", "fp32", 1, [])])
    assert choose_engine(AUTO, AUTO, BOTH, models=MODELS).precision == "fp32", "the newest that timed all of them"


def test_without_times_the_choice_says_what_takes_them() -> None:
    got = choose_engine(AUTO, AUTO, BOTH, models=MODELS)
    assert (got.engine, got.precision) == ("onnxruntime", "int8")
    assert got.why_precision == "computed correctly here; not timed: fsr-export bench does"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"processor": "B"}, "the times kept are of processor A, here is B"),
        ({"onnxruntime": "1.1"}, "the times kept are of onnxruntime 1, here is 1.1"),
        ({"onnxruntime-gpu": "1"}, "the times kept are of onnxruntime-gpu none, here is 1"),
    ],
)
def test_times_of_another_machine_or_version_do_not_count_and_stay(
    elsewhere: Callable[..., None], changed: dict[str, str], said: str
) -> None:
    keep_speeds(every(ov_int8=1))
    elsewhere(**changed)
    got = choose_engine(AUTO, AUTO, BOTH, models=MODELS)
    assert (got.engine, got.precision) == ("onnxruntime", "int8")
    assert got.why_precision == f"computed correctly here; {said}; fsr-export bench times it anew"
    keep_speeds(every(ov_fp32=1))
    assert choose_engine(AUTO, AUTO, BOTH, models=MODELS).precision == "fp32"
    elsewhere()
    assert choose_engine(AUTO, AUTO, BOTH, models=MODELS).precision == "int8"


def test_a_run_replaces_the_one_of_the_same_files_and_only_so_many_are_kept() -> None:
    assert keep_speeds(every()) == keep_speeds(every(ov_int8=1))
    runs, _ = kept_speeds()
    assert runs == [every(ov_int8=1)]
    for number in range(MOST_RUNS + 3):
        keep_speeds([Speed(str(number), "onnxruntime", "fp32", 1, [])])
    assert len(list(speeds_folder().iterdir())) == MOST_RUNS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "is of another version of fsr-edge"),
        ('{"version": 99}', "is of another version of fsr-edge"),
        ('{"version": 1}', "field 'created' is missing"),
        (json.dumps({"version": 1, "where": {}, "created": "", "speeds": [{"file": 1}]}), "speeds"),
        (
            '{"version": 1, "where": {}, "created": "", "speeds": [{"file": "a", "engine": "openvino", '
            '"precision": "fp32", "milliseconds": NaN, "failures": []}]}',
            "holds a time that is none",
        ),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_damaged_file_is_said_and_does_not_stop_anything(text: str, said: str) -> None:
    speeds_folder().mkdir(parents=True)
    (speeds_folder() / "a.json").write_bytes(text.encode(errors="surrogateescape"))
    runs, clause = kept_speeds()
    assert runs == [] and said in clause
    got = choose_engine(AUTO, AUTO, BOTH, models=MODELS)
    assert got.engine == "onnxruntime" and said in got.why_precision
    keep_speeds(every(ov_int8=1))
    assert choose_engine(AUTO, AUTO, BOTH, models=MODELS).engine == "openvino"


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "fsr-edge").write_text("in the way")
    with pytest.raises(OutputError, match=r"\.json: cannot be written"):
        keep_speeds(timed("openvino", "int8", 1))
    assert kept_speeds() == ([], "")


def test_times_depend_on_the_processor_and_the_engines() -> None:
    machine, here = this_machine(), where()
    assert here["processor"] == machine.processor
    assert here["onnxruntime"] == machine.packages["onnxruntime"]
    assert "numpy" not in here
