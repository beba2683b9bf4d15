"""What is answered where."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from ..errors import UsageError
from .access import Access
from .body import read_json
from .guard import Guard, with_cookie
from .health import Histogram
from .metrics import CONTENT_TYPE, prometheus
from .packets import QUALITIES, Packets, png
from .state import State
from .stream import BOUNDARY, Viewer, mjpeg
from .viewers import Viewers

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

Endpoint = Callable[[Request], Awaitable[Response]]


class Pages:
    """The endpoints; belongs to one event loop."""

    def __init__(self, packets: Packets, state: State, latency: Histogram, access: Access) -> None:
        self._packets, self._state, self._latency, self._access = packets, state, latency, access

    def app(self) -> ASGIApp:
        login = _page_file("login.html")
        login.status_code = 401
        routes = [
            *(Route("/" if name == "index.html" else f"/{name}", _fixed(name)) for name in page_files()),
            Route("/login", self._login, methods=["POST"]),
            Route("/controls", self._control, methods=["POST"]),
            Route("/state", self._told),
            Route("/snapshot.png", self._snapshot),
            Route("/stream.mjpg", self._mjpeg),
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            WebSocketRoute("/stream", self._stream),
        ]
        return Guard(Starlette(routes=routes), self._access, login)

    async def _stream(self, socket: WebSocket) -> None:
        await socket.accept()
        if self._state.viewers.is_full:
            await socket.close(1013, "too many viewers")
            return
        with self._state.viewers.watching():
            await Viewer(socket, self._packets, self._state.to_json).run()

    async def _mjpeg(self, request: Request) -> Response:
        quality = request.query_params.get("quality", "medium")
        if quality not in QUALITIES:
            return PlainTextResponse(f"quality: got {quality!r}, expected one of {', '.join(QUALITIES)}\n", 400)
        if self._state.viewers.is_full:
            return PlainTextResponse("too many viewers\n", 503, {"Retry-After": "10"})
        return _Watched(mjpeg(self._packets, quality), self._state.viewers)

    async def _snapshot(self, request: Request) -> Response:
        """The restored picture that the page shows, whole and lossless."""
        shot = self._packets.newest
        if shot is None:
            return PlainTextResponse("no frame yet\n", 503, {"Retry-After": "1"})
        content = await self._packets.in_thread(partial(png, shot.result.restored.image))
        name = f"fsr-{datetime.now():%Y%m%d-%H%M%S}-{shot.number}.png"
        return Response(content, 200, {"Content-Disposition": f'attachment; filename="{name}"'}, "image/png")

    async def _control(self, request: Request) -> Response:
        before = self._state.controls.setting
        try:
            setting = self._state.controls.change(await read_json(request))
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 400)
        if setting.paused and replace(setting, paused=before.paused) != before:
            await self._packets.repaint(self._state.controls)
        return JSONResponse(asdict(setting))

    async def _login(self, request: Request) -> Response:
        try:
            token = (await read_json(request)).get("token")
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 400)
        if not (isinstance(token, str) and self._access.is_token(token)):
            return JSONResponse({"error": "this is not the token that fsr-run printed"}, 403)
        return with_cookie(Response(status_code=204), self._access, request.url.is_secure)

    async def _told(self, request: Request) -> Response:
        return JSONResponse(self._state.to_json())

    async def _metrics(self, request: Request) -> Response:
        state = self._state
        text = prometheus(state.stats.snapshot(), state.watchdog, self._latency, state.viewers.count)
        return Response(text, headers={"Content-Type": CONTENT_TYPE})

    async def _healthz(self, request: Request) -> Response:
        complaint = self._state.watchdog.complaint()
        return PlainTextResponse(f"{complaint or 'ok'}\n", 503 if complaint else 200)


class _Watched(StreamingResponse):
    """MJPEG, whose viewer counts until the connection ends: a generator alone may be left open."""

    def __init__(self, parts: AsyncIterator[bytes], viewers: Viewers) -> None:
        super().__init__(parts, media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self._viewers = viewers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._viewers.watching():
            await super().__call__(scope, receive, send)


def page_files() -> list[str]:
    """Names of what the page is made of."""
    return sorted(entry.name for entry in PAGE.iterdir() if entry.suffix in TYPES)


def _page_file(name: str) -> Response:
    kind = TYPES[Path(name).suffix]
    return Response((PAGE / name).read_bytes(), media_type=kind)


def _fixed(name: str) -> Endpoint:
    """Answers with a file that was read when the server started."""
    answer = _page_file(name)

    async def endpoint(request: Request) -> Response:
        return answer

    return endpoint
