"""Make the example pictures: small scenes from two public-domain portraits that PyPI packages ship.

    .venv/bin/python examples/make_examples.py

Eileen Collins (NASA) comes with scikit-image, Grace Hopper (US Navy) with matplotlib. Each is shrunk with an
antialiased kernel until her face is as small as a distant camera sees it; nothing else is done to it. The README's
picture is what the default models make of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fsr.calibration.parity_set import portraits
from fsr.runtime import RestoreOptions, Restorer
from fsr.runtime.geometry import resize
from fsr.runtime.media.images import read_image, write_image
from fsr.runtime.pipeline import enlarge
from fsr.runtime.pixels import RgbImage

FACE_WIDTHS = {"collins": (90, 14, 24, 44), "hopper": (170, 18, 32)}
"""Width of the face in the portrait, then in each example, in pixels."""

FOLDER = Path(__file__).parent
README_PICTURE = FOLDER.parent / "docs" / "restored.png"
SHOWN = ("collins_14px", "hopper_18px", "collins_24px", "hopper_32px")
SCALE, TILE, AROUND = 8, 224, 2.2
"""Enlargement; side of what is shown of each, in pixels; and how much more than the face's width that is."""


def main() -> None:
    make_scenes()
    with Restorer.open(precision="fp32", options=RestoreOptions(scale=SCALE, min_face=12)) as restorer:
        columns = [column(restorer, read_image(FOLDER / f"{name}.png")) for name in SHOWN]
    write_image(README_PICTURE, np.hstack(columns))


def column(restorer: Restorer, frame: RgbImage) -> RgbImage:
    """The head of the only face in its pixels, in bicubic enlargement and restored: uint8 (3 TILE, TILE, 3) RGB."""
    result = restorer(frame)
    (face,) = result.faces
    half = round(AROUND * SCALE * float(face.face.box_xyxy[2] - face.face.box_xyxy[0]) / 2)
    x, y = (round(SCALE * float(c)) for c in face.face.centre)
    head = np.s_[max(0, y - half) : y + half, max(0, x - half) : x + half]
    pixels = frame.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    return np.vstack([resize(image[head], (TILE, TILE)) for image in (pixels, enlarge(frame, SCALE), result.image)])


def make_scenes() -> None:
    for (name, (full, *small)), portrait in zip(FACE_WIDTHS.items(), portraits(), strict=True):
        height, width = portrait.shape[:2]
        for face in small:
            size_wh = (round(width * face / full), round(height * face / full))
            write_image(FOLDER / f"{name}_{face}px.png", resize(portrait, size_wh))


if __name__ == "__main__":
    main()
