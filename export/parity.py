"""How far an engine's pictures are from those of the float32 network, and whether that is near enough to deploy.

Differences are grey levels of 255. PSNR runs over red, green and blue at once, so that a colour cast counts as much
as a change of light. A loss is what a face has against its original with the engine, below what it has with the
float32 network: the same faces on both sides, so the spread between faces cancels, and 64 of them tell .01 dB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.bundle import ParityEntry
from ..runtime.engines import Engine
from ..runtime.errors import InputError
from ..runtime.machine import cores
from ..runtime.pixels import RgbBatch

FloatArray = NDArray[np.float64]

BATCH = 16

FP32_GREY_LEVELS = 1
FP16_PSNR = 50.0
"""dB to fp32, of every face."""
INT8_PSNR = 38.0
"""dB to fp32, the mean over the faces; the released models reach 45 to 53, one with a damaged layer 36."""
INT8_MEAN_LOSS, INT8_WORST_LOSS = 0.10, 1.0
"""dB against the originals: upper end of the interval of the mean, and any one face."""
FEW = 20
"""Of fewer faces the interval of the mean says nothing, and the mean itself is judged."""


@dataclass(frozen=True, eq=False)
class ParityFaces:
    """Faces to hold engines against; uint8 RGB, the same face at the same index."""

    data: str
    """What they are, such as `parity set`."""
    low: RgbBatch
    """(N, s, s, 3): what the network takes."""
    reference: RgbBatch
    """(N, S, S, 3): what the network makes of them in float32."""
    high: RgbBatch | None
    """(N, S, S, 3): the originals, or None where there are none."""
    names: Sequence[str]
    """What each face is called in reports."""

    def __post_init__(self) -> None:
        counts = {len(self.low), len(self.reference), len(self.names), *([] if self.high is None else [len(self.high)])}
        if len(counts) > 1 or 0 in counts:
            raise InputError(
                f"{self.data}: got {sorted(counts)} faces, expected as many of each kind, and at least one"
            )


@dataclass(frozen=True, eq=False)
class ParityFigures:
    """What was measured on each of N faces."""

    data: str
    names: Sequence[str]
    largest: NDArray[np.int64]
    """(N,) largest difference to the reference in grey levels."""
    average: FloatArray
    """(N,) mean difference to the reference in grey levels."""
    squared: FloatArray
    """(N,) mean squared difference to the reference."""
    squared_to_high: FloatArray | None
    """(N,) mean squared difference to the originals."""
    reference_to_high: FloatArray | None
    """(N,) the same of the reference."""

    @property
    def faces(self) -> int:
        return len(self.names)

    @property
    def max_difference(self) -> int:
        return int(self.largest.max())

    @property
    def mean_difference(self) -> float:
        return float(self.average.mean())

    @property
    def psnr(self) -> float:
        """dB to the reference over all faces' pixels together; inf if no pixel differs."""
        return float(decibel(self.squared.mean()))

    @property
    def worst_psnr(self) -> float:
        """dB to the reference of the face that differs most."""
        return float(decibel(self.squared.max()))

    @property
    def losses(self) -> FloatArray | None:
        """(N,) dB each face lost against its original; below 0 where it gained."""
        if self.squared_to_high is None or self.reference_to_high is None:
            return None
        # Half a grey level in one value of a picture: what reaches its original exactly has no dB to lose.
        least = 1e-6
        return decibel(np.maximum(self.reference_to_high, least)) - decibel(np.maximum(self.squared_to_high, least))

    @property
    def loss(self) -> Loss | None:
        return None if self.losses is None else paired_loss(self.losses)

    def entry(self, precision: str) -> ParityEntry:
        """For a manifest."""
        loss = self.loss
        return ParityEntry(
            precision,
            self.data,
            self.faces,
            self.max_difference,
            round(self.mean_difference, 5),
            psnr_to_fp32=round(self.psnr, 2) if math.isfinite(self.psnr) else None,
            loss_db=None if loss is None else round(loss.mean, 4),
            loss_db_upper=None if loss is None else round(loss.upper, 4),
            worst_loss_db=None if loss is None else round(loss.worst, 4),
        )


@dataclass(frozen=True)
class Loss:
    """dB lost against the originals, over faces."""

    mean: float
    lower: float
    """Of the 95 % interval of the mean."""
    upper: float
    worst: float
    """Of the face that lost most."""


def measure(engine: Engine, faces: ParityFaces) -> ParityFigures:
    """Run the faces through an engine and hold what comes out against the reference and the originals."""
    return figures(restore(engine, faces.low), faces)


def restore(engine: Engine, low: RgbBatch) -> RgbBatch:
    """All faces in batches, on every core: an engine has one thread, and threads may share it."""
    out = np.empty((len(low), engine.output_size, engine.output_size, 3), np.uint8)

    def run(start: int) -> None:
        out[start : start + BATCH] = engine(low[start : start + BATCH])

    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(run, range(0, len(low), BATCH)):
            pass
    return out


