"""Small scenes with a known original: inside the restored faces, ours is at least 1 dB better than bicubic.

The default bundle has never seen these two public-domain portraits. That the 1 dB fails on half a pixel of geometry,
on a wrong order of colours and on a wrong range is shown by making each mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from fsr.runtime import align, pipeline
from fsr.runtime.align import RESTORED, RestoredFace
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector, largest
from fsr.runtime.engines import Engine
from fsr.runtime.geometry import Transform, compose, resize, warp
from fsr.runtime.media.images import read_image
from fsr.runtime.options import RestoreOptions
from fsr.runtime.pipeline import Restorer
from fsr.runtime.pixels import RgbImage
from fsr.runtime.superresolve import super_resolve

ROOT = Path(__file__).resolve().parent.parent
SCALE = 4
WIDTHS = (13, 18, 24)
"""Of the face in the small scene, in pixels; the portraits themselves hold four times as much."""


Portraits: TypeAlias = list[tuple[RgbImage, NDArray[np.float32]]]
"""Pictures with the box of their only face."""


@pytest.fixture
def portraits(astronaut: RgbImage, grace_hopper: RgbImage) -> Portraits:
    detector = Detector.open(default_detector())
    found = [(portrait, largest(detector(portrait))) for portrait in (astronaut, grace_hopper)]
    return [(portrait, face.box_xyxy) for portrait, face in found if face is not None]


@pytest.fixture(scope="module")
def restorer() -> Iterator[Restorer]:
    with Restorer.open(options=RestoreOptions(scale=SCALE, min_face=12)) as opened:
        yield opened


def scenes(
    portraits: Portraits,
) -> Iterator[tuple[RgbImage, RgbImage, tuple[slice, slice]]]:
    """Small scene, its original at four times the size, and where the face is in the original."""
    for portrait, (x0, y0, x1, y1) in portraits:
        for width in WIDTHS:
            factor = width / (x1 - x0)
            small_wh = (round(portrait.shape[1] * factor), round(portrait.shape[0] * factor))
            original = resize(portrait, (small_wh[0] * SCALE, small_wh[1] * SCALE))
            edges = np.round(np.array([y0, y1, x0, x1]) * factor * SCALE).astype(int).tolist()
            top, bottom, left, right = edges
            yield resize(original, small_wh), original, (slice(top, bottom), slice(left, right))


LUMA = np.array([65.481, 128.553, 24.966]) / 255
"""ITU-R BT.601, as PSNR on Y is measured in the field."""


def psnr(one: RgbImage, other: RgbImage) -> float:
    return float(10 * np.log10(255**2 / np.square((one.astype(np.float64) - other) @ LUMA).mean()))


def gains(restorer: Restorer, portraits: Portraits) -> list[float]:
    """dB over bicubic inside the face, of each scene."""
    result = []
    for small, original, face in scenes(portraits):
        restored = restorer(small)
        assert [f.decision for f in restored.faces] == [RESTORED]
        bicubic = resize(small, (original.shape[1], original.shape[0]))
        result.append(psnr(restored.image[face], original[face]) - psnr(bicubic[face], original[face]))
    return result


def test_faces_gain_a_decibel_and_none_gets_worse(restorer: Restorer, portraits: Portraits) -> None:
    found = gains(restorer, portraits)
    assert len(found) == 2 * len(WIDTHS)
    assert np.mean(found) > 1 and min(found) > 0


def edge_counting_warp(image: RgbImage, target_from_source: Transform, size_wh: tuple[int, int]) -> RgbImage:
    """`warp` of a picture whose pixel centres were taken to lie at halves."""
    return warp(image, compose(target_from_source, np.array([[1, 0, -0.5], [0, 1, -0.5]])), size_wh)


def corner_scaling(factor_x: float, factor_y: float | None = None) -> Transform:
    """Scaling that forgets that pixel centres lie at integers."""
    return np.array([[factor_x, 0, 0], [0, factor_y or factor_x, 0]], np.float64)


def spoiling(spoil: Callable[[RgbImage], RgbImage]) -> Callable[..., list[RestoredFace]]:
    def mistaken(faces: Sequence[RestoredFace], engines: Mapping[str, Engine]) -> list[RestoredFace]:
        faces = super_resolve(faces, engines)
        return [replace(f, restored=None if f.restored is None else spoil(f.restored)) for f in faces]

    return mistaken


MISTAKES: dict[str, tuple[object, str, object]] = {
    "half a pixel in the paste": (pipeline, "scaling", corner_scaling),
    "half a pixel in the crop": (align, "warp", edge_counting_warp),
    "swapped colours": (pipeline, "super_resolve", spoiling(lambda face: face[..., ::-1])),
    "range -1 to 1 taken for 0 to 1": (pipeline, "super_resolve", spoiling(lambda face: face // 2 + np.uint8(64))),
    "wrapped, not clipped": (pipeline, "super_resolve", spoiling(lambda face: face + np.uint8(40))),
    "mirrored": (pipeline, "super_resolve", spoiling(lambda face: face[:, ::-1])),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_the_decibel(
    restorer: Restorer,
    portraits: Portraits,
    monkeypatch: pytest.MonkeyPatch,
    mistake: str,
) -> None:
    part, name, mistaken = MISTAKES[mistake]
    monkeypatch.setattr(part, name, mistaken)
    assert np.mean(gains(restorer, portraits)) < 1


def test_the_readmes_picture_is_what_the_program_makes() -> None:
    """A golden picture, in fp32, which every processor computes alike: geometry, paste and colours show in it."""
    golden = read_image(ROOT / "docs" / "restored.png").astype(int)
    with Restorer.open(precision="fp32", options=RestoreOptions(scale=8, min_face=12)) as restorer:
        frame = read_image(ROOT / "examples" / "collins_14px.png")
        image = restorer(frame).image
        (face,) = restorer(frame).faces
    side = round(1.1 * 8 * float(face.face.box_xyxy[2] - face.face.box_xyxy[0]))
    x, y = (round(8 * float(c)) for c in face.face.centre)
    tile = resize(image[max(0, y - side) : y + side, max(0, x - side) : x + side], (224, 224)).astype(int)
    before, bicubic, restored = golden[:, :224].reshape(3, 224, 224, 3)
    apart = np.abs(tile - restored)
    assert apart.mean() < 0.5 and apart.max() <= 8
    assert np.abs(tile - bicubic).mean() > 2  # is another picture
    assert np.abs(tile - before).mean() > np.abs(tile - bicubic).mean()
