"""Sources that go wrong on purpose, for the process that `Capture` starts: it imports this file and little else."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from fsr.runtime.errors import InputError
from fsr.runtime.media import pyav
from fsr.runtime.media.source import Source, VideoFrame
from fsr.runtime.media.uri import SourceUri

SIZE_WH = (64, 48)
PACE = 0.005


def faulty(name: str, lives: Path | None = None) -> SourceUri:
    """For `open_faulty`; lives: a file that counts how often it was opened."""
    return SourceUri(
        "test", f"rtsp://user:secret@host/{name}", f"rtsp://***@host/{name}", {"name": name, "lives": lives}
    )


def open_faulty(uri: SourceUri, record: Path | None) -> Source:
    lives = uri.options["lives"]
    life = 1
    if lives:
        with Path(lives).open("a") as file:
            file.write("|")
        life = Path(lives).stat().st_size
    return Faulty(uri, FAULTS[uri.options["name"]], life)


class Faulty(Source):
    """Frames whose pixels are their number; of each life they begin with another ten."""

    rate = Fraction(25)

    def __init__(self, uri: SourceUri, fault: Callable[[Faulty], Iterator[int]], life: int) -> None:
        self.uri, self.life, self._fault = uri, life, fault
        self.size_wh = (SIZE_WH[0] // 2, SIZE_WH[1]) if uri.options["name"] == "resized" and life > 1 else SIZE_WH
        self.live = uri.options["name"] not in ("finite", "finite cut")
        self.frames = 40 if not self.live else None
        if uri.options["name"] == "never":
            raise RuntimeError(f"cannot open {uri.text}")
        if uri.options["name"] == "late" and life in (2, 3):
            raise InputError(f"{uri}: cannot be opened: Connection refused")
        if uri.options["name"] == "opening hangs":
            threading.Event().wait()

    def __iter__(self) -> Iterator[VideoFrame]:
        for number in self._fault(self):
            pixels = np.full((self.size_wh[1], self.size_wh[0], 3), number % 256, np.uint8)
            captured = time.monotonic() if self.live else None
            yield VideoFrame(pixels, number, Fraction(1, 25), number / 25, captured)
            if self.live:
                time.sleep(PACE)

    def close(self) -> None: ...


def _then(fault: Callable[[Faulty], object]) -> Callable[[Faulty], Iterator[int]]:
    """Five frames and then the fault, in the first life; later ones live on."""

    def numbers(source: Faulty) -> Iterator[int]:
        for number in count():
            if number == 5 and source.life < 4 and (source.life == 1 or source.uri.options["name"] == "lost"):
                fault(source)
                return
            yield 10 * source.life + number % 10

    return numbers


def _fail(source: Faulty) -> None:
    source.failure = InputError(f"{source.uri}: the stream was lost: Connection reset by peer")


def _unequipped(_: Faulty) -> Iterator[int]:
    """As where a package is missing that the recording needs."""
    yield from range(5)
    with patch.object(pyav, "find_spec", lambda name: None):
        pyav.require_pyav()


FAULTS: Mapping[str, Callable[[Faulty], Iterator[int]]] = {
    "finite": lambda _: iter(range(40)),
    "finite cut": lambda source: (_fail(source), iter(range(7)))[1],
    "endless": lambda _: count(),
    "silent": lambda _: iter(lambda: threading.Event().wait(), object()),
    "hangs": _then(lambda _: threading.Event().wait()),
    "killed": _then(lambda _: os.kill(os.getpid(), signal.SIGKILL)),
    "breaks": _then(lambda source: [][1]),
    "lost": _then(_fail),
    "late": _then(_fail),
    "resized": _then(_fail),
    "never": lambda _: iter(()),
    "opening hangs": lambda _: iter(()),
    "unequipped": _unequipped,
}


def levels(frames: Any) -> list[int]:
    return [int(frame.pixels.mean()) for frame in frames]
