"""Connections that cannot hold the server up: counted, and cut when they dawdle.

uvicorn limits requests, not connections, and waits for ever for the first header and for a peer that stops reading.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MOST = 64
"""Connections at a time."""
HEADER_PATIENCE = 10.0
"""Seconds for the header of a request."""
READER_PATIENCE = 20.0
"""Seconds that a peer may leave what was sent to it unread."""

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 5\r\nConnection: close\r\n\r\nbusy\n"


class _ReaderWatched(asyncio.Protocol):
    """Cuts a peer that reads nothing for `READER_PATIENCE`."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _stalled: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(READER_PATIENCE, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unset_stalled()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_stalled()
        super().connection_lost(exc)

    def _unset_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class HttpConnection(_ReaderWatched, H11Protocol):
    """HTTP/1.1, refused politely when there are too many."""

    _header_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.write(_BUSY)
            transport.close()
            return
        self._await_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waits = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if not waits:
            self._unset_header_due()
        elif self._header_due is None:
            self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_header_due()
        super().connection_lost(exc)

    def _await_header(self) -> None:
        self._header_due = self.loop.call_later(HEADER_PATIENCE, self.transport.abort)

    def _unset_header_due(self) -> None:
        if self._header_due is not None:
            self._header_due.cancel()
            self._header_due = None


class SocketConnection(_ReaderWatched, WebSocketsSansIOProtocol):
    """A WebSocket."""
