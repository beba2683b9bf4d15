"""Evaluate: checkpoints, bundles and bicubic on the faces of packs, under the field's protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from ..runtime.bundle import default_detector
from ..runtime.detect import Detector
from ..runtime.errors import InputError, UsageError
from ..runtime.pixels import RgbBatch
from .contestants import Contestant, bicubic, fits, fitting, open_all, priors_for
from .degrade import CLEAN, degrade, shrink
from .details import DetailRow, Instruments, detail_rows, detail_table, identity_network
from .groups import GroupRow, group_rows, group_table, measured
from .lpips import Lpips
from .metrics import protocol_named, score
from .native_size import NativeSizeCurve, native_size_curve
from .pack import PackInfo, open_pack, read_split
from .pictures import save_sheet
from .priors import Priors
from .results import Row, native_size_table, require_free_for_results, table, write_results

SHEET_FACES = 8


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
        PackError: a contestant sees the prior, and the pack has none.
    """
    for protocol in protocols:
        protocol_named(protocol)
    suited = fitting(contestants, pack)
    if not suited:
        offered = ", ".join(f"{c.name} ({c.framing}, {c.output_size} px)" for c in contestants)
        raise UsageError(
            f"{pack.path}: {pack.framing} framing, {pack.size} px; got {offered}, expected a model of that kind"
        )
    high, priors = read_faces(pack, split), priors_for(suited, pack, split)
    rows: list[Row] = []
    for input_size in dict.fromkeys(c.input_size for c in suited):
        low = seen(high, input_size, degradation)
        floor = bicubic(pack.size, input_size, pack.framing)
        group = [floor, *(c for c in suited if c.input_size == input_size)]
        rows += _score_group(group, low, high, priors, data_name(pack, split, degradation), protocols)
    return rows


def data_name(pack: PackInfo, split: str, degradation: str) -> str:
    return f"{pack.source} {split}" + ("" if degradation == CLEAN else f", {degradation}")


def read_faces(pack: PackInfo, split: str) -> RgbBatch:
    """The faces of a split, or an error if it has none."""
    if not pack.count(split):
        raise InputError(f"{pack.path}: split {split!r} is empty; prepare it with --{split}-share above 0")
    return read_split(pack, split)


def _score_group(
    group: Sequence[Contestant],
    low: RgbBatch,
    high: RgbBatch,
    priors: Priors | None,
    data: str,
    protocols: Sequence[str],
) -> list[Row]:
    """By protocol, then by contestant, of which the first is bicubic; each restores once, and one's faces are kept."""
    rows: dict[str, list[Row]] = {protocol: [] for protocol in protocols}
    for contestant in group:
        restored = contestant.restore(low, priors)
        for protocol, before in rows.items():
            scores = score(protocol, restored, high)
            floor = before[0].psnr if before else scores.mean_psnr
            name = contestant.name if before else f"bicubic {contestant.input_size} -> {contestant.output_size}"
            psnr, ssim = scores.mean_psnr, scores.mean_ssim
            before.append(Row(name, data, protocol, len(high), psnr, ssim, psnr - floor, contestant.sees_prior))
    return [row for of_protocol in rows.values() for row in of_protocol]


def look_closer(
    contestants: Sequence[Contestant],
    pack: PackInfo,
    split: str,
    protocol: str,
    degradation: str,
    instruments: Instruments,
    details: bool,
    groups: bool,
) -> tuple[list[DetailRow], list[GroupRow]]:
    """What the mean PSNR does not say, of the contestants that fit the pack and of bicubic."""
    suited = fitting(contestants, pack)
    high, priors = read_faces(pack, split), priors_for(suited, pack, split)
    data = data_name(pack, split, degradation)
    faces = measured(high, instruments.detector, pack.framing) if groups else []
    looked: list[DetailRow] = []
    served: list[GroupRow] = []
    for input_size in dict.fromkeys(c.input_size for c in suited):
        low = seen(high, input_size, degradation)
        restored = {c.name: c.restore(low, priors) for c in suited if c.input_size == input_size}
        floor = shrink(low, pack.size)
        if details:
            ways = {f"bicubic {input_size} -> {pack.size}": floor, **restored}
            looked += detail_rows(ways, high, data, instruments)
        if groups:
            served += group_rows(restored, floor, high, faces, data, protocol)
    return looked, served


