"""What an evaluation found: rows of scores, as tables to print and as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from ..runtime.errors import OutputError
from ..runtime.files import require_writable, write_text
from .contestants import MARK
from .details import DetailRow
from .groups import GroupRow
from .lpips import Lpips
from .metrics import protocol_named
from .native_size import NativeSizeCurve, save_curve

RESULTS = "results.json"


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    name: str
    data: str
    protocol: str
    faces: int
    psnr: float
    ssim: float
    gain: float
    """dB over bicubic from the same low-resolution faces."""
    sees_prior: bool = False
    """Not to be ranked with those that do not."""


def table(rows: Sequence[Row]) -> Table:
    note = f"{MARK}: is told where the parts of the original lie; not to be ranked with the others"
    shown = Table(
        "model", "data", "protocol", "faces", "PSNR dB", "SSIM", "gain dB",
        caption=note if any(row.sees_prior for row in rows) else None,
    )  # fmt: skip
    for row in rows:
        figures = (str(row.faces), f"{row.psnr:.2f}", f"{row.ssim:.4f}", f"{row.gain:+.2f}")
        shown.add_row(row.name, row.data, row.protocol, *figures)
    return shown


def native_size_table(curves: Mapping[str, NativeSizeCurve]) -> Table:
    """Gain over bicubic by native size, and from which size to which one it is worth having."""
    sizes = next(iter(curves.values())).native_size
    shown = Table("gain in dB at native px", *(f"{size:g}" for size in sizes), "useful")
    for name, curve in curves.items():
        useful = curve.useful_range()
        where = f"{useful[0]:.0f} to {useful[1]:.0f} px" if useful else "nowhere"
        shown.add_row(name, *(f"{gain:+.1f}" for gain in curve.gain_db), where)
    return shown


def require_free_for_results(folder: Path) -> None:
    """Before long work: files can be written there, and none of another evaluation would lie between them.

    Raises:
        OutputError: it is not so.
    """
    if (folder / RESULTS).exists():
        raise OutputError(f"{folder}: holds an evaluation already; choose another --output, or remove it")
    require_writable(folder)


def write_results(
    folder: Path,
    rows: Sequence[Row],
    curves: Mapping[str, NativeSizeCurve],
    looked: Sequence[DetailRow] = (),
    served: Sequence[GroupRow] = (),
    lpips: Lpips | None = None,
) -> None:
    """`results.json`, and `native_size.png` where curves were measured."""
    gains = {
        name: dict(zip(curve.native_size.tolist(), curve.gain_db.round(3).tolist(), strict=True))
        for name, curve in curves.items()
    }
    rules = {name: protocol_named(name).rule for name in dict.fromkeys(row.protocol for row in rows)}
    result = {
        "rows": [asdict(row) for row in rows],
        "rules": {**rules, **({"lpips": lpips.rule} if lpips else {})},
        "gain_by_native_size": gains,
        "details": [asdict(row) for row in looked],
        "groups": [asdict(row) for row in served],
    }
    write_text(folder / RESULTS, json.dumps(result, indent=1) + "\n")
    if curves:
        save_curve(curves, folder / "native_size.png")
