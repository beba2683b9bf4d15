"""What PSNR does not see of restored faces: where their points lie, whom a face network takes them for, how sharp."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ..calibration.drift import find_faces
from ..calibration.identity import SAME_PERSON, IdentityNetwork, embeddings
from ..runtime.detect import Detector, Face
from ..runtime.errors import EngineUnavailableError, NoFaceError
from ..runtime.pixels import RgbBatch, RgbImage
from .lpips import Lpips

ENLARGED = 2
"""Before the detector looks: it misplaces the points of faces that fill a small picture."""
CHUNK = 64
"""Faces that are enlarged at once."""


@dataclass(frozen=True)
class Instruments:
    """What details are measured with."""

    detector: Detector
    identity: IdentityNetwork | None = None
    """None where dlib is not installed; the table says so."""
    lpips: Lpips | None = None
    """None where no trunk was given; the table has no such column."""


def identity_network() -> IdentityNetwork | None:
    """None where dlib is not installed."""
    try:
        return IdentityNetwork()
    except EngineUnavailableError:
        return None


@dataclass(frozen=True)
class DetailRow:
    """One way to restore faces, beside the originals; means over the faces that the detector sees in the originals."""

    name: str
    data: str
    faces: int
    lost: int
    """Of those, no longer seen."""
    landmark_error: float
    """Of the five points, in the original's eye distances; over the faces that are seen."""
    sharpness: float
    """Energy of the luminance's gradients, as a share of the original's: 1 is as sharp, bicubic is far below."""
    identity_distance: float | None
    """Between dlib's embeddings; None where dlib is not installed."""
    same_person: float | None
    """Share of faces whose embedding is nearer than `SAME_PERSON`."""
    lpips: float | None = None
    """Mean over all faces, seen or not, as it is published; None where no trunk was given."""


def detail_rows(
    restored: Mapping[str, RgbBatch], high: RgbBatch, data: str, instruments: Instruments
) -> list[DetailRow]:
    """A row for each entry of `restored`, uint8 (N, H, H, 3) RGB as `high`.

    Raises:
        NoFaceError: the detector sees no face in `high`.
    """
    faces = faces_in(high, instruments.detector)
    seen = [index for index, face in enumerate(faces) if face is not None]
    if not seen:
        raise NoFaceError(f"the detector sees no face in {len(high)} originals; use a pack of faces")
    originals = [faces[index] for index in seen]
    network = instruments.identity
    people = None if network is None else people_in(high[seen], originals, network)
    rows = [
        _row(name, data, batch[seen], high[seen], originals, people, instruments) for name, batch in restored.items()
    ]
    if instruments.lpips is None:
        return rows
    means = [float(instruments.lpips(batch, high).mean()) for batch in restored.values()]
    return [replace(row, lpips=mean) for row, mean in zip(rows, means, strict=True)]


def _row(
    name: str,
    data: str,
    restored: RgbBatch,
    high: RgbBatch,
    originals: Sequence[Face | None],
    people: NDArray[np.float64] | None,
    instruments: Instruments,
) -> DetailRow:
    found = faces_in(restored, instruments.detector)
    errors = [landmark_error(a, b) for a, b in zip(originals, found, strict=True) if a is not None and b is not None]
    distance = same = None
    if people is not None and instruments.identity is not None:
        # In the original's box: a face that is no longer seen is someone all the same.
        apart = np.linalg.norm(people_in(restored, originals, instruments.identity) - people, axis=1)
        distance, same = float(apart.mean()), float((apart < SAME_PERSON).mean())
    return DetailRow(
        name,
        data,
        len(originals),
        len(originals) - len(errors),
        float(np.mean(errors)) if errors else float("nan"),
        float(np.mean([gradient_energy(a) / gradient_energy(b) for a, b in zip(restored, high, strict=True)])),
        distance,
        same,
    )


def landmark_error(original: Face, restored: Face) -> float:
    """Mean distance of the five points, in eye distances of the original."""
    apart = np.hypot(*(original.landmarks - restored.landmarks).T).mean()
    return float(apart / max(float(np.hypot(*(original.landmarks[1] - original.landmarks[0]))), 1e-6))


def gradient_energy(picture: RgbImage) -> float:
    """Mean square of the luminance's central differences; above 0 for any picture."""
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float64)
    down, right = np.gradient(grey)
    return float(np.square(down).mean() + np.square(right).mean()) + 1e-9


def faces_in(pictures: RgbBatch, detector: Detector) -> list[Face | None]:
    """The face of each crop, in pixels of the crop enlarged by `ENLARGED`; None where the detector sees none."""
    return [face for _, enlarged in _enlarged(pictures) for face in find_faces(detector, enlarged)]


def people_in(pictures: RgbBatch, faces: Sequence[Face | None], network: IdentityNetwork) -> NDArray[np.float64]:
    """(N, 128): the embedding of each of `faces_in`."""
    return np.concatenate([embeddings(network, faces[part], enlarged) for part, enlarged in _enlarged(pictures)])


def _enlarged(pictures: RgbBatch) -> Iterator[tuple[slice, RgbBatch]]:
    """Piece by piece: all of a large test set, four times as large, might not fit into memory."""
    size = ENLARGED * pictures.shape[1]
    for start in range(0, len(pictures), CHUNK):
        part = slice(start, start + CHUNK)
        larger = [cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC) for picture in pictures[part]]
        yield part, np.asarray(larger, np.uint8)


def detail_table(rows: Sequence[DetailRow], lpips: Lpips | None = None) -> Table:
    """lpips: what the rows were measured with, if they were."""
    caption = "points off: in eye distances; sharp: share of the original's gradients; identity: distance by dlib"
    columns = ["model", "data", "faces", "lost", "points off", "sharp", "identity", "same person"]
    if lpips:
        caption, columns = f"{caption}; {lpips.rule}", [*columns, lpips.name]
    shown = Table(*columns, caption=caption)
    for row in rows:
        distance = "no dlib here" if row.identity_distance is None else f"{row.identity_distance:.3f}"
        same = "" if row.same_person is None else f"{row.same_person:.1%}"
        figures = [str(row.faces), str(row.lost), f"{row.landmark_error:.4f}", f"{row.sharpness:.2f}", distance, same]
        shown.add_row(row.name, row.data, *figures, *([] if row.lpips is None else [f"{row.lpips:.4f}"]))
    return shown
