"""A stand-in for `Restorer` that needs no model, and folders for it to run over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from fsr.runtime.align import RestoredFace
from fsr.runtime.detect import Face
from fsr.runtime.media.images import write_image
from fsr.runtime.pipeline import RestoredFrame, enlarge
from fsr.runtime.pixels import RgbImage
from fsr.runtime.runs.folder import restore_folder, survey
from fsr.runtime.runs.picture_work import PictureWork
from fsr.runtime.runs.records import PIXELS, read_run
from fsr.runtime.runs.summary import Summary

RUN: dict[str, Any] = {"version": "test", PIXELS: {"--scale": 2}}
NO_PROCESS = 99_999_999
"""A number that no system gives."""
CROP = np.full((8, 8, 3), (200, 100, 50), np.uint8)


def face(restored: bool = True) -> RestoredFace:
    found = Face(np.array([1, 2, 9, 10], np.float32), np.ones((5, 2), np.float32), 0.9)
    if not restored:
        return RestoredFace(found, 90.0, "left: large enough already")
    return RestoredFace(found, 20.0, "restored", "tiny", None, CROP[:2, :2], CROP)


class FakeRestorer:
    """Enlarges by bicubic and "restores" `faces`; `before` is called with each frame and may raise."""

    def __init__(
        self, *faces: RestoredFace, scale: int = 2, before: Callable[[RgbImage], object] = lambda _: None
    ) -> None:
        self.faces, self.scale, self.before = list(faces), scale, before

    def __call__(self, frame: RgbImage) -> RestoredFrame:
        self.before(frame)
        return RestoredFrame(enlarge(frame, self.scale), self.faces, {"detect": 1.23456, "paste": 0.5})


def picture(value: int, size_wh: tuple[int, int] = (12, 10)) -> RgbImage:
    """One colour, so that a frame tells which picture it is."""
    return np.full((size_wh[1], size_wh[0], 3), value, np.uint8)


def make_pictures(folder: Path, count: int) -> list[Path]:
    """00.png, 01.png, ... whose pixels are their number."""
    paths = [folder / f"{number:02}.png" for number in range(count)]
    for number, path in enumerate(paths):
        write_image(path, picture(number))
    return paths


def run_folder(source: Path, output: Path, restorer: FakeRestorer | None = None, **options: Any) -> Summary:
    """Find and restore, as `fsr-run` does."""
    restorer = restorer or FakeRestorer(face())
    work = PictureWork(restorer, source, output, restorer.scale, options.pop("compare", False))
    options = {"run": RUN, "workers": 2, **options}
    return restore_folder(survey(source, output), work, Console(quiet=True), **options)


def read_records(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header and records, whatever the options were."""
    return read_run(path, {PIXELS: {}})[:2]


def files_below(folder: Path) -> list[str]:
    """Hidden ones included."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def add_tone(container: Any, sound: Any, samples: int) -> None:
    """Encode a tone into an audio stream that PyAV added to a container, to its end."""
    import av

    for start in range(0, samples, 1024):
        tone = np.sin(np.arange(start, start + 1024) / 9).astype(np.float32)[None]
        if sound.codec_context.name == "pcm_mulaw":
            frame = av.AudioFrame.from_ndarray((tone * 32767).astype(np.int16), "s16", "mono")
        else:
            frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
        frame.sample_rate, frame.pts = sound.rate, start
        container.mux(sound.encode(frame))
    container.mux(sound.encode(None))