def native_size_curves(
    contestants: Sequence[Contestant], high: RgbBatch, degradations: Sequence[str] = (CLEAN,)
) -> Mapping[str, NativeSizeCurve]:
    """Gain against native size of the contestants that see no prior, all compared at the size of `high`.

    Those that do restore no camera's faces, so there is no range to serve.
    """
    size = high.shape[1]

    def at_size(contestant: Contestant) -> Callable[[RgbBatch], RgbBatch]:
        return lambda low: shrink(contestant.restore(low, None), size)

    return {
        c.name: native_size_curve(at_size(c), high, c.input_size, size, degradations=degradations)
        for c in contestants
        if not c.sees_prior
    }


def save_evaluation_sheet(
    path: Path, contestants: Sequence[Contestant], pack: PackInfo, split: str, degradation: str = CLEAN
) -> None:
    """LR | bicubic | every contestant that fits the pack | HR, for faces spread over the split."""
    suited = fitting(contestants, pack)
    high, priors = read_faces(pack, split), priors_for(suited, pack, split)
    chosen = np.linspace(0, len(high) - 1, min(SHEET_FACES, len(high))).astype(int)
    high, priors = high[chosen], priors.take(chosen) if priors else None
    lows = {size: seen(high, size, degradation) for size in sorted({c.input_size for c in suited})}
    smallest = min(lows)
    titles = [c.name if c.input_size == smallest else f"{c.name}, from {c.input_size} px" for c in suited]
    columns = [c.restore(lows[c.input_size], priors) for c in suited]
    save_sheet(
        path,
        [lows[smallest], shrink(lows[smallest], pack.size), *columns, high],
        [f"LR {smallest} px", "bicubic", *titles, "HR"],
    )


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
    trunk: Path | None = None,
) -> list[Table]:
    """What `fsr-train evaluate` does; returns the tables to print.

    trunk: of LPIPS, which is a detail.
    """
    if output is not None:
        require_free_for_results(output)
    contestants = open_all(paths)
    if native_sizes and contestants and all(c.sees_prior for c in contestants):
        raise UsageError("--native-sizes: got only models that see the prior, expected one that restores without it")
    lpips = Lpips.open(trunk) if trunk else None
    packs = [open_pack(path) for path in pack_paths]
    if not contestants:  # bicubic alone: the published x8 row
        contestants = [bicubic(pack.size, pack.size // 8, pack.framing) for pack in packs]
    rows = [row for pack in packs for row in evaluate(contestants, pack, split, protocols, degradation)]
    looked: list[DetailRow] = []
    served: list[GroupRow] = []
    if (details := details or lpips is not None) or groups:
        instruments = Instruments(Detector.open(default_detector()), identity_network() if details else None, lpips)
        for pack in packs:
            more = look_closer(contestants, pack, split, protocols[0], degradation, instruments, details, groups)
            looked, served = looked + more[0], served + more[1]
    if not paths:  # once is enough
        rows = [row for row in rows if row.name != "bicubic"]
        looked = [row for row in looked if row.name != "bicubic"]
    curves: Mapping[str, NativeSizeCurve] = {}
    if output is not None:
        if native_sizes:
            same_framing = [c for c in contestants if c.framing == packs[0].framing]
            high = np.concatenate([read_faces(p, split) for p in packs if fits(p, packs[0].framing, packs[0].size)])
            curves = native_size_curves(same_framing, high, [degradation])
        write_results(output, rows, curves, looked, served, lpips)
        save_evaluation_sheet(output / "sheet.png", contestants, packs[0], split, degradation)
    tables = [table(rows), *([native_size_table(curves)] if curves else [])]
    return [*tables, *([detail_table(looked, lpips)] if looked else []), *([group_table(served)] if served else [])]
