"""Whether a model serves everyone: its gain by skin tone, pose and light, as they can be told from the originals.

Age, sex and origin cannot be told from pixels without a network that guesses them, so they are not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ..calibration.measure import FaceMeasures, measure
from ..runtime.detect import Detector
from ..runtime.errors import GeometryError
from ..runtime.pixels import RgbBatch
from .details import ENLARGED, faces_in
from .metrics import psnr_batch

FEWEST = 5
"""Faces in a group from which on a mean is worth printing."""


@dataclass(frozen=True)
class Group:
    """Faces with one measure in a range."""

    name: str
    measure: str
    """A field of `FaceMeasures`."""
    low: float
    high: float
    """Below which; the lower end is in it."""
    absolute: bool = False

    def holds(self, face: FaceMeasures) -> bool:
        value = getattr(face, self.measure)
        return bool(self.low <= (abs(value) if self.absolute else value) < self.high)


GROUPS = (
    # Classes of the individual typology angle after Del Bino and Bernerd, 2013, two and two together.
    Group("skin: light", "skin", 41, np.inf),
    Group("skin: intermediate and tan", "skin", 10, 41),
    Group("skin: brown and dark", "skin", -np.inf, 10),
    Group("pose: from the front", "yaw", 0, 0.15, absolute=True),
    Group("pose: half turned", "yaw", 0.15, 0.35, absolute=True),
    Group("pose: turned", "yaw", 0.35, np.inf, absolute=True),
    Group("light: dim", "luminance", 0, 90),
    Group("light: medium", "luminance", 90, 150),
    Group("light: bright", "luminance", 150, 256),
)


@dataclass(frozen=True)
class GroupRow:
    """One model on one group."""

    name: str
    data: str
    group: str
    faces: int
    gain: float
    """dB over bicubic, mean."""
    gain_error: float
    """Standard error of that mean."""


def measured(high: RgbBatch, detector: Detector, framing: str) -> list[FaceMeasures | None]:
    """Of each original, uint8 (N, H, H, 3) RGB; None where the detector sees no face."""

    def one(index: int) -> FaceMeasures | None:
        face = faces[index]
        try:
            return None if face is None else measure(high[index], (face.landmarks + 0.5) / ENLARGED - 0.5, framing)[0]
        except GeometryError:
            return None

    faces = faces_in(high, detector)
    return [one(index) for index in range(len(high))]


def group_rows(
    restored: Mapping[str, RgbBatch],
    floor: RgbBatch,
    high: RgbBatch,
    faces: Sequence[FaceMeasures | None],
    data: str,
    protocol: str,
) -> Iterator[GroupRow]:
    """Gains over `floor` (bicubic) by group, of groups with enough faces; faces: of `measured`."""
    at_floor = psnr_batch(protocol, floor, high)
    for name, batch in restored.items():
        gains: NDArray[np.float64] = psnr_batch(protocol, batch, high) - at_floor
        for group in GROUPS:
            inside = gains[[face is not None and group.holds(face) for face in faces]]
            if len(inside) >= FEWEST:
                error = float(inside.std(ddof=1) / len(inside) ** 0.5)
                yield GroupRow(name, data, group.name, len(inside), float(inside.mean()), error)


def group_table(rows: Sequence[GroupRow]) -> Table:
    names = list(dict.fromkeys((row.name, row.data) for row in rows))
    shown = Table("gain in dB", "faces", *(f"{name}\n{data}" for name, data in names))
    for group in (group.name for group in GROUPS if any(row.group == group.name for row in rows)):
        own = {(row.name, row.data): row for row in rows if row.group == group}
        faces = " / ".join(dict.fromkeys(str(row.faces) for row in own.values()))
        cells = [f"{own[key].gain:+.2f} ± {own[key].gain_error:.2f}" if key in own else "" for key in names]
        shown.add_row(group, faces, *cells)
    return shown
