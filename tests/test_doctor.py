"""The diagnosis holds whatever is broken, and its install lines survive the table."""

from __future__ import annotations

import json
import sys

import pytest
from rich.console import Console

from fsr.runtime import parts
from fsr.runtime.doctor import Diagnosis, examine, show, to_json
from fsr.runtime.machine import this_machine
from fsr.runtime.parts import EnginePart, Part

HEADINGS = ["engines", "tensorrt", "default_bundle", "cameras", "display", "pictures_and_video"]


def shown(diagnosis: Diagnosis, width: int) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        show(diagnosis, console)
    return captured.get()


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    return examine()


def test_every_part_is_examined(diagnosis: Diagnosis) -> None:
    assert list(diagnosis.parts) == HEADINGS
    names = {part.name for section in diagnosis.parts.values() for part in section}
    assert {"onnxruntime", "onnxruntime-cuda", "openvino", "auto", "default", "window", "JPEG", "video"} <= names


def test_the_table_names_every_part_and_the_machine(diagnosis: Diagnosis) -> None:
    text = shown(diagnosis, 200)
    for heading, section in diagnosis.parts.items():
        assert heading.replace("_", " ") in text
        assert all(part.name in text for part in section)
    assert diagnosis.machine.processor in text


def test_json_holds_all_of_it(diagnosis: Diagnosis) -> None:
    data = json.loads(to_json(diagnosis))
    assert data.keys() == {"machine", "parts", "install_lines"}
    assert data["machine"]["cores"] == diagnosis.machine.cores
    assert "fp32" in data["parts"]["engines"][0]["precisions"]


@pytest.mark.parametrize(
    "look", ["engines", "auto", "tensorrt", "default_bundle", "cameras", "display", "pictures", "video"]
)
def test_a_look_that_crashes_is_shown_and_spoils_no_other(monkeypatch: pytest.MonkeyPatch, look: str) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("[bold]out of order")

    monkeypatch.setattr(parts, look, crash)
    diagnosis = examine()
    broken = [part for section in diagnosis.parts.values() for part in section if "out of order" in part.detail]
    assert [part.works for part in broken] == [False]
    assert "RuntimeError: [bold]out of order" in shown(diagnosis, 200)


def test_without_an_engine_the_rest_is_still_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    diagnosis = examine()
    assert diagnosis.install_lines.count("pip install onnxruntime") == 1  # the engine and auto ask for the same
    assert diagnosis.parts["default_bundle"][0].works


def test_install_lines_stay_whole_in_a_narrow_terminal() -> None:
    line = 'pip uninstall -y something-long && pip install "something-else-long[with,extras]>=1.21"'
    missing = EnginePart("engine", False, "not here", line)
    text = shown(Diagnosis(this_machine(), {"engines": [missing, missing]}), 40)
    assert text.splitlines().count(line) == 1


def test_nothing_is_to_be_installed_where_all_works() -> None:
    text = shown(Diagnosis(this_machine(), {"engines": [Part("engine", True, "cpu")]}), 80)
    assert "installed with" not in text
