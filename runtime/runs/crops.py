"""The restored faces of a moving picture as pictures, a folder for each track."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from ..media.images import write_image
from .frame_work import FrameResult
from .stream import Show


@contextmanager
def into_crops(folder: Path) -> Iterator[Show]:
    """A sink: `folder/000007/00000123.png` is track 7 in frame 123; where nothing tracks, faces count in each frame."""
    numbers = count()

    def show(result: FrameResult) -> None:
        frame = next(numbers)
        for place, face in enumerate(result.restored.faces):
            if face.restored is not None:
                track = place if face.track is None else face.track
                write_image(folder / f"{track:06}" / f"{frame:08}.png", face.restored)

    yield show
