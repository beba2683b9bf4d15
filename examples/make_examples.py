"""Make the example pictures: small scenes from two public-domain portraits that PyPI packages ship.

    .venv/bin/python examples/make_examples.py

Eileen Collins (NASA) comes with scikit-image, Grace Hopper (US Navy) with matplotlib. Each is shrunk with an
antialiased kernel until her face is as small as a distant camera sees it; nothing else is done to it.
"""

from __future__ import annotations

from pathlib import Path

from fsr.calibration.parity_set import portraits
from fsr.runtime.geometry import resize
from fsr.runtime.media.images import write_image

FACE_WIDTHS = {"collins": (90, 14, 24, 44), "hopper": (170, 18, 32)}
"""Width of the face in the portrait, then in each example, in pixels."""


def main() -> None:
    for (name, (full, *small)), portrait in zip(FACE_WIDTHS.items(), portraits(), strict=True):
        height, width = portrait.shape[:2]
        for face in small:
            size_wh = (round(width * face / full), round(height * face / full))
            write_image(Path(__file__).parent / f"{name}_{face}px.png", resize(portrait, size_wh))


if __name__ == "__main__":
    main()
