"""The parity report is one page that needs nothing else, and hides nothing that failed."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsr.calibration.drift import LandmarkDrift
from fsr.calibration.identity import IdentityDrift
from fsr.export.check_faces import worst_faces
from fsr.export.check_result import Checked, CheckResult, DetectorRow, Row, Variant, db, signed
from fsr.export.detector_parity import DetectorFigures, gate_detector
from fsr.export.parity import Loss, ParityFaces, figures, gate
from fsr.export.report import page, picture_data, write_report
from fsr.export.report_plots import LossLine, histogram, loss_plot, ticks
from fsr.runtime.machine import this_machine

VOID = {"br", "meta", "img"}


class Tags(HTMLParser):
    """Checks that tags are closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def result(spoil: int, name: str = "anna.png") -> CheckResult:
    """One model in int8 on three faces, `spoil` grey levels off in places."""
    rng = np.random.default_rng(0)
    low, high = (rng.integers(50, 150, (3, size, size, 3), np.uint8) for size in (4, 8))
    reference = high + np.uint8(5)
    restored = reference.copy()
    restored[0, :4] += np.uint8(spoil)
    faces = ParityFaces("photos", low, reference, high, [name, "ben.png", "cy.png"])
    measured = figures(restored, faces)
    row = Row(
        Variant("int8", "onnxruntime"),
        measured,
        30.0,
        0.9,
        LandmarkDrift(3, 3, 0, 0.5, 1.0, 0.01, 0.02),
        IdentityDrift(3, 0.1, 0.2, 0.4, 0.45),
        gate(measured, "int8"),
        worst_faces(faces, restored, measured),
    )
    checked = Checked("edge", "photos", 3, "PyTorch fp32", 34.0, 0.9, 3, [row], {"a": {"b": 40.0}, "b": {"a": 40.0}})
    found = DetectorFigures(3, 100, 1, 0, 0.99, 0.001, 0.002)
    detector = [DetectorRow(Variant("int8", "onnxruntime"), "photos", found, gate_detector(found))]
    return CheckResult("tiny", "/b", this_machine(), [checked], detector, ["openvino: missing"], [], ["a note"], 1.0)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = page(result(40))
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags.seen}
    sources = [attributes["src"] or "" for tag, attributes in tags.seen if tag == "img"]
    assert len(sources) == 3 * 5 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http" not in re.sub(r'src="[^"]*"', "", html)
    assert "prefers-color-scheme: dark" in html


def test_what_failed_stands_at_the_top() -> None:
    html = page(result(40))
    assert "✗ failed" in html and "✓ passed" not in html.split("<h2>")[0]
    assert html.index("Must not be deployed") < html.index("<h2>")
    assert "dB on anna.png, expected at most 1" in html
    assert "openvino: missing" in html and "a note" in html


def test_what_passed_says_so() -> None:
    html = page(result(0))
    assert "✓ passed" in html and "failed" not in html.split("<style>")[1].split("</style>")[1]


def test_names_are_shown_never_run() -> None:
    html = page(result(40, "<script>alert(1)</script>.png"))
    assert "<script" not in html and "&lt;script&gt;alert(1)" in html


def test_the_pictures_are_what_was_made(tmp_path: Path) -> None:
    made = result(40)
    write_report(tmp_path / "r.html", made)
    restored = made.checked[0].rows[0].worst[0].restored
    assert picture_data(restored) in (tmp_path / "r.html").read_text(encoding="utf-8")
    bytes_ = base64.b64decode(picture_data(restored).partition(",")[2])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(bytes_))), restored)


def test_the_worst_face_comes_first() -> None:
    worst = result(40).checked[0].rows[0].worst
    assert worst[0].name == "anna.png" and worst[0].difference == 40
    assert worst[0].loss is not None and worst[0].loss > 1


def test_a_loss_beyond_the_gate_lies_right_of_it() -> None:
    lines = [LossLine("good", Loss(0.02, 0.01, 0.03, 0.1), False), LossLine("bad", Loss(0.3, 0.2, 0.4, 2.0), True)]
    svg = loss_plot(lines)
    gate_at = float(re.findall(r'class="gate" x1="([\d.]+)"', svg)[0])
    good, bad = (float(x) for x in re.findall(r'<circle class="\w+" cx="([\d.]+)"', svg))
    assert good < gate_at < bad and 'class="failed"' in svg


def test_an_unbounded_interval_is_drawn_to_the_edge() -> None:
    svg = loss_plot([LossLine("one face", Loss(0.0, float("-inf"), float("inf"), 0.0), True)])
    assert "inf" not in svg and "nan" not in svg


def test_a_histogram_counts_every_face(rng: np.random.Generator) -> None:
    svg = histogram(rng.normal(0, 0.3, 200))
    assert sum(int(count) for count in re.findall(r"dB: (\d+) faces", svg)) == 200


@pytest.mark.parametrize(("low", "high"), [(-0.02, 0.12), (-0.3, 1.7), (0.0, 12.0)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    assert 3 <= len(ticks(low, high)) <= 9
    assert low - 1e-9 <= min(ticks(low, high)) and max(ticks(low, high)) <= high + 1e-9


def test_figures_as_they_are_read() -> None:
    assert [signed(0.0312), signed(-0.5, 2), signed(-1e-9)] == ["+0.031", "-0.50", "0.000"]
    assert [db(48.123), db(None), db(float("inf"))] == ["48.1", "equal", "equal"]
