"""How steady restored faces are in a moving picture whose truth is known.

Each restored frame is brought into the frame of reference of each true face, by the transform that placed the face
in the scene, at `SIDE` pixels. There the truth stands still, so that with R_t the luma of the restored face at time t
and T that of the true one, the error is E_t = R_t - T, and

    flicker = root mean square over pixels and pairs of neighbouring frames of E_t - E_(t-1), in grey levels.

It is the warping error of Lai et al., "Learning Blind Video Temporal Consistency" (2018), with the true motion in
place of an estimated flow and the change of the error in place of that of the picture. A still but wrong face has
none, so it is read beside PSNR. Only the inside of the crop counts, which the soft edge of the paste leaves alone.

Lag is by how many frames what was found trails the true motion: the coefficient -b of the least-squares fit
d = a + b v for each face, with d the found centre less the true one and v the true velocity in pixels a frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry import Transform, compose, invert, scaling, transform_points, warp
from ..pixels import RgbImage

SIDE = 96
"""Of the crop that is compared: larger than any face of a scene at scale 2."""
INNER = slice(round(0.2 * SIDE), round(0.8 * SIDE))


@dataclass(frozen=True)
class Steadiness:
    """Of all faces of a scene."""

    flicker: float
    """In grey levels; see the module."""
    psnr: float
    """Mean over faces and frames, in dB, on luma, of the inside of the crop."""
    lag: float
    """In frames."""
    looks: int
    """Faces times frames."""


@dataclass
class _Seen:
    """One true face so far."""

    frame: int
    error: NDArray[np.float32]
    centre: NDArray[np.float64]


@dataclass
class FlickerMeter:
    """Collects frames in order: `meter.add(...)` for each, then `meter.steadiness`."""

    _last: dict[int, _Seen] = field(default_factory=dict)
    _changes: list[float] = field(default_factory=list)
    _psnrs: list[float] = field(default_factory=list)
    _trails: dict[int, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = field(default_factory=dict)

    def add(
        self,
        number: int,
        image: RgbImage,
        scale: int,
        faces: Mapping[int, tuple[RgbImage, Transform]],
        found: Mapping[int, NDArray[np.floating]] | None = None,
    ) -> None:
        """A restored frame.

        image: uint8 (scale H, scale W, 3). faces: by number, a true face that is whole in the frame, (128, 128, 3),
        and frame_from_crop. found: the centres (2,), in pixels of the frame, of those of them that were found.
        """
        for face, (crop, frame_from_crop) in faces.items():
            error = luma(seen_face(image, scale, crop, frame_from_crop)) - luma(smaller(crop))
            error = error[INNER, INNER]
            self._psnrs.append(10 * float(np.log10(255**2 / max(float((error**2).mean()), 1e-9))))
            centre = transform_points(frame_from_crop, [[(len(crop) - 1) / 2] * 2])[0]
            before = self._last.get(face)
            if before is not None and before.frame == number - 1:
                self._changes.append(float(((error - before.error) ** 2).mean()))
                if found and face in found:
                    trail = found[face] - centre, centre - before.centre
                    self._trails.setdefault(face, []).append(trail)
            self._last[face] = _Seen(number, error, centre)

    @property
    def steadiness(self) -> Steadiness:
        flicker = float(np.sqrt(np.mean(self._changes))) if self._changes else 0.0
        return Steadiness(flicker, float(np.mean(self._psnrs)), self._lag(), len(self._psnrs))

    def _lag(self) -> float:
        both = squares = 0.0
        for trail in self._trails.values():
            deviations, velocities = (np.array(values) for values in zip(*trail, strict=True))
            deviations, velocities = deviations - deviations.mean(0), velocities - velocities.mean(0)
            both, squares = both + float((deviations * velocities).sum()), squares + float((velocities**2).sum())
        return -both / squares if squares else 0.0


def seen_face(image: RgbImage, scale: int, crop: RgbImage, frame_from_crop: Transform) -> RgbImage:
    """(SIDE, SIDE, 3): what a restored frame shows in the place of a true face."""
    crop_from_image = invert(compose(scaling(scale), frame_from_crop))
    return warp(image, compose(scaling(SIDE / len(crop)), crop_from_image), (SIDE, SIDE))


def smaller(crop: RgbImage) -> RgbImage:
    return np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def luma(rgb: RgbImage) -> NDArray[np.float32]:
    """(H, W), 0 to 255, by BT.601."""
    return np.asarray(rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)
