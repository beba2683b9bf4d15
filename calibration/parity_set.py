"""Parity faces: crops made from two public-domain portraits, for comparing engines where no data can be had.

Turned, scaled, shifted, mirrored and lit at random by a seed, then shrunk; half of them blurred, noisy or
compressed as well. The same seed gives the same faces with the same versions of the packages that ship the portraits.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..runtime.bundle import default_detector
from ..runtime.detect import Detector, largest
from ..runtime.errors import InputError, NoFaceError
from ..runtime.geometry import Transform, compose, crop_from_landmarks, resize, warp
from ..runtime.media.images import read_image
from ..runtime.pixels import RgbBatch, RgbImage
from .moments import sha256_of

COUNT = 64
ORIGIN = (
    "Eileen Collins (NASA, shipped by scikit-image as astronaut) and Grace Hopper (US Navy, shipped by matplotlib as "
    "grace_hopper.jpg), turned, scaled, lit and degraded"
)
LICENCE = "public domain"


@dataclass(frozen=True, eq=False)
class ParityFaces:
    """Low- and high-resolution faces; uint8 RGB, the same face at the same index."""

    high: RgbBatch
    """(N, S, S, 3)"""
    low: RgbBatch
    """(N, s, s, 3)"""


def portraits() -> list[RgbImage]:
    """The two portraits, from the packages that ship them.

    Raises:
        InputError: scikit-image or matplotlib is not installed.
    """
    return [read_image(path) for path in _portrait_files()]


def portrait_hashes() -> list[str]:
    """SHA-256 of their files; errors as of `portraits`."""
    return [sha256_of(path) for path in _portrait_files()]


def _portrait_files() -> list[Path]:
    try:
        import matplotlib
        import skimage.data
    except ImportError as error:
        raise InputError(
            f"the example portraits come with scikit-image and matplotlib: {error}; install fsr-edge[train]"
        ) from error
    return [
        Path(skimage.data.__file__).parent / "astronaut.png",
        Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
    ]


def parity_faces(framing: str, input_size: int, output_size: int, count: int = COUNT, seed: int = 0) -> ParityFaces:
    """Make `count` faces of one framing.

    The high-resolution ones depend on framing, output size, count and seed alone.
    """
    detector = Detector.open(default_detector())
    sources = []
    for portrait in portraits():
        if (face := largest(detector(portrait))) is None:
            raise NoFaceError("the detector finds no face in an example portrait; reinstall fsr-edge")
        sources.append((portrait, crop_from_landmarks(face.landmarks, framing, output_size)))
    high, low = [], []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        portrait, crop_from_portrait = sources[index % len(sources)]
        crop = warp(portrait, compose(_shake(rng, output_size), crop_from_portrait), (output_size, output_size))
        high.append(_light(rng, crop))
        low.append(
            _degrade(rng, resize(high[-1], (input_size, input_size)))
            if index % 2
            else resize(high[-1], (input_size, input_size))
        )
    return ParityFaces(np.stack(high), np.stack(low))


def _shake(rng: np.random.Generator, size: int) -> Transform:
    """Turn by about 10 degrees, scale by about 8 %, shift by about 4 % about the centre; half are mirrored."""
    angle, zoom = rng.normal(0, np.radians(10)), np.exp(rng.normal(0, 0.08))
    mirror = -1 if rng.random() < 0.5 else 1
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[mirror * cos, -sin], [mirror * sin, cos]])
    centre = np.full(2, (size - 1) / 2)
    return np.column_stack([linear, centre - linear @ centre + rng.normal(0, 0.04 * size, 2)])


def _light(rng: np.random.Generator, image: RgbImage) -> RgbImage:
    """Gamma, brightness and a colour cast."""
    gamma, gain = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.15))
    cast = np.exp(rng.normal(0, 0.06, 3))
    return np.clip(np.rint((image / 255) ** gamma * gain * cast * 255), 0, 255).astype(np.uint8)


def _degrade(rng: np.random.Generator, image: RgbImage) -> RgbImage:
    """Blur, sensor noise and JPEG, each mild."""
    blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
    noisy = np.clip(np.rint(np.asarray(blurred) + rng.normal(0, rng.uniform(0, 5), image.shape)), 0, 255).astype(
        np.uint8
    )
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=int(rng.integers(60, 96)))
    return np.asarray(Image.open(buffer).convert("RGB"))
