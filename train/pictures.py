"""Pictures of a training run: its curve, and a sheet of faces before and after."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..runtime.files import atomic_path
from ..runtime.geometry import resize
from ..runtime.media.images import write_image
from ..runtime.pixels import RgbBatch, RgbImage

SHEET_FILE, CURVE_FILE = "samples.png", "curve.png"

FONT, FONT_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.003
"""Size of a sheet's titles by the width of its columns."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""Whose mean width tells how many letters a line has."""


def sheet(columns: Sequence[RgbBatch], gap: int = 4) -> RgbImage:
    """Lay batches out as columns, one face a row; all are enlarged to the largest size (pixels kept square)."""
    size = max(batch.shape[1] for batch in columns)
    rows = min(len(batch) for batch in columns)
    out = np.full((rows * (size + gap) + gap, len(columns) * (size + gap) + gap, 3), 255, np.uint8)
    for x, batch in enumerate(columns):
        for y in range(rows):
            face = batch[y]
            if size % len(face) == 0:
                face = face.repeat(size // len(face), 0).repeat(size // len(face), 1)
            else:
                face = resize(face, (size, size))
            top, left = gap + y * (size + gap), gap + x * (size + gap)
            out[top : top + size, left : left + size] = face
    return out


def save_sheet(path: Path, columns: Sequence[RgbBatch], titles: Sequence[str] = ()) -> None:
    """titles: of the columns, to stand above them."""
    picture = sheet(columns)
    write_image(path, np.concatenate([headings(titles, picture.shape[1]), picture]) if titles else picture)


def headings(titles: Sequence[str], width: int) -> RgbImage:
    """Black on white, (H, width, 3): a strip to go above columns of equal width, as high as the longest title needs.

    OpenCV 4 writes what is not ASCII as question marks.
    """
    column = width / len(titles)
    size = FONT_SIZE * column
    (letters, height), _ = cv2.getTextSize(LETTERS, FONT, size, 1)
    lines = [textwrap.wrap(title, int(0.95 * column * len(LETTERS) / letters)) for title in titles]
    step = round(1.7 * height)
    strip = np.full((step * max(map(len, lines)) + height, width, 3), 255, np.uint8)
    for number, title in enumerate(lines):
        for row, line in enumerate(title):
            (length, _), _ = cv2.getTextSize(line, FONT, size, 1)
            corner = int(column * (number + 0.5) - length / 2), step * (row + 1)
            cv2.putText(strip, line, corner, FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def save_training_curve(path: Path, log: Sequence[dict[str, float]]) -> None:
    """Draw loss and gain on the validation faces against the minutes trained."""
    from matplotlib.figure import Figure

    minutes = [row["minutes"] for row in log]
    figure = Figure(figsize=(8, 4), layout="constrained")
    loss_axis, gain_axis = figure.subplots(1, 2)
    loss_axis.plot(minutes, [row["loss"] for row in log])
    loss_axis.set(xlabel="minutes", ylabel="training loss")
    if "gain" in log[-1]:
        gain_axis.plot(minutes, [row["gain"] for row in log])
        gain_axis.set(xlabel="minutes", ylabel="dB over bicubic, validation faces")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
