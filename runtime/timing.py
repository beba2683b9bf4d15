"""Where the time of a chain goes, in milliseconds by stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Adds up the wall-clock time of stages; one stopwatch belongs to one thread.

    ```python
    watch = Stopwatch()
    with watch("detect"):
        faces = detector(frame)
    watch.milliseconds  # {"detect": 20.1}
    ```
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        """In the order in which the stages first began; a stage that failed counts too."""

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage`; the time of a stage inside it counts in both."""
        self.milliseconds.setdefault(stage, 0.0)
        start = perf_counter()
        try:
            yield
        finally:
            self.milliseconds[stage] += (perf_counter() - start) * 1e3
