"""The report of a parity check: one HTML file with its pictures and plots inside, readable offline and for good."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

from ..runtime.files import write_text
from ..runtime.pixels import RgbImage
from .check_result import Checked, CheckResult, DetectorRow, Row, Worst, db, signed
from .parity import GATE_RULES
from .report_plots import LossLine, histogram, loss_plot
from .report_style import STYLE

INVISIBLE = 0.005
"""dB; a plot of smaller losses shows nothing."""

MAX_GAIN = 64
"""A difference is shown enlarged so far that its largest is white, but no further."""


def write_report(path: Path, result: CheckResult) -> None:
    """Write the page, whole or not at all."""
    write_text(path, page(result))


def page(result: CheckResult) -> str:
    title = f"Parity of {result.bundle}"
    parts = [_head(result), _failures(result), _models(result), _detector(result.detector)]
    parts += [
        "<h2>Faces</h2>",
        *(_faces(checked, checked is result.checked[0]) for checked in result.checked),
        _method(result),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(result: CheckResult) -> str:
    rows = sum(len(checked.rows) for checked in result.checked) + len(result.detector)
    machine = result.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return (
        f"<h1>Parity of <code style='font-size:inherit'>{escape(result.bundle)}</code></h1><p>{_pill(result.passed)} "
        f"{rows} comparisons with float32 in {result.seconds:.0f} s. {escape(machine.processor)}, cores: "
        f"{machine.cores}.</p><p class='soft'>{escape(packages)}</p>"
    )


def _pill(passed: bool) -> str:
    return f'<span class="pill {"good" if passed else "bad"}">{"✓ passed" if passed else "✗ failed"}</span>'


def _failures(result: CheckResult) -> str:
    parts = []
    if result.failures:
        parts.append(f'<div class="box bad"><strong>Must not be deployed</strong>{_list(result.failures)}</div>')
    if result.unproved:
        parts.append(f'<div class="box bad"><strong>No engine here runs</strong>{_list(result.unproved)}</div>')
    if result.not_run:
        parts.append(f'<div class="box warn"><strong>Not run here</strong>{_list(result.not_run)}</div>')
    return "".join(parts)


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def _overview(chosen: Sequence[Checked]) -> str:
    lines = [
        LossLine(f"{checked.model}, {row.variant}", loss, bool(row.failures))
        for checked in chosen
        for row in checked.rows
        if (loss := row.figures.loss) is not None
    ]
    if not lines:
        return ""
    return (
        "<p class='soft'>dB lost against the originals: mean over faces and its 95 % interval; int8 may be deployed "
        f"left of the dashed line.</p>{loss_plot(lines)}"
    )


MODEL_COLUMNS = (
    "gate",
    "grey levels<br>max / mean",
    "dB<br>to fp32",
    "PSNR, dB<br>fp32 → this",
    "SSIM<br>fp32 → this",
    "lost dB<br>(95 % interval)",
    "worst<br>face, dB",
    "points<br>moved, px",
)


def _models(result: CheckResult) -> str:
    head = '<th class="text">model</th><th class="text">variant</th>'
    head += "".join(f"<th>{column}</th>" for column in MODEL_COLUMNS)
    if any(row.identity for checked in result.checked for row in checked.rows):
        head += "<th>identity<br>moved</th>"
    parts = []
    for data in dict.fromkeys(checked.data for checked in result.checked):
        chosen = [checked for checked in result.checked if checked.data == data]
        rows = "".join(_model_row(checked, row) for checked in chosen for row in checked.rows)
        said = f"against {chosen[0].reference}; {max(checked.faces for checked in chosen)} faces"
        parts.append(f"<h2>Models on {escape(data)}</h2><p class='soft'>{said}</p>{_overview(chosen)}")
        parts.append(f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>')
    return "".join(parts)


def _model_row(checked: Checked, row: Row) -> str:
    figures, loss = row.figures, row.figures.loss
    interval = (
        "" if loss is None else f"{signed(loss.mean)} <small>({signed(loss.lower)} to {signed(loss.upper)})</small>"
    )
    cells = [
        _pill(not row.failures),
        f"{figures.max_difference} / {figures.mean_difference:.5f}",
        db(figures.psnr),
        _change(checked.reference_psnr, row.psnr, 2),
        _change(checked.reference_ssim, row.ssim, 4),
        interval,
        "" if loss is None else signed(loss.worst, 2),
        f"{row.landmarks.mean_pixels:.2f}",
        *([] if row.identity is None else [f"{row.identity.mean:.3f}"]),
    ]
    name = checked.model if row is checked.rows[0] else ""
    return (
        f"<tr><td class=text>{escape(name)}</td><td class=text>{escape(str(row.variant))}</td>"
        f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    )


def _change(before: float | None, after: float | None, digits: int) -> str:
    return "" if before is None or after is None else f"{before:.{digits}f} → {after:.{digits}f}"


def _detector(rows: Sequence[DetectorRow]) -> str:
    if not rows:
        return ""
    columns = (
        "gate",
        "frames",
        "faces",
        "missed",
        "added",
        "overlap<br>of boxes",
        "points moved,<br>eye distances",
        "95 %",
    )
    head = '<th class="text">variant</th><th class="text">frames of</th>'
    head += "".join(f"<th>{column}</th>" for column in columns)
    body = []
    for row in rows:
        f = row.figures
        counts = (_pill(not row.failures), f.frames, f.faces, f.missed, f.added)
        cells = (*counts, f"{f.mean_iou:.3f}", f"{f.mean_drift:.4f}", f"{f.p95_drift:.4f}")
        text = f"<td class=text>{escape(str(row.variant))}</td><td class=text>{escape(row.data)}</td>"
        body.append(f"<tr>{text}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f'<h2>Detector</h2><div class="scroll"><table><tr>{head}</tr>{"".join(body)}</table></div>'


def _faces(checked: Checked, first: bool) -> str:
    is_open = " open" if first or any(row.failures for row in checked.rows) else ""
    parts = [
        f"<details{is_open}><summary>{escape(checked.model)}: {checked.faces}, {escape(checked.data)}</summary><div>"
    ]
    parts.append(_between(checked))
    for row in checked.rows:
        parts += [f"<h3>{escape(str(row.variant))}</h3>", _spread(row)]
        shown = row.worst if row.failures or row.variant.precision != "fp32" else row.worst[:1]
        parts += [_worst(worst) for worst in shown]
    return "".join([*parts, "</div></details>"])


def _spread(row: Row) -> str:
    losses, drift = row.figures.losses, row.landmarks
    said = f"Points were found on {drift.found} of {drift.faces} restored faces; {drift.lost} are lost here, the rest "
    said += f"move by {drift.mean_eye_distances:.4f} eye distances, at most {drift.worst_eye_distances:.4f}."
    if row.identity is not None and row.identity.to_original is not None:
        said += f" Identity: {row.identity.mean:.3f} from fp32, at most {row.identity.worst:.3f}; from the original "
        said += f"{row.identity.fp32_to_original:.3f} in fp32 and {row.identity.to_original:.3f} here."
    plot = ""
    if losses is not None and np.abs(losses).max() < INVISIBLE:
        said += f" No face gains or loses {INVISIBLE:g} dB."
    elif losses is not None:
        plot = f"<p class='soft'>dB lost, face by face</p>{histogram(losses)}"
    return f"{plot}<p>{said}</p><p class='soft'>What came out worst</p>"


def _worst(worst: Worst) -> str:
    difference = cv2.absdiff(worst.restored, worst.reference)
    gain = min(MAX_GAIN, 255 // max(1, worst.difference))
    lost = "" if worst.loss is None else f", {signed(worst.loss)} dB lost"
    pictures = [
        ("low", f"input: {worst.name}", worst.low),
        ("", "float32", worst.reference),
        ("", f"this: {worst.difference} grey levels{lost}", worst.restored),
        ("", f"difference x {gain}", np.asarray(cv2.convertScaleAbs(difference, alpha=gain), np.uint8)),
        *([] if worst.high is None else [("", "original", worst.high)]),
    ]
    figures = (
        f'<figure><img class="{kind}" alt="" src="{picture_data(picture)}"><figcaption>{escape(caption)}</figcaption>'
        "</figure>"
        for kind, caption, picture in pictures
    )
    return f'<div class="faces">{"".join(figures)}</div>'


def picture_data(picture: RgbImage) -> str:
    """A data URI: lossless, so that what is seen is what was made."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _between(checked: Checked) -> str:
    names = list(checked.psnr_between)
    head = '<th class="text">dB between</th>' + "".join(f"<th>{escape(name)}</th>" for name in names[:-1])
    rows = "".join(
        f"<tr><td class=text>{escape(a)}</td>"
        + "".join(
            f"<td>{db(checked.psnr_between[a][b]) if b in names[: names.index(a)] else ''}</td>" for b in names[:-1]
        )
        + "</tr>"
        for a in names[1:]
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _method(result: CheckResult) -> str:
    gates = [f"{precision}: {rule}" for precision, rule in GATE_RULES.items()]
    left = [f"{count} pictures {reason}: left out" for reason, count in result.left_out.items()]
    return f"<h2>Gates</h2>{_list(gates)}<h2>How it was measured</h2>{_list([*result.notes, *left])}"
