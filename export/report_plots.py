"""Plots of the report as SVG text: losses with their intervals, and how the faces spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from .parity import INT8_MEAN_LOSS, Loss

LABEL_WIDTH, PLOT_WIDTH, ROW_HEIGHT = 300, 540, 24
BARS = 31


@dataclass(frozen=True)
class LossLine:
    """One line of `loss_plot`."""

    label: str
    loss: Loss
    failed: bool


def loss_plot(lines: Sequence[LossLine]) -> str:
    """Mean loss in dB with its 95 % interval, a line each, beside the gate of int8."""
    low = min([-0.02, *(line.loss.lower for line in lines if np.isfinite(line.loss.lower))])
    high = max([INT8_MEAN_LOSS * 1.2, *(line.loss.upper for line in lines if np.isfinite(line.loss.upper))])
    height = ROW_HEIGHT * len(lines) + 34

    def x(value: float) -> float:
        return LABEL_WIDTH + PLOT_WIDTH * (min(max(value, low), high) - low) / (high - low)

    parts = [f'<svg viewBox="0 0 {LABEL_WIDTH + PLOT_WIDTH + 20} {height}" role="img" aria-label="dB lost">']
    for tick in ticks(low, high):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="4" y2="{height - 26}"/>')
        parts.append(f'<text class="soft" x="{x(tick):.1f}" y="{height - 10}" text-anchor="middle">{tick:g}</text>')
    gate = x(INT8_MEAN_LOSS)
    parts.append(f'<line class="gate" x1="{gate:.1f}" x2="{gate:.1f}" y1="4" y2="{height - 26}"/>')
    for index, line in enumerate(lines):
        y, mark = 16 + ROW_HEIGHT * index, "failed" if line.failed else "bar"
        parts.append(f'<text x="{LABEL_WIDTH - 14}" y="{y + 4}" text-anchor="end">{escape(line.label)}</text>')
        parts.append(
            f'<line class="{"failed-line" if line.failed else "line"}" x1="{x(line.loss.lower):.1f}" '
            f'x2="{x(line.loss.upper):.1f}" y1="{y}" y2="{y}"/>'
        )
        parts.append(f'<circle class="{mark}" cx="{x(line.loss.mean):.1f}" cy="{y}" r="4.5"/>')
    return "".join([*parts, "</svg>"])


def histogram(losses: NDArray[np.float64]) -> str:
    """How many faces lost how many dB."""
    edge = max(0.1, float(np.abs(losses).max()))
    counts, edges = np.histogram(losses, BARS, (-edge, edge))
    width, height, bar = 560, 92, 560 / BARS
    parts = [
        f'<svg viewBox="0 0 {width} {height + 24}" style="max-width:560px" role="img" aria-label="losses of faces">'
    ]
    for index, count in enumerate(counts.tolist()):
        tall = (height - 6) * count / counts.max()
        where = f"{edges[index]:.3f} to {edges[index + 1]:.3f} dB: {count} faces"
        parts.append(
            f'<rect class="bar" x="{index * bar + 1:.1f}" y="{height - tall:.1f}" width="{bar - 2:.1f}" '
            f'height="{tall:.1f}"><title>{where}</title></rect>'
        )
    parts.append(f'<line class="grid" x1="0" x2="{width}" y1="{height}" y2="{height}"/>')
    for value, anchor in ((-edge, "start"), (0.0, "middle"), (edge, "end")):
        at = width * (value + edge) / (2 * edge)
        parts.append(f'<text class="soft" x="{at:.1f}" y="{height + 17}" text-anchor="{anchor}">{value:+.2g} dB</text>')
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float) -> list[float]:
    """Three to nine round values from `low` to `high`."""
    rough = (high - low) / 6
    unit = 10 ** np.floor(np.log10(rough))
    step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough)
    return [round(float(n * step), 6) for n in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]
