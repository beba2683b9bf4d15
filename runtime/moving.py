"""What is done to the frames of a moving picture one after the other, before others finish them side by side.

track -> align -> fuse. It is little: the rest (super-resolve, enlarge, paste, encode) needs only the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .align import RestoredFace, align
from .bundle import ModelEntry
from .fuse import Fusion
from .options import RestoreOptions
from .pixels import RgbImage
from .search import FaceSearch, FoundFace
from .timing import Stopwatch
from .track import Known, Pace, Tracker

F = TypeVar("F")


@dataclass(frozen=True, eq=False)
class PreparedFrame(Generic[F]):
    """A frame whose faces are cut out and wait to be super-resolved."""

    frame: F
    faces: list[RestoredFace]
    options: RestoreOptions
    milliseconds: dict[str, float]
    """By stage, so far."""
    error: Exception | None = None
    """Why its faces are not known."""


class MovingChain:
    """The serial part of the chain, for one moving picture and one thread."""

    def __init__(
        self,
        search: FaceSearch,
        models: Sequence[ModelEntry],
        options_now: Callable[[], RestoreOptions],
        *,
        pace: Pace | None = None,
        ahead: int = 0,
        known: Known | None = None,
    ) -> None:
        """options_now: asked for every frame. ahead, known: see `Tracker`."""
        self.tracker = Tracker(search, pace, ahead, known)
        self.models = models
        """May be changed at any time, from any thread, as may the tracker's pace."""
        self._options_now, self._fuse = options_now, Fusion()

    def __call__(
        self,
        frames: Iterable[F],
        pixels_of: Callable[[F], RgbImage],
        seconds_of: Callable[[F], float] | None = None,
    ) -> Iterator[PreparedFrame[F]]:
        """Each frame, in order; one that fails costs its own faces, and the tracks begin anew. See `Tracker`."""
        for tracked in self.tracker(frames, pixels_of, seconds_of):
            watch, options = Stopwatch(), self._options_now()
            milliseconds = {"detect": tracked.milliseconds}
            faces, error = [], tracked.error
            if error is None:
                try:
                    with watch("align"):
                        faces = self._cut(pixels_of(tracked.frame), tracked.faces, options)
                except Exception as failure:  # told with the frame
                    error = failure
            yield PreparedFrame(tracked.frame, faces, options, {**milliseconds, **watch.milliseconds}, error)

    def _cut(self, pixels: RgbImage, found: Sequence[FoundFace], options: RestoreOptions) -> list[RestoredFace]:
        return self._fuse(align(pixels, found, self.models, options))
