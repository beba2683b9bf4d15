"""Gain against native size: from which to which size in the camera's picture a model beats bicubic.

The same HR faces are shrunk to every native size, as if they stood ever farther away. Bicubic enlarges
what the camera saw; the model gets it resized to its input, as the running program hands it over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import UsageError
from ..runtime.files import atomic_path
from ..runtime.geometry import resize
from ..runtime.pixels import RgbBatch
from .degrade import CLEAN, degrade
from .metrics import psnr_batch

FloatArray = NDArray[np.float64]

NATIVE_SIZES = (8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96)
"""Sides, in camera pixels, of the square that a crop is taken from."""

MIN_GAIN_DB = 0.1
"""A smaller gain than this is not worth running a network for."""

MAX_WORSE_SHARE = 0.05
"""Nor is a gain on average that leaves more faces than this worse than bicubic does."""

CHUNK = 64
"""Faces handed to the model at once: bounds memory."""


@dataclass(frozen=True, eq=False)
class NativeSizeCurve:
    """Mean PSNR of bicubic and of one model at S native sizes, over the same faces."""

    protocol: str
    """The rule of `metrics.PROTOCOLS` that every dB here follows."""
    output_size: int
    """Side in pixels at which both are compared with HR."""
    native_size: FloatArray
    """(S,) pixels, ascending."""
    bicubic_db: FloatArray
    """(S,) mean over the faces."""
    model_db: FloatArray
    """(S,) mean over the faces."""
    worse_share: FloatArray
    """(S,) share of the faces, 0..1, that the model leaves worse than bicubic."""

    @property
    def gain_db(self) -> FloatArray:
        """(S,) model over bicubic; inf where the model returns HR itself."""
        with np.errstate(invalid="ignore"):  # inf - inf: both return HR, so neither gains
            return np.nan_to_num(self.model_db - self.bicubic_db, nan=0.0, posinf=np.inf, neginf=-np.inf)

    @property
    def trusted_gain_db(self) -> FloatArray:
        """(S,) `gain_db`, but at most 0 where more than `MAX_WORSE_SHARE` of the faces are left worse."""
        return np.where(self.worse_share > MAX_WORSE_SHARE, np.minimum(self.gain_db, 0), self.gain_db)

    def useful_range(self, min_gain: float = MIN_GAIN_DB) -> tuple[float, float] | None:
        """The unbroken range of native sizes around the largest trusted gain where that exceeds `min_gain` dB.

        Interpolated linearly; ends where the measured sizes end. None if no size gains so much.
        """
        best = self.native_size[np.argmax(self.trusted_gain_db)]
        ranges = select_models({"": self}, min_gain)
        return next(((start, end) for start, end, _ in ranges if start <= best <= end), None)


def native_size_curve(
    restore: Callable[[RgbBatch], RgbBatch],
    hr: RgbBatch,
    input_size: int,
    output_size: int,
    native_sizes: Sequence[int] = NATIVE_SIZES,
    protocol: str = "sparnet",
    degradations: Sequence[str] = (CLEAN,),
) -> NativeSizeCurve:
    """Measure a model against bicubic over native sizes, on faces degraded in each way named.

    restore: uint8 (N, input_size, input_size, 3) RGB -> (N, output_size, output_size, 3).
    hr: uint8 (N, output_size, output_size, 3) RGB.

    Raises:
        UsageError: HR is not at the output size, or a native size is not below it.
        InputError: `restore` returns another size than HR's.
    """
    if hr.ndim != 4 or hr.shape[1:3] != (output_size, output_size):
        raise UsageError(f"got HR faces {hr.shape}, expected (N, {output_size}, {output_size}, 3)")
    sizes = sorted(set(native_sizes))
    if len(sizes) < 2 or sizes[0] < 1 or sizes[-1] >= output_size:
        raise UsageError(
            f"got native sizes {sizes}, expected two or more between 1 and {output_size - 1}; "
            f"at {output_size} px the camera has seen HR itself"
        )
    rows = [_measure_size(restore, hr, input_size, native, protocol, degradations) for native in sizes]
    bicubic_db, model_db, worse_share = np.array(rows, np.float64).T
    return NativeSizeCurve(protocol, output_size, np.array(sizes, np.float64), bicubic_db, model_db, worse_share)


def _measure_size(
    restore: Callable[[RgbBatch], RgbBatch],
    hr: RgbBatch,
    input_size: int,
    native: int,
    protocol: str,
    degradations: Sequence[str],
) -> tuple[float, float, float]:
    """Mean dB of bicubic, mean dB of the model, share of faces left worse, at one native size."""
    bicubic_db, model_db = [], []
    for start, kind in product(range(0, len(hr), CHUNK), degradations):
        faces = hr[start : start + CHUNK]
        seen = degrade(faces, native, span=1.0, seed=start, kind=kind)
        bicubic_db.append(psnr_batch(protocol, _resize_batch(seen, hr.shape[1]), faces))
        model_db.append(psnr_batch(protocol, restore(_resize_batch(seen, input_size)), faces))
    bicubic, model = np.concatenate(bicubic_db), np.concatenate(model_db)
    return float(bicubic.mean()), float(model.mean()), float((model < bicubic).mean())


def _resize_batch(batch: RgbBatch, size: int) -> RgbBatch:
    return np.stack([resize(face, (size, size)) for face in batch])


def select_models(
    curves: Mapping[str, NativeSizeCurve], min_gain: float = MIN_GAIN_DB
) -> list[tuple[float, float, str]]:
    """Which model serves which native sizes: ascending (native_from, native_to, name), gaps where none helps.

    Each size goes to the model of the highest PSNR, if that beats bicubic by more than `min_gain` dB and leaves no more
    than `MAX_WORSE_SHARE` of the faces worse. Both are interpolated linearly between measured sizes. Above the last
    range no model helps: leave the face to bicubic. That is also so beyond the measured sizes, where nothing is known.

    Raises:
        UsageError: no curve, or curves of different faces, native sizes, output sizes or protocols.
    """
    _check_comparable(curves)
    sizes = next(iter(curves.values())).native_size
    # Finite, since inf has no slope; no pair of 8-bit pictures short of equal comes near 200 dB.
    gains = np.array([np.clip(curve.gain_db, -200, 200) for curve in curves.values()])
    lines = np.vstack([np.full(len(sizes), float(min_gain)), gains])
    excess = np.array([curve.worse_share - MAX_WORSE_SHARE for curve in curves.values()])
    names = [None, *curves]  # none comes first, so that it wins a tie
    selected: list[tuple[float, float, str]] = []
    for start, end in pairwise(sorted({*sizes.tolist(), *_crossings(sizes, lines), *_roots(sizes, excess)})):
        middle = (start + end) / 2
        at_middle = [np.interp(middle, sizes, line) for line in lines]
        trusted = [True, *(np.interp(middle, sizes, line) <= 0 for line in excess)]
        name = names[int(np.argmax(np.where(trusted, at_middle, -np.inf)))]
        if name is None:
            continue
        if selected and selected[-1][1:] == (start, name):
            start = selected.pop()[0]
        selected.append((start, end, name))
    return selected


def _crossings(sizes: FloatArray, lines: FloatArray) -> Iterator[float]:
    """Where two of the piecewise linear `lines` (L, S) cross between measured sizes."""
    return _roots(sizes, np.array([one - other for one, other in combinations(lines, 2)]))


def _roots(sizes: FloatArray, lines: FloatArray) -> Iterator[float]:
    """Where the piecewise linear `lines` (L, S) change their sign between measured sizes."""
    for line in lines:
        for i in np.flatnonzero(line[:-1] * line[1:] < 0):
            share = line[i] / (line[i] - line[i + 1])
            yield float(sizes[i] + share * (sizes[i + 1] - sizes[i]))


def _check_comparable(curves: Mapping[str, NativeSizeCurve]) -> None:
    if not curves:
        raise UsageError("got no curve, expected at least one model's; measure it with native_size_curve")
    (first_name, first), *others = curves.items()
    for name, curve in others:
        same_rules = (curve.protocol, curve.output_size) == (first.protocol, first.output_size)
        same_sizes = np.array_equal(curve.native_size, first.native_size)
        if not (same_rules and same_sizes and np.allclose(curve.bicubic_db, first.bicubic_db)):
            raise UsageError(
                f"got curves {first_name!r} and {name!r} over different faces, native sizes, output sizes or "
                "protocols; measure every model on the same"
            )


PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def save_curve(curves: Mapping[str, NativeSizeCurve], path: Path) -> None:
    """Draw dB and gain against native size, bicubic and every model, whole or not at all.

    Raises:
        UsageError: the suffix is not one of `PLOT_SUFFIXES`, or the curves do not belong together.
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # here: measuring needs no plots; Figure needs no display

    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise UsageError(f"{path}: got suffix {path.suffix!r}, expected one of {', '.join(PLOT_SUFFIXES)}")
    _check_comparable(curves)
    figure = Figure(figsize=(7, 7), layout="constrained")
    quality, gain = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    first = next(iter(curves.values()))
    quality.plot(first.native_size, _finite(first.bicubic_db), "k--", label="bicubic")
    for name, curve in curves.items():
        quality.plot(curve.native_size, _finite(curve.model_db), marker=".", label=name)
        gain.plot(curve.native_size, _finite(curve.gain_db), marker=".", label=name)
    _label(quality, gain, first)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _label(quality: Any, gain: Any, curve: NativeSizeCurve) -> None:
    quality.set_ylabel(f"PSNR, dB ({curve.protocol}, at {curve.output_size} px)")
    quality.legend()
    gain.axhline(0, color="black", linestyle="--", linewidth=1)
    gain.set_ylabel("gain over bicubic, dB")
    gain.set_ylim(bottom=max(gain.get_ylim()[0], -3))  # deeper losses would flatten the gains
    gain.set_xlabel("native size of the face crop, px")
    gain.set_xscale("log")
    gain.set_xticks(curve.native_size, [f"{size:g}" for size in curve.native_size])
    gain.set_xticks([], minor=True)
    for axes in (quality, gain):
        axes.grid(alpha=0.3)


def _finite(db: FloatArray) -> FloatArray:
    """inf as a gap in the line."""
    return np.where(np.isfinite(db), db, np.nan)
