"""The stream: a viewer gets the newest picture once it has shown those before, so none lags and nothing piles up."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from statistics import median
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from .latest import Shot
from .packets import QUALITIES, Packets

AHEAD = 2
"""Pictures under way to a viewer who has not said that they are shown: hides the way there and back."""
TOLD_EVERY = 0.5
"""Seconds between two states."""
BOUNDARY = "fsr-frame"


class Viewer:
    """A browser at the other end of a WebSocket.

    To it go packets and, as text, states. From it comes `{"shown": number}` once a picture is on its screen, and
    `{"quality": name}`; anything else ends it.
    """

    def __init__(self, socket: WebSocket, packets: Packets, state: Callable[[], Mapping[str, Any]]) -> None:
        self._socket, self._packets, self._state = socket, packets, state
        self._quality = "medium"
        self._under_way: deque[Shot] = deque()
        self._room, self._chosen = asyncio.Event(), asyncio.Event()
        self._ages: deque[float] = deque(maxlen=60)
        """Of pictures when they came on the screen, in seconds since capture."""

    async def run(self) -> None:
        """Until it leaves."""
        parts = [asyncio.create_task(part()) for part in (self._pictures, self._states, self._listen)]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        for part in done:
            if (error := part.exception()) is not None and not isinstance(error, WebSocketDisconnect):
                raise error

    async def _pictures(self) -> None:
        """Anew, beginning with what is shown already, whenever the viewer has chosen another quality."""
        while True:
            self._chosen.clear()
            newest, chosen = asyncio.create_task(self._newest()), asyncio.create_task(self._chosen.wait())
            try:
                await asyncio.wait((newest, chosen), return_when=asyncio.FIRST_COMPLETED)
                if newest.done():
                    newest.result()  # raises: the viewer has left
            finally:
                newest.cancel()
                chosen.cancel()

    async def _newest(self) -> None:
        number = 0
        while True:
            while len(self._under_way) >= AHEAD:
                self._room.clear()
                await self._room.wait()
            packet = await self._packets.after(number, self._quality)
            number = packet.shot.number
            self._under_way.append(packet.shot)
            await self._socket.send_bytes(packet.data)

    async def _states(self) -> None:
        while True:
            screen = {"screen_ms": round(1000 * median(self._ages))} if self._ages else {}
            await self._socket.send_text(json.dumps({**self._state(), **screen}))
            await asyncio.sleep(TOLD_EVERY)

    async def _listen(self) -> None:
        while True:
            try:
                self._hear(json.loads(await self._socket.receive_text()))
            except (ValueError, TypeError, KeyError, AttributeError):
                return await self._socket.close(1007, "expected shown or quality")

    def _hear(self, told: Mapping[str, Any]) -> None:
        if "quality" in told:
            QUALITIES[told["quality"]]  # known, or it ends here
            self._quality = told["quality"]
            self._chosen.set()
            return
        shown = int(told["shown"])
        while self._under_way and self._under_way[0].number <= shown:
            captured = captured_at(self._under_way.popleft())
            if captured is not None:
                self._ages.append(time.monotonic() - captured)
        self._room.set()


def captured_at(shot: Shot) -> float | None:
    """In `time.monotonic()`, where the source is live."""
    return shot.result.frame.captured


async def mjpeg(packets: Packets, quality: str) -> AsyncIterator[bytes]:
    """Restored pictures as the parts of multipart/x-mixed-replace, for what cannot do WebSockets.

    A part's boundary follows it at once: browsers show a picture when they see where it ends.
    """
    number = 0
    yield f"--{BOUNDARY}\r\n".encode()
    while True:
        packet = await packets.after(number, quality)
        number = packet.shot.number
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(packet.after)}\r\n\r\n".encode()
        yield head + packet.after + f"\r\n--{BOUNDARY}\r\n".encode()
