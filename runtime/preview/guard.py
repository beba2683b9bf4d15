"""Before the page's routes: turns away whom `Access` does not admit, and tells browsers how to treat the rest."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import Access, in_query

OPEN = frozenset({"/healthz", "/login", "/login.js", "/page.css", "/icon.svg"})
"""What needs no token: nothing of it shows what the camera sees."""
YEAR = 365 * 86400
LARGEST_HEADER = 16384
"""Bytes of a request's address and header. Of one that comes in a single write uvicorn measures nothing."""

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
)


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, access: Access, login: Response) -> None:
        self._app, self._access, self._login = app, access, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                return await self._app(scope, receive, send)
            return await send({"type": "websocket.close", "code": 1008})  # before it is accepted: answers 403

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        return await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is answered in place of the routes, if anything."""
        headers, path = Headers(scope=scope), scope["path"]
        query = scope["query_string"].decode("latin-1")
        if _header_bytes(scope) > LARGEST_HEADER:
            return PlainTextResponse(f"refused: address and header have more than {LARGEST_HEADER} bytes\n", 431)
        if why := self._access.foreign(headers):
            return PlainTextResponse(f"refused: {why}\n", 403)
        if not (path in OPEN or self._access.admits(headers, query)):
            return self._login if path == "/" else PlainTextResponse("refused: needs the token\n", 401)
        if path == "/" and in_query(query) and scope["type"] == "http":  # out of the address bar, into a cookie
            return with_cookie(RedirectResponse("./", 303), self._access, Request(scope).url.is_secure)
        return None


def _header_bytes(scope: Scope) -> int:
    """As sent, without spaces that mean nothing."""
    fields = sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])
    return len(scope["raw_path"]) + len(scope["query_string"]) + fields


def with_cookie(response: Response, access: Access, secure: bool) -> Response:
    """`response`, leaving the token with the browser. Lax: links lead here, requests of other pages come without it."""
    if access.token is not None:
        response.set_cookie(access.cookie, access.token, YEAR, httponly=True, samesite="lax", secure=secure)
    return response
