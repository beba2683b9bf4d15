"""The restored faces of a moving picture as pictures, a folder for each track."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from ..files import remove_temporaries
from ..media.images import write_image
from .frame_work import FrameResult
from .stream import Show


@contextmanager
def into_crops(folder: Path, first: int = 0) -> Iterator[Show]:
    """A sink: `folder/000007/00000123.png` is track 7 in frame 123; where nothing tracks, faces count in each frame.

    first: number of the first frame, more than 0 of a run that goes on; an earlier run's crops from it on are removed:
        its tracks are other people's.
    """
    numbers = count(first)
    remove_temporaries(folder.glob("*/.*"))
    _remove_from(folder, first)

    def show(result: FrameResult) -> None:
        frame = next(numbers)
        for place, face in enumerate(result.restored.faces):
            if face.restored is not None:
                track = place if face.track is None else face.track
                write_image(folder / f"{track:06}" / f"{frame:08}.png", face.restored)

    yield show


def _remove_from(folder: Path, first: int) -> None:
    for path in list(folder.glob("*/*.png")):
        if path.parent.name.isdecimal() and path.stem.isdecimal() and int(path.stem) >= first:
            path.unlink()
