"""The part of the report that shows layers: a bar a layer in the order they run, the worst first as a table."""

from __future__ import annotations

import math
from html import escape

from .result import LayerReport, LayersFound

END = "</main>"
"""Of the report's page: the section goes in front of it."""
ROW, LEFT, WIDTH = 18, 260, 860
BARS = WIDTH - LEFT - 80
METHOD = (
    "Layer by layer against float32 by ONNX Runtime, with NVIDIA's Polygraphy. Error: mean difference as a share of "
    "float32's mean magnitude; of quantised tensors, dequantised. Every tensor is kept, so engines fuse less than when "
    "they serve, and no gate hangs on it: it shows where to look."
)


def with_layers(page: str, found: LayersFound) -> str:
    """The report's page with one more section."""
    parts = [f"<h2>Layers</h2><p class='soft'>{escape(METHOD)}</p>"]
    parts += [_report(report) for report in found.reports]
    if found.not_run:
        listed = "".join(f"<li>{escape(reason)}</li>" for reason in found.not_run)
        parts.append(f'<div class="box warn"><strong>Layers not compared</strong><ul>{listed}</ul></div>')
    return page.replace(END, "".join(parts) + END)


def _report(report: LayerReport) -> str:
    is_open = "" if report.first is None else " open"
    return (
        f"<details{is_open}><summary>{escape(report.sentence)}</summary><div>{_bars(report)}{_worst(report)}"
        f"<details><summary>polygraphy inspect model</summary><div class=scroll><pre>{escape(report.inspected)}</pre>"
        "</div></details></div></details>"
    )


def _bars(report: LayerReport) -> str:
    errors = [layer.error for layer in report.layers if math.isfinite(layer.error)]
    longest = max([*errors, report.tolerance])
    gate = LEFT + BARS * report.tolerance / longest
    height = ROW * len(report.layers)
    parts = []
    for index, layer in enumerate(report.layers):
        y, long = index * ROW, BARS * min(layer.error, longest) / longest
        kind = "bar" if layer.within else "failed"
        said = f"{layer.error:.4f}" if math.isfinite(layer.error) else "overflow"
        parts.append(
            f'<text class="soft" x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(layer.layer)}</text>'
            f'<rect class="{kind}" x="{LEFT}" y="{y + 4}" width="{long:.1f}" height="{ROW - 8}"/>'
            f'<text x="{LEFT + long + 6:.1f}" y="{y + 13}">{said}</text>'
        )
    line = f'<line class="gate" x1="{gate:.1f}" x2="{gate:.1f}" y1="0" y2="{height}"/>'
    label = escape(f"error of each layer of {report.model}, tolerance {report.tolerance:g}")
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{line}{"".join(parts)}</svg>'


def _worst(report: LayerReport) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("error", "inherited", "added here", "largest difference"))
    rows = "".join(
        f"<tr><td class=text>{escape(layer.layer)}</td><td class=text>{escape(layer.tensor)}</td>"
        f"<td>{layer.error:.5f}</td><td>{layer.inherited:.5f}</td><td>{layer.added:.5f}</td><td>{layer.largest:.4g}</td>"
        f"<td class=text>{'' if layer.within else 'first beyond' if layer is report.first else 'beyond'}</td></tr>"
        for layer in report.worst_first
    )
    return (
        '<h3>Worst first</h3><div class="scroll"><table><tr><th class="text">layer</th><th class="text">tensor</th>'
        f'{head}<th class="text"></th></tr>{rows}</table></div>'
    )
