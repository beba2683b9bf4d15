"""The newest result: left by the pipeline, found by the server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count

from ..runs.frame_work import FrameResult

EVERY = 0.01
"""Seconds between two looks while somebody waits. To be woken would cost the pipeline a call into the system, in which
it loses Python's lock to the server's thread: milliseconds where the cores are busy."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One result and its place among those that were shown."""

    number: int
    """From 1."""
    result: FrameResult


class Latest:
    """Holds one result, replaced by the next."""

    def __init__(self) -> None:
        self.shot: Shot | None = None
        self._numbers = count(1)

    def put(self, result: FrameResult) -> None:
        """Leave a result, from any thread; waits for nothing."""
        self.shot = Shot(next(self._numbers), result)

    async def after(self, number: int) -> Shot:
        """The newest shot, once it is newer than `number`."""
        while (shot := self.shot) is None or shot.number <= number:
            await asyncio.sleep(EVERY)
        return shot
