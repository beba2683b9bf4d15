"""What a parity check found: per model, faces, precision and engine; as a table, as JSON, and in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..calibration.drift import LandmarkDrift
from ..calibration.identity import IdentityDrift
from ..runtime.machine import Machine
from ..runtime.pixels import RgbImage
from .detector_parity import DetectorFigures
from .parity import GATE_RULES, ParityFigures

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Variant:
    """One precision run by one engine."""

    precision: str
    engine: str

    def __str__(self) -> str:
        return f"{self.precision} {self.engine}"


@dataclass(frozen=True, eq=False)
class Worst:
    """A face that came out worst, with its pictures: uint8 RGB."""

    name: str
    difference: int
    """Largest, in grey levels."""
    loss: float | None
    low: RgbImage
    reference: RgbImage
    restored: RgbImage
    high: RgbImage | None


@dataclass(frozen=True, eq=False)
class Row:
    """One variant of one model on one set of faces."""

    variant: Variant
    figures: ParityFigures
    psnr: float | None
    """dB against the originals, mean of faces."""
    ssim: float | None
    """Likewise, of `Checked.ssim_faces` of them, spread evenly."""
    landmarks: LandmarkDrift
    identity: IdentityDrift | None
    failures: Sequence[str]
    """Why it must not be deployed; empty if it passed."""
    worst: Sequence[Worst]


@dataclass(frozen=True, eq=False)
class Checked:
    """One model on one set of faces."""

    model: str
    data: str
    faces: int
    reference: str
    """Who made the float32 pictures that all are compared with."""
    reference_psnr: float | None
    reference_ssim: float | None
    ssim_faces: int
    rows: Sequence[Row]
    psnr_between: dict[str, dict[str, float | None]]
    """dB between the pictures of any two, over all faces together; None where they are equal."""


@dataclass(frozen=True)
class DetectorRow:
    """The detector in one variant, against float32 by ONNX Runtime."""

    variant: Variant
    data: str
    figures: DetectorFigures
    failures: Sequence[str]


@dataclass(frozen=True, eq=False)
class CheckResult:
    """Everything a check found."""

    bundle: str
    folder: str
    machine: Machine
    checked: Sequence[Checked]
    detector: Sequence[DetectorRow]
    not_run: Sequence[str]
    """What could not be run here, and why; nothing is known of it."""
    unproved: Sequence[str]
    """Files of the bundle that no engine here could run."""
    notes: Sequence[str]
    """What is to be known with the figures."""
    seconds: float
    left_out: dict[str, int] = field(default_factory=dict)
    """Pictures of one's own without a face here, by reason."""

    @property
    def failures(self) -> list[str]:
        models = [
            f"{checked.model} {row.variant} on {checked.data}: {reason}"
            for checked in self.checked
            for row in checked.rows
            for reason in row.failures
        ]
        return models + [f"detector {row.variant}: {reason}" for row in self.detector for reason in row.failures]

    @property
    def passed(self) -> bool:
        return not self.failures and not self.unproved

    def to_json(self) -> dict[str, Any]:
        return {
            "version": 1,
            "bundle": self.bundle,
            "folder": self.folder,
            "passed": self.passed,
            "failures": self.failures,
            "unproved": list(self.unproved),
            "not_run": list(self.not_run),
            "gates": dict(GATE_RULES),
            "notes": list(self.notes),
            "left_out": self.left_out,
            "seconds": round(self.seconds, 1),
            "machine": asdict(self.machine),
            "models": [_model_json(checked) for checked in self.checked],
            "detector": [
                {**asdict(row), "figures": row.figures.to_json(), "passed": not row.failures} for row in self.detector
            ],
        }


def _model_json(checked: Checked) -> dict[str, Any]:
    return {
        "model": checked.model,
        "data": checked.data,
        "faces": checked.faces,
        "reference": checked.reference,
        "reference_psnr": checked.reference_psnr,
        "reference_ssim": checked.reference_ssim,
        "ssim_faces": checked.ssim_faces,
        "psnr_between": checked.psnr_between,
        "variants": [_row_json(row) for row in checked.rows],
    }


def _row_json(row: Row) -> dict[str, Any]:
    worst = [{"name": w.name, "difference": w.difference, "loss_db": w.loss} for w in row.worst]
    loss = row.figures.loss
    return {
        **asdict(row.figures.entry(row.variant.precision)),
        "engine": row.variant.engine,
        "worst_psnr_to_fp32": finite(row.figures.worst_psnr),
        "loss_db_lower": None if loss is None else finite(loss.lower),
        "psnr": row.psnr,
        "ssim": row.ssim,
        "landmarks": asdict(row.landmarks),
        "identity": None if row.identity is None else asdict(row.identity),
        "worst_faces": worst,
        "passed": not row.failures,
        "failures": list(row.failures),
    }


def finite(value: float, digits: int = 4) -> float | None:
    """JSON has no infinity: None where nothing differs."""
    return round(value, digits) if math.isfinite(value) else None


def tables(result: CheckResult) -> list[Table]:
    """For a terminal: the models on each set of faces, then the detector."""
    by_data = [_model_table(result, data) for data in dict.fromkeys(checked.data for checked in result.checked)]
    return [table for table in (*by_data, _detector_table(result.detector)) if table.row_count]


def _model_table(result: CheckResult, data: str) -> Table:
    table = _table(f"{data}: difference to float32", "model", "variant")
    for column in (
        "faces",
        "grey levels\nmax / mean",
        "dB to\nfp32",
        "lost dB\n(95 %: at most)",
        "worst\nface",
        "gate",
    ):
        table.add_column(column, justify="right")
    for checked, row in ((c, row) for c in result.checked if c.data == data for row in c.rows):
        figures, loss = row.figures, row.figures.loss
        lost = ("", "") if loss is None else (f"{signed(loss.mean)} ({signed(loss.upper)})", signed(loss.worst, 2))
        levels = f"{figures.max_difference} / {figures.mean_difference:.5f}"
        cells = str(checked.faces), levels, db(figures.psnr), *lost
        table.add_row(checked.model, str(row.variant), *cells, _verdict(row.failures))
    return table


def _detector_table(rows: Sequence[DetectorRow]) -> Table:
    table = _table("faces found by the detector, against float32", "frames", "variant")
    for column in ("faces", "missed /\nadded", "overlap\nof boxes", "points, eye distances\nmean / 95 %", "gate"):
        table.add_column(column, justify="right")
    for row in rows:
        f = row.figures
        drift = f"{f.mean_drift:.4f} / {f.p95_drift:.4f}"
        cells = str(f.faces), f"{f.missed} / {f.added}", f"{f.mean_iou:.3f}", drift, _verdict(row.failures)
        table.add_row(f"{f.frames}, {row.data}", str(row.variant), *cells)
    return table


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _verdict(failures: Sequence[str]) -> str:
    return "[bold red]FAILED[/]" if failures else "[green]passed[/]"


def db(value: float | None) -> str:
    """As it is read: pictures that do not differ have no dB."""
    return "equal" if value is None or math.isinf(value) else f"{value:.1f}"


def signed(value: float, digits: int = 3) -> str:
    """With its sign, but none on what rounds to 0."""
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"
