"""Who watches, and how many may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MOST = 16
"""Viewers at a time."""


class Viewers:
    """Counts those who watch; belongs to one event loop."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def is_full(self) -> bool:
        return self.count >= MOST

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
