"""The cache of plans: nothing damaged or foreign comes out of it, and each refusal is a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_tensorrt import fake_tensorrt

from fsr.runtime.engines.cuda_device import Gpu
from fsr.runtime.engines.plan_record import Plan, PlanKey, PlanParity
from fsr.runtime.engines.plans import (
    checked_bytes,
    list_plans,
    plans_folder,
    plans_for,
    plans_of_digest,
    read_plan,
    record_figures,
    remove_plan,
    require_plan,
    store_plan,
    whole_bytes,
)
from fsr.runtime.errors import EngineUnavailableError, OutputError

GPU = Gpu("NVIDIA Test", (8, 9), 8 << 30, 12040)
LIBRARY = fake_tensorrt("10")
ONNX = "a" * 64
DATA = b"ptrt" + bytes(range(256)) * 8
PASSED = PlanParity(64, [], 60.0, 1)
FAILED = PlanParity(64, ["36.0 dB to fp32, expected at least 38"], 36.0, 90)

KEY = PlanKey(ONNX, "fp16", "tensorrt", "10", GPU.name, ["8.9"], [[[1, 16, 16, 3], [4, 16, 16, 3]]], {"flags": ""})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "fsr-edge" / "engines"


def store(key: PlanKey = KEY, data: bytes = DATA, model: str = "edge-S") -> Plan:
    return store_plan(key, model, data, build_seconds=0.25, workspace_mib=512)


def test_what_was_stored_comes_back(cache: Path) -> None:
    stored = store()
    assert stored.path.parent == plans_folder() == cache
    assert stored.path.read_bytes() == DATA  # as TensorRT wrote it, for trtexec to open
    assert checked_bytes(stored, LIBRARY, GPU) == DATA
    assert require_plan("mine", ONNX, "fp16", LIBRARY, GPU) == stored
    assert list_plans() == ([stored], {})


@pytest.mark.parametrize(
    "change",
    [
        {"onnx": "b" * 64},
        {"precision": "int8"},
        {"flavour": "tensorrt-rtx"},
        {"version": "10.1"},
        {"gpu": "NVIDIA Other"},
        {"compute_capabilities": ["8.6"]},
        {"profiles": [[[1, 16, 16, 3], [8, 16, 16, 3]]]},
        {"options": {"flags": "FP16"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_that_a_plan_depends_on_is_in_its_key(change: dict[str, object]) -> None:
    store()
    other = replace(KEY, **change)  # pyright: ignore[reportArgumentType]
    assert plans_of_digest(other.digest) == []
    store(other, b"other")
    assert len(plans_of_digest(KEY.digest)) == 1
    assert len(list_plans()[0]) == 2


def test_a_new_plan_takes_the_place_of_the_old(cache: Path) -> None:
    record_figures(store(), PASSED, {"1": 0.1}, "here")
    renewed = store(data=b"new", model="renamed/../edge")
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".plan"]
    assert renewed.record.parity is None  # of what was rebuilt nothing is known
    assert whole_bytes(renewed) == b"new"
    assert renewed.path.parent == cache


def truncated(plan: Plan) -> None:
    plan.path.write_bytes(DATA[:100])


def emptied(plan: Plan) -> None:
    plan.path.write_bytes(b"")


def one_bit(plan: Plan) -> None:
    plan.path.write_bytes(bytes([DATA[0] ^ 1, *DATA[1:]]))


def foreign(plan: Plan) -> None:
    plan.path.write_bytes(b"MZ" + DATA[2:])


def gone(plan: Plan) -> None:
    plan.path.unlink()


def a_folder(plan: Plan) -> None:
    plan.path.unlink()
    plan.path.mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, "got 100 bytes, its record says 2052"),
        (emptied, "got 0 bytes"),
        (one_bit, "got sha256"),
        (foreign, "got sha256"),
        (gone, "cannot be read: No such file"),
        (a_folder, "cannot be read: Is a directory"),
    ],
)
def test_a_damaged_plan_is_refused(damage: Callable[[Plan], None], said: str) -> None:
    plan = store()
    damage(plan)
    with pytest.raises(EngineUnavailableError, match=f"{said}.*; build it anew with: fsr-export build"):
        checked_bytes(plan, LIBRARY, GPU)


def without_record(text: str) -> str | None:
    return None


def field(path: str, value: object) -> Callable[[str], str]:
    def change(text: str) -> str:
        record = json.loads(text)
        *above, last = path.split(".")
        inside = record
        for name in above:
            inside = inside[name]
        inside[last] = value
        return json.dumps(record)

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_record, "there is no .*json that says what it is"),
        (lambda text: text[:50], "cannot be read as JSON"),
        (lambda text: "\ufffd{", "cannot be read as JSON"),
        (lambda text: "[" * 100_000, "cannot be read as JSON"),
        (lambda text: "[]", "got list, expected an object"),
        (lambda text: "{}", "field '.*' is missing"),
        (field("record", 2), "got a record of version 2, this program reads 1"),
        (field("extra", 1), "unknown field 'extra'"),
        (field("size", "large"), "size: got str, expected int"),
        (field("key.gpu", "NVIDIA Other"), "describes another plan"),
        (field("key.version", "11"), "describes another plan"),
        (field("parity", {"faces": 1}), "field 'failures' is missing"),
    ],
)
def test_a_damaged_record_is_refused(damage: Callable[[str], str | None], said: str) -> None:
    plan = store()
    beside = plan.path.with_suffix(".json")
    text = damage(beside.read_text())
    if text is None:
        beside.unlink()
    else:
        beside.write_text(text)
    with pytest.raises(EngineUnavailableError, match=f"{said}.*"):
        read_plan(plan.path)
    plans, damaged = list_plans()
    assert (plans, list(damaged)) == ([], [plan.path])
    with pytest.raises(EngineUnavailableError, match="there is no fp16 plan for NVIDIA Test"):
        require_plan("mine", ONNX, "fp16", LIBRARY, GPU)


@pytest.mark.parametrize(
    ("library", "gpu", "said"),
    [
        (replace(LIBRARY, version="10.1"), GPU, "built by tensorrt 10, here is tensorrt 10.1"),
        (replace(LIBRARY, flavour="tensorrt-rtx"), GPU, "built by tensorrt 10, here is tensorrt-rtx 10"),
        (LIBRARY, replace(GPU, compute_capability=(9, 0)), "capability 8.9, NVIDIA Test has 9.0"),
        (LIBRARY, replace(GPU, name="NVIDIA Other"), "built on NVIDIA Test, here is NVIDIA Other"),
    ],
)
def test_a_foreign_plan_is_refused(library: object, gpu: Gpu, said: str) -> None:
    plan = store()
    for ask in (
        lambda: checked_bytes(plan, library, gpu),  # pyright: ignore[reportArgumentType]
        lambda: require_plan("mine", ONNX, "fp16", library, gpu),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(EngineUnavailableError, match=f"{said}.*; build it anew with: fsr-export build"):
            ask()


def test_what_was_built_without_a_gpu_runs_on_its_compute_capabilities() -> None:
    plan = store(replace(KEY, gpu=None, compute_capabilities=["8.6", "8.9"]))
    assert checked_bytes(plan, LIBRARY, GPU) == DATA
    with pytest.raises(EngineUnavailableError, match=r"capability 8\.6, 8\.9, NVIDIA Test has 12\.0"):
        checked_bytes(plan, LIBRARY, replace(GPU, compute_capability=(12, 0)))


def test_those_that_passed_come_first_and_those_that_failed_never() -> None:
    passed = record_figures(store(), PASSED, {"1": 0.2}, "here")
    unmeasured = store(replace(KEY, options={"flags": "a"}), b"a")
    failed = record_figures(store(replace(KEY, options={"flags": "b"}), b"b"), FAILED, {}, "here")
    assert plans_for(ONNX, "fp16", LIBRARY, GPU) == [passed, unmeasured]
    assert [plan.passed for plan in (passed, unmeasured, failed)] == [True, False, False]
    with pytest.raises(EngineUnavailableError, match=r"failed the gate: 36\.0 dB.*; take another precision"):
        checked_bytes(failed, LIBRARY, GPU)
    for plan in (passed, unmeasured):
        remove_plan(plan.path)
    with pytest.raises(EngineUnavailableError, match=r"one failed the gate: 36\.0 dB.*--rebuild$"):
        require_plan("mine", ONNX, "fp16", LIBRARY, GPU)


@pytest.mark.parametrize("damage", [truncated, emptied, one_bit, gone, a_folder])
def test_damaged_plans_are_listed_as_such_and_not_taken(damage: Callable[[Plan], None]) -> None:
    plan = store()
    assert list_plans(whole=True) == ([plan], {})
    damage(plan)
    plans, damaged = list_plans(whole=True)
    assert (plans, list(damaged)) == ([], [] if damage is gone else [plan.path])
    assert plans_for(ONNX, "fp16", LIBRARY, GPU) == []


def test_what_is_being_written_is_no_plan(cache: Path) -> None:
    store()
    (cache / ".edge-S.fp16.123.partial.plan").write_bytes(b"half")
    assert len(list_plans(whole=True)[0]) == 1 and list_plans()[1] == {}


def test_a_cache_that_cannot_be_read_is_a_sentence(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    for ask in (list_plans, lambda: plans_of_digest(KEY.digest)):
        with pytest.raises(
            EngineUnavailableError, match=r"plans there cannot be read: Not a directory; .*XDG_CACHE_HOME"
        ):
            ask()


@pytest.mark.parametrize("suffix", [".plan", ".json"])
def test_a_folder_in_the_place_of_a_plan_is_left_and_said(suffix: str) -> None:
    in_the_way = store().path.with_suffix(suffix)
    in_the_way.unlink()
    in_the_way.mkdir()
    with pytest.raises(OutputError, match=f"{suffix}: cannot be removed: .*remove it yourself"):
        remove_plan(in_the_way.with_suffix(".plan"))


def test_figures_stay_with_their_plan() -> None:
    record_figures(store(), PASSED, {"1": 0.25, "16": 1.5}, "NVIDIA Test; tensorrt 10")
    (found,), _ = list_plans()
    assert found.record.parity == PASSED
    assert found.record.milliseconds == {"1": 0.25, "16": 1.5}
    assert (found.record.build_seconds, found.record.workspace_mib) == (0.25, 512)


def test_an_empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_plans() == ([], {})
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification says to ignore
    assert plans_folder() == Path.home() / ".cache" / "fsr-edge" / "engines"
