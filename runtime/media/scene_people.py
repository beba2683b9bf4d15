"""The people of the test scene: the default bundle's parity faces, which are in the public domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from ..bundle import check_file, default_detector, default_folder, read_manifest
from ..detect import Detector, Face, largest
from ..errors import NoFaceError
from ..geometry import Transform, compose, scaling
from ..paste import paste
from ..pixels import RgbBatch, RgbImage
from ..tiles import untile

FACES = "runtime-128"
"""Parity faces that a scene is made of."""
SIDE = 128
CAST = (3, 6, 5, 14, 9, 20, 11, 30, 19, 36, 21, 38, 23, 44, 27, 48, 29, 50, 31, 52)
"""Those that the detector finds, at the size of the picture, in crops of 30, 36, 44 and 60 px, turned by up to .15."""
MARGIN = 32
"""Pixels by which a face is continued, for the detector misses some faces that end at the chin."""

OCTAVES = ((4, 30.0), (16, 10.0), (64, 3.0))
"""Of the background: values over its height, and their standard deviation in grey levels."""
LOOKS = (100, 128, 160, 192, 224, 256)
"""Sides in pixels at which a continued face is looked at for its truth."""

_CROP_FROM_SURROUNDED = np.array([[1.0, 0, -MARGIN], [0, 1, -MARGIN]])


@dataclass(frozen=True, eq=False)
class Person:
    """A face as it is before a camera sees it."""

    crop: RgbImage
    """uint8 (128, 128, 3) RGB, framed as `runtime`."""
    surrounded: RgbImage
    """The same, continued by `MARGIN` on each side."""

    @classmethod
    def of(cls, crop: RgbImage) -> Self:
        surrounded = cv2.copyMakeBorder(crop, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REFLECT)
        return cls(crop, np.asarray(surrounded, np.uint8))

    def paste(self, frame: RgbImage, frame_from_crop: Transform) -> None:
        """Draw it into `frame`, in place, with soft edges."""
        paste(frame, self.surrounded, compose(frame_from_crop, _CROP_FROM_SURROUNDED))


@cache
def people() -> Sequence[Person]:
    """Those of `CAST`, in its order.

    Raises:
        BundleError: the default bundle's parity faces are damaged.
    """
    return [Person.of(crop) for crop in known_faces()[list(CAST)]]


@cache
def seen(number: int) -> Face:
    """Box and landmarks of person `number` in its crop: the mean of what the default bundle's detector sees at
    `LOOKS`, which is half as far from what it sees in scenes as one look at the full size.
    """
    detector, surrounded = _detector(), people()[number].surrounded
    faces, side = [], len(surrounded)
    for look in LOOKS:
        kernel = cv2.INTER_AREA if look < side else cv2.INTER_CUBIC
        frame = np.full((2 * LOOKS[-1], 2 * LOOKS[-1], 3), 127, np.uint8)
        frame[look : 2 * look, look : 2 * look] = cv2.resize(surrounded, (look, look), interpolation=kernel)
        if (face := largest(detector(frame))) is None:
            raise NoFaceError("the detector misses one of the default bundle's parity faces; reinstall fsr-edge")
        surrounded_from_frame = compose(scaling(side / look), np.array([[1.0, 0, -look], [0, 1, -look]]))
        faces.append(compose(_CROP_FROM_SURROUNDED, surrounded_from_frame) @ _columns(face))
    points = np.mean(faces, 0).T.astype(np.float32)
    return Face(points[:2].ravel(), points[2:], 1.0)


def _columns(face: Face) -> NDArray[np.float64]:
    """(3, 7): the box's corners and the landmarks, in homogeneous coordinates."""
    points = np.vstack([face.box_xyxy.reshape(2, 2), face.landmarks])
    return np.vstack([points.T, np.ones(len(points))])


@cache
def _detector() -> Detector:
    return Detector.open(default_detector())


@cache
def known_faces() -> RgbBatch:
    """(64, 128, 128, 3): the default bundle's parity faces, framed as `runtime`.

    Raises:
        BundleError: they are damaged.
    """
    from PIL import Image

    folder = default_folder()
    parity = read_manifest(folder).parity_set
    entry = parity.high[FACES]
    check_file(folder, entry)
    with Image.open(folder / entry.file) as picture:
        return untile(np.asarray(picture.convert("RGB")), parity.faces, parity.columns)


def background(rng: np.random.Generator, size_wh: tuple[int, int], scale: int) -> RgbImage:
    """uint8 (scale H, scale W, 3): `smooth_light`; the same scene at any scale."""
    return np.clip(np.rint(smooth_light(rng, size_wh, scale)), 0, 255).astype(np.uint8)


def smooth_light(rng: np.random.Generator, size_wh: tuple[int, int], scale: int = 1) -> NDArray[np.float32]:
    """(scale H, scale W, 3) grey levels: noise of several sizes about a grey, brighter towards the top."""
    width, height = size_wh
    large_wh = (scale * width, scale * height)
    light: NDArray[np.float32] = np.full((large_wh[1], large_wh[0], 3), 130, np.float32)
    light += np.linspace(35, -35, large_wh[1], dtype=np.float32)[:, None, None]
    for rows, deviation in OCTAVES:
        shape = (rows, max(1, rows * width // height))
        grey, colour = (rng.standard_normal((*shape, channels), np.float32) for channels in (1, 3))
        light += cv2.resize(deviation * (grey + colour / 5), large_wh, interpolation=cv2.INTER_CUBIC)
    return light
