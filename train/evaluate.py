"""Evaluate: checkpoints, bundles and bicubic on the faces of packs, under the field's protocols."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.table import Table

from ..calibration.drift import IdentityNetwork
from ..runtime.bundle import Bundle, ModelEntry, default_detector, open_bundle
from ..runtime.detect import Detector
from ..runtime.engines import open_engine
from ..runtime.errors import CheckpointError, EngineUnavailableError, InputError, UsageError
from ..runtime.files import write_text
from ..runtime.pixels import RgbBatch
from .checkpoint import load_checkpoint
from .degrade import CLEAN, degrade, shrink
from .details import DetailRow, detail_rows, detail_table
from .groups import GroupRow, group_rows, group_table, measured
from .metrics import protocol_named, score
from .native_size import NativeSizeCurve, native_size_curve, save_curve
from .networks.edge import EdgeNet
from .networks.kdfsrnet import KdfsrNet
from .pack import PackInfo, open_pack, read_split
from .pictures import save_sheet
from .restore import restore
from .validation import MODEL_FILE

BATCH = 50
SHEET_FACES = 8


@dataclass(frozen=True)
class Contestant:
    """A way to restore faces, by name."""

    name: str
    framing: str
    input_size: int
    output_size: int
    restore: Callable[[RgbBatch], RgbBatch]
    """uint8 (N, input_size, input_size, 3) RGB -> (N, output_size, output_size, 3)."""


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


def open_contestants(path: Path) -> list[Contestant]:
    """A checkpoint as one contestant, a bundle as one for each model and precision, run by ONNX Runtime.

    Raises:
        InputError: neither a bundle's folder nor a checkpoint; damaged ones as `open_bundle` and `load_checkpoint` say.
    """
    if path.is_dir():
        bundle = open_bundle(path)
        models = [(model, precision) for model in bundle.manifest.models for precision in model.files]
        return [_of_bundle(bundle, model, precision) for model, precision in models]
    if not path.exists():
        raise InputError(f"{path}: nothing there; expected a checkpoint (.safetensors) or a bundle's folder")
    checkpoint = load_checkpoint(path)
    network = checkpoint.build()
    if not isinstance(network, EdgeNet | KdfsrNet) or getattr(network.config, "prior", 0):
        raise CheckpointError(f"{path}: got network {checkpoint.network!r}, which cannot be evaluated alone")
    config = network.config
    return [
        Contestant(
            path.parent.name if path.name == MODEL_FILE else path.stem,
            checkpoint.framing,
            config.input_size,
            config.output_size,
            partial(restore, network),
        )
    ]


def _of_bundle(bundle: Bundle, model: ModelEntry, precision: str) -> Contestant:
    engine = open_engine("onnxruntime", bundle.path(model.files[precision]), precision)

    def run(low: RgbBatch) -> RgbBatch:
        return np.concatenate([engine(low[start : start + BATCH]) for start in range(0, len(low), BATCH)])

    return Contestant(f"{model.name} {precision}", model.framing, model.input_size, model.output_size, run)


def fits(pack: PackInfo, framing: str, size: int) -> bool:
    """Whether a pack's faces have that framing and that size in pixels."""
    return (pack.framing, pack.size) == (framing, size)


def bicubic(output_size: int, input_size: int, framing: str) -> Contestant:
    """Antialiased bicubic, the floor of every table."""
    return Contestant("bicubic", framing, input_size, output_size, lambda low: shrink(low, output_size))


def seen(high: RgbBatch, size: int, degradation: str) -> RgbBatch:
    """The low-resolution faces that every contestant gets: the same at every call."""
    return degrade(high, size, span=1.0, seed=0, kind=degradation)