def figures(restored: RgbBatch, faces: ParityFaces) -> ParityFigures:
    """Hold pictures, uint8 (N, S, S, 3) RGB, against the reference and the originals.

    Raises:
        InputError: they have another shape than the reference.
    """
    if restored.shape != faces.reference.shape:
        raise InputError(
            f"{faces.data}: got restored faces {restored.shape}, expected {faces.reference.shape} as the reference has"
        )
    size = restored[0].size
    return ParityFigures(
        faces.data,
        faces.names,
        _norms(restored, faces.reference, cv2.NORM_INF).astype(np.int64),
        _norms(restored, faces.reference, cv2.NORM_L1) / size,
        squared_difference(restored, faces.reference),
        None if faces.high is None else squared_difference(restored, faces.high),
        None if faces.high is None else squared_difference(faces.reference, faces.high),
    )


def squared_difference(a: RgbBatch, b: RgbBatch) -> FloatArray:
    """(N,) mean over each face's pixels and colours."""
    return _norms(a, b, cv2.NORM_L2SQR) / a[0].size


def _norms(a: RgbBatch, b: RgbBatch, kind: int) -> FloatArray:
    # OpenCV sums uint8 differences exactly, and ten times as fast as NumPy on copies wide enough to hold them.
    return np.array([cv2.norm(x, y, kind) for x, y in zip(a, b, strict=True)])


def decibel(squared: FloatArray | float) -> FloatArray:
    """PSNR of a mean squared difference in grey levels; inf for none."""
    with np.errstate(divide="ignore"):
        return 20 * math.log10(255) - 10 * np.log10(np.asarray(squared, np.float64))


def paired_loss(losses: FloatArray) -> Loss:
    """Mean and worst of (N,) losses in dB, with Student's 95 % interval of the mean; of one face it is unbounded."""
    mean, count = float(losses.mean()), len(losses)
    if count < 2:
        return Loss(mean, -math.inf, math.inf, float(losses.max()))
    reach = student_quantile(count - 1) * float(losses.std(ddof=1)) / math.sqrt(count)
    return Loss(mean, mean - reach, mean + reach, float(losses.max()))


NORMAL_QUANTILE = 1.959963985
"""97.5 % of a normal distribution lie below."""


def student_quantile(freedom: int) -> float:
    """Below which 97.5 % of Student's t lie; exact for 1 and 2 degrees, within .004 above.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5: an expansion in 1 / degrees of freedom.
    """
    if freedom < 3:
        return {1: 12.7062047, 2: 4.30265273}[freedom]
    x = NORMAL_QUANTILE
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + sum(term / freedom**power for power, term in enumerate(terms, 1))


def gate(figures: ParityFigures, precision: str) -> list[str]:
    """Why what was measured must not be deployed in that precision; nothing if it may.

    Raises:
        InputError: no gate for that precision.
    """
    if precision not in GATES:
        raise InputError(f"got precision {precision!r}, expected one of {', '.join(GATES)}")
    return list(GATES[precision](figures))


def _fp32(figures: ParityFigures) -> Iterator[str]:
    if figures.max_difference > FP32_GREY_LEVELS:
        where = figures.names[int(figures.largest.argmax())]
        yield f"{figures.max_difference} grey levels off on {where}, expected at most {FP32_GREY_LEVELS} anywhere"


def _fp16(figures: ParityFigures) -> Iterator[str]:
    if not figures.worst_psnr >= FP16_PSNR:
        where = figures.names[int(figures.squared.argmax())]
        yield f"{figures.worst_psnr:.1f} dB to fp32 on {where}, expected at least {FP16_PSNR:g} on every face"


def _int8(figures: ParityFigures) -> Iterator[str]:
    losses, loss = figures.losses, figures.loss
    if losses is None or loss is None:
        yield "its loss was not measured: there are no original faces to compare with"
        return
    few = figures.faces < FEW
    if not (loss.mean if few else loss.upper) <= INT8_MEAN_LOSS:
        sure = f"on average of {figures.faces} faces" if few else f"at most {loss.upper:.3f} with 95 % confidence"
        yield f"loses {loss.mean:.3f} dB against the originals, {sure}, expected at most {INT8_MEAN_LOSS:.2f}"
    if not loss.worst <= INT8_WORST_LOSS:
        where = figures.names[int(losses.argmax())]
        yield f"loses {loss.worst:.2f} dB on {where}, expected at most {INT8_WORST_LOSS:g} on any face"
    if not figures.psnr >= INT8_PSNR:  # hard faces hide damage: their own error is many times as large
        yield f"{figures.psnr:.1f} dB to fp32, expected at least {INT8_PSNR:g}"


GATES: Mapping[str, Callable[[ParityFigures], Iterator[str]]] = MappingProxyType(
    {"fp32": _fp32, "fp16": _fp16, "int8": _int8}
)
"""By precision."""

GATE_RULES: Mapping[str, str] = MappingProxyType(
    {
        "fp32": f"at most {FP32_GREY_LEVELS} grey level from PyTorch in any value of any face",
        "fp16": f"at least {FP16_PSNR:g} dB to fp32 on every face",
        "int8": f"at least {INT8_PSNR:g} dB to fp32 on average, loses at most {INT8_MEAN_LOSS:.2f} dB against the "
        f"originals (upper end of the paired 95 % interval of the mean; of fewer than {FEW} faces the mean), and at "
        f"most {INT8_WORST_LOSS:g} dB on any face",
    }
)
"""The gates in words."""
