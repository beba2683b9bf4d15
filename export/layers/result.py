"""What the comparison of layers found: as a table, as JSON, and in one sentence a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..check_result import Variant, finite
from .compare import LayerError

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 5
"""Rows a model in the terminal; the report and the JSON have all."""


@dataclass(frozen=True)
class LayerReport:
    """One model, or the detector, in one precision by one engine."""

    model: str
    variant: Variant
    pictures: int
    tolerance: float
    layers: Sequence[LayerError]
    """In the order they run."""
    inspected: str
    """The file as `polygraphy inspect model` shows it."""

    @property
    def first(self) -> LayerError | None:
        """The first that exceeds the tolerance."""
        return next((layer for layer in self.layers if not layer.within), None)

    @property
    def worst_first(self) -> list[LayerError]:
        return sorted(self.layers, key=lambda layer: -layer.error)

    @property
    def sentence(self) -> str:
        what = f"{self.model} {self.variant}, {len(self.layers)} layers"
        worst = self.worst_first[0]
        if self.first is None:
            return f"{what}: all within {self.tolerance:g}, the worst is {worst.layer} at {worst.error:.4f}"
        beyond = sum(not layer.within for layer in self.layers)
        brought = max(self.layers, key=lambda layer: layer.added)
        return (
            f"{what}: {beyond} beyond {self.tolerance:g}, first {self.first.layer} at {self.first.error:.4f}, "
            f"worst {worst.layer} at {worst.error:.4f}; {brought.layer} added most, {brought.added:.4f}"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "precision": self.variant.precision,
            "engine": self.variant.engine,
            "pictures": self.pictures,
            "tolerance": self.tolerance,
            "first_beyond": None if self.first is None else self.first.tensor,
            "worst_first": [layer.tensor for layer in self.worst_first],
            "layers": [_layer_json(layer) for layer in self.layers],
            "inspected": self.inspected,
        }


@dataclass(frozen=True)
class LayersFound:
    """All of a bundle, and what could not be compared here."""

    reports: Sequence[LayerReport]
    not_run: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        return {"compared": [report.to_json() for report in self.reports], "not_run": list(self.not_run)}


def _layer_json(layer: LayerError) -> dict[str, Any]:
    """An infinite error, which JSON has no number for, is null."""
    return {
        "layer": layer.layer,
        "tensor": layer.tensor,
        "error": finite(layer.error, 6),
        "inherited": finite(layer.inherited, 6),
        "added": finite(layer.added, 6),
        "largest": finite(layer.largest, 6),
        "within": layer.within,
    }


def table(report: LayerReport) -> Table:
    """The worst layers, for a terminal; `LayerReport.sentence` goes above it."""
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("layer", no_wrap=True)
    for column in ("error", "added here", "largest\ndifference", ""):
        shown.add_column(column, justify="right", no_wrap=True)
    for layer in report.worst_first[:SHOWN]:
        marks = "first" if layer is report.first else "" if layer.within else "beyond"
        shown.add_row(layer.layer, f"{layer.error:.4f}", f"{layer.added:.4f}", f"{layer.largest:.4g}", marks)
    return shown