def evaluate(
    contestants: Sequence[Contestant],
    pack: PackInfo,
    split: str,
    protocols: Sequence[str],
    degradation: str = CLEAN,
) -> list[Row]:
    """Score the contestants that fit the pack, each beside bicubic from the same low-resolution faces.

    Raises:
        UsageError: no contestant has the pack's framing and size, or an unknown protocol.
        InputError: the split is empty.
    """
    for protocol in protocols:
        protocol_named(protocol)
    fitting = [c for c in contestants if fits(pack, c.framing, c.output_size)]
    if not fitting:
        offered = ", ".join(f"{c.name} ({c.framing}, {c.output_size} px)" for c in contestants)
        raise UsageError(
            f"{pack.path}: {pack.framing} framing, {pack.size} px; got {offered}, expected a model of that kind"
        )
    high = read_faces(pack, split)
    rows: list[Row] = []
    for input_size in dict.fromkeys(c.input_size for c in fitting):
        low = seen(high, input_size, degradation)
        floor = bicubic(pack.size, input_size, pack.framing)
        group = [floor, *(c for c in fitting if c.input_size == input_size)]
        for protocol in protocols:
            rows += _score_group(group, low, high, data_name(pack, split, degradation), protocol)
    return rows


def data_name(pack: PackInfo, split: str, degradation: str) -> str:
    return f"{pack.source} {split}" + ("" if degradation == CLEAN else f", {degradation}")


def read_faces(pack: PackInfo, split: str) -> RgbBatch:
    """The faces of a split, or an error if it has none."""
    if not pack.count(split):
        raise InputError(f"{pack.path}: split {split!r} is empty; prepare it with --{split}-share above 0")
    return read_split(pack, split)


def _score_group(group: Sequence[Contestant], low: RgbBatch, high: RgbBatch, data: str, protocol: str) -> list[Row]:
    rows: list[Row] = []
    for contestant in group:
        scores = score(protocol, contestant.restore(low), high)
        floor = rows[0].psnr if rows else scores.mean_psnr
        name = contestant.name if rows else f"bicubic {contestant.input_size} -> {contestant.output_size}"
        psnr, ssim = scores.mean_psnr, scores.mean_ssim
        rows.append(Row(name, data, protocol, len(high), psnr, ssim, psnr - floor))
    return rows


def look_closer(
    contestants: Sequence[Contestant],
    pack: PackInfo,
    split: str,
    protocol: str,
    degradation: str,
    details: bool,
    groups: bool,
) -> tuple[list[DetailRow], list[GroupRow]]:
    """What the mean PSNR does not say, of the contestants that fit the pack and of bicubic."""
    fitting = [c for c in contestants if fits(pack, c.framing, c.output_size)]
    high, data = read_faces(pack, split), data_name(pack, split, degradation)
    detector = Detector.open(default_detector())
    network = identity_network() if details else None
    faces = measured(high, detector, pack.framing) if groups else []
    looked: list[DetailRow] = []
    served: list[GroupRow] = []
    for input_size in dict.fromkeys(c.input_size for c in fitting):
        low = seen(high, input_size, degradation)
        restored = {c.name: c.restore(low) for c in fitting if c.input_size == input_size}
        floor = shrink(low, pack.size)
        if details:
            ways = {f"bicubic {input_size} -> {pack.size}": floor, **restored}
            looked += detail_rows(ways, high, data, detector, network)
        if groups:
            served += group_rows(restored, floor, high, faces, data, protocol)
    return looked, served


def identity_network() -> IdentityNetwork | None:
    """None where dlib is not installed; the table says so."""
    try:
        return IdentityNetwork()
    except EngineUnavailableError:
        return None


def native_size_curves(
    contestants: Sequence[Contestant], high: RgbBatch, degradations: Sequence[str] = (CLEAN,)
) -> Mapping[str, NativeSizeCurve]:
    """Gain against native size of every contestant, all compared at the size of `high`."""
    size = high.shape[1]

    def at_size(contestant: Contestant) -> Callable[[RgbBatch], RgbBatch]:
        return lambda low: shrink(contestant.restore(low), size)

    return {
        c.name: native_size_curve(at_size(c), high, c.input_size, size, degradations=degradations) for c in contestants
    }


