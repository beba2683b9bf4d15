"""Quality of the whole chain on group pictures: python tests/scene_gain.py PORTRAITS [--tier S] [--faces 100]

Portraits of one face each are shrunk until the face has a given width and laid side by side; the program restores the
picture at four times its size. Inside the box that the detector drew in the large portrait, the result is compared
with bicubic enlargement (PSNR on Y). Says how many faces were restored and how many came out worse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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

SCALE = 4
WIDTHS = (12, 14, 16, 20, 24, 28, 32, 36, 40)
COLUMNS, GROUP = 4, 12
LUMA = np.array([65.481, 128.553, 24.966]) / 255


def portrait_at(path: Path, width: float, detector: Detector) -> tuple[RgbImage, NDArray[np.float64]] | None:
    """The portrait with its face SCALE x `width` pixels wide, and the face's box; None where it has fewer pixels."""
    picture = read_image(path)
    face = largest(detector(picture))
    if face is None or face.score < 0.85:
        return None
    factor = width * SCALE / float(face.box_xyxy[2] - face.box_xyxy[0])
    if factor > 1:
        return None
    size_wh = [round(side * factor / SCALE) * SCALE for side in picture.shape[1::-1]]
    factors = np.array(size_wh) / picture.shape[1::-1]
    return resize(picture, (size_wh[0], size_wh[1])), (face.box_xyxy.reshape(2, 2) + 0.5) * factors - 0.5


def group_of(members: Sequence[tuple[RgbImage, NDArray[np.float64]]]) -> tuple[RgbImage, list[NDArray[np.float64]]]:
    """One picture of several portraits, and the boxes in it."""
    height, width = (max(picture.shape[axis] for picture, _ in members) for axis in (0, 1))
    rows = -(-len(members) // COLUMNS)
    canvas = np.full((rows * height, COLUMNS * width, 3), 110, np.uint8)
    boxes = []
    for number, (picture, box) in enumerate(members):
        y, x = number // COLUMNS * height, number % COLUMNS * width
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        boxes.append(box + np.array([x, y]))
    return canvas, boxes


def gains(restorer: Restorer, original: RgbImage, boxes: Sequence[NDArray[np.float64]]) -> Iterator[tuple[str, float]]:
    """What became of each face, and its dB over bicubic."""
    small = resize(original, (original.shape[1] // SCALE, original.shape[0] // SCALE))
    bicubic, result = resize(small, (original.shape[1], original.shape[0])), restorer(small)
    for box in boxes:
        middle, width = box.mean(0) / SCALE, (box[1, 0] - box[0, 0]) / SCALE
        near = [face for face in result.faces if np.hypot(*(face.face.centre - middle)) < 0.4 * width]
        (left, top), (right, bottom) = np.maximum(box.round().astype(int), 0).tolist()
        inside = (slice(top, bottom), slice(left, right))
        gain = psnr(result.image[inside], original[inside]) - psnr(bicubic[inside], original[inside])
        yield (near[0].decision if near else "not found"), gain


def psnr(one: RgbImage, other: RgbImage) -> float:
    return float(10 * np.log10(255**2 / np.square((one.astype(np.float64) - other) @ LUMA).mean()))


@click.command()
@click.argument("portraits", type=click.Path(path_type=Path))
@click.option("--faces", default=100, show_default=True, help="At most this many portraits.")
@click.option("--tier", help="S or L.")
@click.option("--bundle", type=click.Path(path_type=Path))
def main(portraits: Path, faces: int, tier: str | None, bundle: Path | None) -> None:
    """Restore group pictures made of PORTRAITS, a folder of pictures of one face each."""
    detector, paths = Detector.open(default_detector()), find_images(portraits)[:faces]
    shown = Table("face px", "faces", "restored", "gain dB", "5th percentile", "worse", "left or missed")
    with Restorer.open(bundle, tier=tier, options=RestoreOptions(scale=SCALE, min_face=min(WIDTHS))) as restorer:
        for width in WIDTHS:
            members = [found for path in paths if (found := portrait_at(path, width, detector))]
            groups = [group_of(members[start : start + GROUP]) for start in range(0, len(members), GROUP)]
            found = [result for group in groups for result in gains(restorer, *group)]
            restored = np.array([gain for decision, gain in found if decision == RESTORED])
            if not len(restored):
                continue
            others = Counter(decision for decision, _ in found if decision != RESTORED)
            figures = (f"{restored.mean():+.2f}", f"{np.percentile(restored, 5):+.2f}", f"{(restored < 0).mean():.1%}")
            left = ", ".join(f"{count} {decision}" for decision, count in others.items())
            shown.add_row(str(width), str(len(found)), f"{len(restored) / len(found):.1%}", *figures, left)
    Console().print(shown)


if __name__ == "__main__":
    main()
