"""The page's server in a thread beside the pipeline, which hands it a result and goes on."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from socket import socket
from threading import Thread
from types import TracebackType

import uvicorn
from typing_extensions import Self

from ..runs.frame_work import FrameResult
from .access import Access, token_for
from .address import Address, reachable_host
from .app import Pages
from .connections import HttpConnection, SocketConnection
from .controls import Controls
from .guard import LARGEST_HEADER
from .health import DEADLINE, Histogram, Watchdog
from .latest import Latest
from .pace import Pace
from .packets import Packets
from .state import State
from .stats import Stats
from .systemd import tell_systemd
from .viewers import Viewers

PATIENCE = 10.0
"""Seconds that the end of a run waits for the page's; its thread then ends with the program."""


class Preview:
    """Serves the page while it is open; a context manager.

    about: engine, device, precision and tier, as shown. source: what is watched, without credentials.
    deadline: seconds without a frame after which /healthz complains.

    Raises:
        UsageError: nothing can listen at `address`, found out when it is opened.
    """

    def __init__(
        self,
        address: Address,
        stats: Stats,
        controls: Controls,
        *,
        about: str = "",
        source: str = "",
        deadline: float = DEADLINE,
    ) -> None:
        self.port = address.port
        """Known once the page is open."""
        self._address, self._controls = address, controls
        self._token, self._is_token_new = token_for(address)
        self._latest, self._latency, self._watchdog = Latest(), Histogram(), Watchdog(deadline)
        self._packets = Packets(self._latest, Pace())
        self._state = State(stats, controls, self._watchdog, Viewers(), about, source)

    @property
    def url(self) -> str:
        """To be opened in a browser; behind the # a new token, which browsers send to nobody. One that was given is
        known already, and stays out of logs.
        """
        page = f"http://{Address(reachable_host(self._address.host), self.port)}/"
        return f"{page}#token={self._token}" if self._is_token_new else page

    def show(self, result: FrameResult) -> None:
        """Take a result, in microseconds; while the page is paused, what was shown stays."""
        self._watchdog.frame(result.error is not None)
        if result.frame.captured is not None:
            self._latency.observe(time.monotonic() - result.frame.captured)
        if not (self._controls.setting.paused and self._latest.shot is not None):
            self._latest.put(result)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            listener = stack.enter_context(self._address.listen())
            self.port = listener.getsockname()[1]
            access = Access(self._token, f"fsr-preview-{self.port}")
            pages = Pages(self._packets, self._state, self._latency, access)
            self._server = uvicorn.Server(_config(pages))
            self._thread = Thread(target=self._run, args=(listener,), name="fsr-preview", daemon=True)
            self._thread.start()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)

    def _run(self, listener: socket) -> None:
        async def serve() -> None:
            telling = asyncio.create_task(tell_systemd(self._watchdog))
            await self._server.serve(sockets=[listener])
            telling.cancel()

        with listener, self._packets:
            asyncio.run(serve())


def _config(pages: Pages) -> uvicorn.Config:
    return uvicorn.Config(
        pages.app(),
        http=HttpConnection,
        ws=SocketConnection,
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what is malformed is answered, not told to the terminal
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=LARGEST_HEADER,
        ws_max_size=1024,
        ws_per_message_deflate=False,  # JPEG files do not shrink
        timeout_graceful_shutdown=1,
    )