def save_evaluation_sheet(
    path: Path, contestants: Sequence[Contestant], high: RgbBatch, degradation: str = CLEAN
) -> None:
    """Low | bicubic | every contestant | original, for faces spread over the set."""
    chosen = high[np.linspace(0, len(high) - 1, min(SHEET_FACES, len(high))).astype(int)]
    fitting = [c for c in contestants if c.output_size == high.shape[1]]
    lows = {c.input_size: seen(chosen, c.input_size, degradation) for c in fitting}
    columns = [lows[min(lows)], shrink(lows[min(lows)], high.shape[1])]
    save_sheet(path, [*columns, *(c.restore(lows[c.input_size]) for c in fitting), chosen])


def table(rows: Sequence[Row]) -> Table:
    shown = Table("model", "data", "protocol", "faces", "PSNR dB", "SSIM", "gain dB")
    for row in rows:
        figures = (str(row.faces), f"{row.psnr:.2f}", f"{row.ssim:.4f}", f"{row.gain:+.2f}")
        shown.add_row(row.name, row.data, row.protocol, *figures)
    return shown


def write_results(
    folder: Path,
    rows: Sequence[Row],
    curves: Mapping[str, NativeSizeCurve],
    looked: Sequence[DetailRow] = (),
    served: Sequence[GroupRow] = (),
) -> None:
    """`results.json`, and `native_size.png` where curves were measured."""
    gains = {
        name: dict(zip(curve.native_size.tolist(), curve.gain_db.round(3).tolist(), strict=True))
        for name, curve in curves.items()
    }
    rules = {name: protocol_named(name).rule for name in dict.fromkeys(row.protocol for row in rows)}
    result = {
        "rows": [asdict(row) for row in rows],
        "rules": rules,
        "gain_by_native_size": gains,
        "details": [asdict(row) for row in looked],
        "groups": [asdict(row) for row in served],
    }
    write_text(folder / "results.json", json.dumps(result, indent=1) + "\n")
    if curves:
        save_curve(curves, folder / "native_size.png")


def run_evaluation(
    paths: Sequence[Path],
    pack_paths: Sequence[Path],
    split: str,
    protocols: Sequence[str],
    output: Path | None,
    native_sizes: bool,
    details: bool = False,
    groups: bool = False,
    degradation: str = CLEAN,
) -> list[Table]:
    """What `fsr-train evaluate` does; returns the tables to print."""
    contestants = [contestant for path in paths for contestant in open_contestants(path)]
    packs = [open_pack(path) for path in pack_paths]
    if not contestants:  # bicubic alone: the published x8 row
        contestants = [bicubic(pack.size, pack.size // 8, pack.framing) for pack in packs]
    rows = [row for pack in packs for row in evaluate(contestants, pack, split, protocols, degradation)]
    if not paths:
        rows = [row for row in rows if row.name != "bicubic"]
    looked: list[DetailRow] = []
    served: list[GroupRow] = []
    for pack in packs if details or groups else []:
        more = look_closer(contestants, pack, split, protocols[0], degradation, details, groups)
        looked, served = looked + more[0], served + more[1]
    curves: Mapping[str, NativeSizeCurve] = {}
    if output is not None:
        fitting = [c for c in contestants if c.framing == packs[0].framing]
        if native_sizes:
            curves = native_size_curves(
                fitting, np.concatenate([read_faces(p, split) for p in packs if p.size == packs[0].size]), [degradation]
            )
        write_results(output, rows, curves, looked, served)
        save_evaluation_sheet(output / "sheet.png", fitting, read_faces(packs[0], split), degradation)
    tables = [table(rows), *([native_size_table(curves)] if curves else [])]
    return [*tables, *([detail_table(looked)] if looked else []), *([group_table(served)] if served else [])]


def native_size_table(curves: Mapping[str, NativeSizeCurve]) -> Table:
    """Gain over bicubic by native size, and from which size to which one it is worth having."""
    sizes = next(iter(curves.values())).native_size
    shown = Table("gain in dB at native px", *(f"{size:g}" for size in sizes), "useful")
    for name, curve in curves.items():
        useful = curve.useful_range()
        where = f"{useful[0]:.0f} to {useful[1]:.0f} px" if useful else "nowhere"
        shown.add_row(name, *(f"{gain:+.1f}" for gain in curve.gain_db), where)
    return shown
