"""Quality of the whole chain on group pictures: python tests/scene_gain.py PORTRAITS [--tier S] [--jpeg 75 --noise 4]

Portraits of one face each are shrunk until the face has a given width and laid side by side; the program restores the
picture at four times its size, as it is or as a camera saves it (--jpeg, --noise). Inside the box that the detector
drew in the large portrait, the result is compared with bicubic enlargement (PSNR on Y). Says how many faces were
restored and how many came out worse; with --true-landmarks, what it would be if the landmarks were those of the large
portrait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fsr.runtime import RestoreOptions, Restorer
from fsr.runtime.align import RESTORED
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector, largest
from fsr.runtime.geometry import resize
from fsr.runtime.media.images import find_images, read_image
from fsr.runtime.pixels import RgbImage
from fsr.runtime.search import FoundFace
from fsr.train.camera import noisy, through_jpeg

SCALE = 4
WIDTHS = (12, 14, 16, 20, 24, 28, 32, 36, 40)
COLUMNS, GROUP = 4, 12
LUMA = np.array([65.481, 128.553, 24.966]) / 255


Points = NDArray[np.float64]
"""(7, 2): corners of the box, then the five landmarks."""


def portrait_at(path: Path, width: float, detector: Detector) -> tuple[RgbImage, Points] | None:
    """The portrait with its face SCALE x `width` pixels wide, and the face's points; None where it has fewer pixels."""
    picture = read_image(path)
    face = largest(detector(picture))
    if face is None or face.score < 0.85:
        return None
    factor = width * SCALE / float(face.box_xyxy[2] - face.box_xyxy[0])
    if factor > 1:
        return None
    size_wh = [round(side * factor / SCALE) * SCALE for side in picture.shape[1::-1]]
    factors = np.array(size_wh) / picture.shape[1::-1]
    points = np.concatenate([face.box_xyxy.reshape(2, 2), face.landmarks])
    return resize(picture, (size_wh[0], size_wh[1])), (points + 0.5) * factors - 0.5


def group_of(members: Sequence[tuple[RgbImage, Points]]) -> tuple[RgbImage, list[Points]]:
    """One picture of several portraits, and the points of their faces in it."""
    height, width = (max(picture.shape[axis] for picture, _ in members) for axis in (0, 1))
    rows = -(-len(members) // COLUMNS)
    canvas = np.full((rows * height, COLUMNS * width, 3), 110, np.uint8)
    faces = []
    for number, (picture, points) in enumerate(members):
        y, x = number // COLUMNS * height, number % COLUMNS * width
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        faces.append(points + np.array([x, y]))
    return canvas, faces


def gains(
    restorer: Restorer, original: RgbImage, faces: Sequence[Points], camera: Callable[[RgbImage], RgbImage]
) -> Iterator[tuple[str, float]]:
    """What became of each face, and its dB over bicubic."""
    small = camera(resize(original, (original.shape[1] // SCALE, original.shape[0] // SCALE)))
    bicubic, result = resize(small, (original.shape[1], original.shape[0])), restorer(small)
    for points in faces:
        box = points[:2]
        middle, width = box.mean(0) / SCALE, (box[1, 0] - box[0, 0]) / SCALE
        near = [face for face in result.faces if np.hypot(*(face.face.centre - middle)) < 0.4 * width]
        (left, top), (right, bottom) = np.maximum(box.round().astype(int), 0).tolist()
        inside = (slice(top, bottom), slice(left, right))
        gain = psnr(result.image[inside], original[inside]) - psnr(bicubic[inside], original[inside])
        yield (near[0].decision if near else "not found"), gain


@contextmanager
def true_landmarks(restorer: Restorer, faces: Sequence[Points]) -> Iterator[None]:
    """Let the restorer find the faces itself, but with the landmarks of the original."""
    search, truths = restorer._search, [(points[2:] + 0.5) / SCALE - 0.5 for points in faces]

    def corrected(frame: RgbImage) -> list[FoundFace]:
        return [corrected_face(found, truths) for found in search(frame)]

    restorer._search = corrected
    try:
        yield
    finally:
        restorer._search = search


def corrected_face(found: FoundFace, truths: Sequence[NDArray[np.float64]]) -> FoundFace:
    apart = [float(np.hypot(*(found.face.landmarks.mean(0) - truth.mean(0)))) for truth in truths]
    nearest = int(np.argmin(apart))
    if apart[nearest] > 0.4 * found.face.area**0.5:
        return found
    return replace(found, face=replace(found.face, landmarks=truths[nearest].astype(np.float32)))


def psnr(one: RgbImage, other: RgbImage) -> float:
    return float(10 * np.log10(255**2 / np.square((one.astype(np.float64) - other) @ LUMA).mean()))


@click.command()
@click.argument("portraits", type=click.Path(path_type=Path))
@click.option("--faces", default=100, show_default=True, help="At most this many portraits.")
@click.option("--tier", help="S or L.")
@click.option("--bundle", type=click.Path(path_type=Path))
@click.option("--jpeg", type=int, help="Quality at which the small picture is saved and read again.")
@click.option("--noise", default=0.0, help="Standard deviation of noise in the small picture, grey levels.")
@click.option("--true-landmarks", "with_truth", is_flag=True, help="Those of the large portrait in place of our own.")
def main(
    portraits: Path, faces: int, tier: str | None, bundle: Path | None, jpeg: int | None, noise: float, with_truth: bool
) -> None:
    """Restore group pictures made of PORTRAITS, a folder of pictures of one face each."""
    rng = np.random.default_rng(0)

    def camera(picture: RgbImage) -> RgbImage:
        seen = noisy(picture, noise, rng) if noise else picture
        return through_jpeg(seen, jpeg, (0, 0)) if jpeg else seen

    detector, paths = Detector.open(default_detector()), find_images(portraits)[:faces]
    shown = Table("face px", "faces", "restored", "gain dB", "5th percentile", "worse", "left or missed")
    with Restorer.open(bundle, tier=tier, options=RestoreOptions(scale=SCALE, min_face=min(WIDTHS))) as restorer:
        for width in WIDTHS:
            members = [found for path in paths if (found := portrait_at(path, width, detector))]
            groups = [group_of(members[start : start + GROUP]) for start in range(0, len(members), GROUP)]
            became: list[tuple[str, float]] = []
            for picture, points in groups:
                with true_landmarks(restorer, points) if with_truth else nullcontext():
                    became += gains(restorer, picture, points, camera)
            restored = np.array([gain for decision, gain in became if decision == RESTORED])
            if not len(restored):
                continue
            others = Counter(decision for decision, _ in became if decision != RESTORED)
            figures = (f"{restored.mean():+.2f}", f"{np.percentile(restored, 5):+.2f}", f"{(restored < 0).mean():.1%}")
            left = ", ".join(f"{count} {decision}" for decision, count in others.items())
            shown.add_row(str(width), str(len(became)), f"{len(restored) / len(became):.1%}", *figures, left)
    Console().print(shown)


if __name__ == "__main__":
    main()
