"""A sheet of priors over faces, for a person to look at before anything is trained on them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.geometry import resize
from ..runtime.pixels import RgbBatch, RgbImage
from .mesh import MESH_POINTS
from .pack import SPLITS, PackInfo, read_split
from .part_map import PARTS
from .pictures import save_sheet
from .priors import CHANNELS, Priors, prior_channels, read_priors

ENLARGED = 2
RELIABLE_FACES, OTHER_FACES = 12, 6

ENOUGH = 100
"""Faces that a split needs for some to be unreliable, as 1 to 2% are."""

COLOURS = np.array(
    [
        (0, 0, 0), (230, 190, 150), (120, 70, 20), (60, 140, 255), (90, 200, 90), (230, 60, 90), (250, 250, 250),
        (60, 140, 255), (40, 220, 220), (90, 200, 90), (230, 60, 90), (250, 220, 60),
    ],
    np.float32,
)  # fmt: skip
"""One for each of `CHANNELS`."""


def save_priors_sheet(pack: PackInfo, path: Path) -> None:
    """Draw faces of one split, one a row: face | mesh | parts | heat maps.

    Some that are relied on, evenly over the split, then some that are not, framed red. The split is the smallest that
    has enough, since it is read whole.
    """
    split = min((split for split in SPLITS if pack.count(split) >= ENOUGH), key=pack.count, default="")
    split = split or max(SPLITS, key=pack.count)
    pixels, priors = read_split(pack, split), read_priors(pack, split)
    chosen = np.concatenate(
        [
            _evenly(np.flatnonzero(priors.reliable), RELIABLE_FACES),
            _evenly(np.flatnonzero(~priors.reliable), OTHER_FACES),
        ]
    )
    save_sheet(path, _columns(pixels[chosen], priors.take(chosen)))


def _evenly(indices: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    if len(indices) <= count:
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).astype(int)]


def _columns(faces: RgbBatch, priors: Priors) -> list[RgbBatch]:
    size = faces.shape[1] * ENLARGED
    large = np.stack([resize(face, (size, size)) for face in faces])
    meshes = np.stack([_mesh(*each) for each in zip(large, priors.landmarks, priors.reliable, strict=True)])
    everyone = Priors(priors.landmarks, priors.part_map, priors.blendshapes, np.ones_like(priors.reliable))
    channels = prior_channels(everyone, np.arange(len(faces)), np.zeros(len(faces), bool), size)
    channels = channels.permute(0, 2, 3, 1).numpy()  # (N, S, S, C)
    assert channels.shape[3] == len(CHANNELS)
    parts, heat = channels[..., : len(PARTS)], channels[..., len(PARTS) :]
    coloured = parts @ COLOURS[: len(PARTS)]
    hot = np.clip(heat @ COLOURS[len(PARTS) :], 0, 255)
    return [
        large,
        meshes,
        (0.5 * large + 0.5 * coloured).astype(np.uint8),
        (0.4 * large + 0.6 * hot).astype(np.uint8),
    ]


def _mesh(face: RgbImage, landmarks: NDArray[np.floating], reliable: bool) -> RgbImage:
    """The face with the mesh's points in green and the detector's in yellow."""
    drawn = face.copy()
    points = np.rint((landmarks.astype(float) + 0.5) * ENLARGED - 0.5).astype(int)
    for number, (x, y) in enumerate(points):
        mesh = number < MESH_POINTS
        cv2.circle(drawn, (int(x), int(y)), 0 if mesh else 2, (60, 255, 60) if mesh else (255, 230, 0), -1)
    if not reliable:
        cv2.rectangle(drawn, (0, 0), (len(drawn) - 1, len(drawn) - 1), (255, 0, 0), 3)
    return drawn
