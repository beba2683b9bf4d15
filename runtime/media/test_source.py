"""`test://`: the test scene as a source, at the pace of a camera, or as fast as it is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .source import Source, VideoFrame
from .test_scene import TestScene

_FIELDS = {"size": "size_wh", "fps": "rate"}
"""Of `TestScene`, by the name of the option, where they differ."""


class TestSource(Source):
    """The frames of a `TestScene`.

    options: of the URI; `live`, 1 unless given, paces the frames by the clock, from when the first is made. After one
        that was made too late the next comes a frame's time later: no camera hurries to catch up.
    """

    __test__ = False  # pytest collects classes of such a name

    def __init__(
        self,
        options: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        fields = {_FIELDS.get(name, name): value for name, value in options.items() if name != "live"}
        self.scene = TestScene(**fields)
        self.live = options.get("live", True)
        self.size_wh, self.rate, self.frames = self.scene.size_wh, self.scene.rate, self.scene.count
        self._clock, self._sleep = clock, sleep

    def __iter__(self) -> Iterator[VideoFrame]:
        start: float | None = None
        for number, pixels in enumerate(self.scene.frames()):
            seconds = float(number / self.rate)
            captured = None
            if self.live:
                now = self._clock()
                start = now if start is None else max(start, now - seconds)
                self._sleep(start + seconds - now)
                captured = self._clock()
            yield VideoFrame(pixels, number, 1 / self.rate, seconds, captured)

    def close(self) -> None:
        """Nothing is held."""
