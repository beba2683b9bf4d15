"""`test://`: the test scene as a source, at the pace of a camera, or as fast as it is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .source import Source, VideoFrame
from .test_scene import TestScene

_FIELDS = {"size": "size_wh", "fps": "rate"}
"""Of `TestScene`, by the name of the option, where they differ."""
HURRY = 0.8
"""Share of a frame's time, at least, from one to the next while what was late is caught up with."""


class TestSource(Source):
    """The frames of a `TestScene`.

    options: of the URI; `live`, 1 unless given, paces the frames by the clock, from when the first is made. After one
        that was made too late the others come a little sooner, not all at once, which no camera does.
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
        start = captured = None
        for number, pixels in enumerate(self.scene.frames()):
            seconds = float(number / self.rate)
            if self.live:
                now = self._clock()
                start = now if start is None else start
                due = start + seconds if captured is None else max(start + seconds, captured + HURRY / float(self.rate))
                if due > now:
                    self._sleep(due - now)
                captured = self._clock()
            yield VideoFrame(pixels, number, 1 / self.rate, seconds, captured)

    def close(self) -> None:
        """Nothing is held."""
