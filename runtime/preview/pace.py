"""How often pictures are made for the page: as a share of one core allows, so that the pipeline keeps its own."""

from __future__ import annotations

import asyncio

SHARE = 0.25
"""Of one core's time, at most, for making JPEG files."""


class Pace:
    """Waits after each piece of work in proportion to what it cost; belongs to one event loop."""

    def __init__(self, share: float = SHARE) -> None:
        self._rest = 1 / share - 1
        self._free_at = 0.0

    async def turn(self) -> None:
        """Wait until more may be spent."""
        while (wait := self._free_at - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(wait)

    def spent(self, seconds: float) -> None:
        """Account for work that has just ended."""
        self._free_at = asyncio.get_running_loop().time() + seconds * self._rest
