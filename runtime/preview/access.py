"""Who may see the page: whoever reaches a loopback address, else whoever has the token.

Other people's web pages run in the user's browser too, and reach loopback: they are known by the `Origin` and `Host`
they send, which a page cannot choose (OWASP: cross-site WebSocket hijacking, DNS rebinding).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from secrets import compare_digest, token_urlsafe
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams

from ..errors import UsageError
from .address import Address, is_loopback

VARIABLE = "FSR_PREVIEW_TOKEN"
SHORTEST = 16


@dataclass(frozen=True)
class Access:
    """What a request must show."""

    token: str | None
    """None: nothing, on loopback."""
    cookie: str = "fsr-preview"
    """Its name; browsers keep cookies by host, so the port is a part of it."""

    def foreign(self, headers: Headers) -> str | None:
        """Why a request comes from somebody else's page, as a sentence; None: it does not."""
        host = headers.get("host", "")
        if self.token is None and not is_loopback(_netloc(f"//{host}")[1]):
            return f"asked for host {host!r}, but this preview is for this machine alone"
        origin = headers.get("origin")
        if origin is not None and _netloc(origin)[0] not in (host, headers.get("x-forwarded-host")):
            return f"sent by a page of {origin!r}, which is not this one"
        return None

    def admits(self, headers: Headers, query: str) -> bool:
        """Whether a request shows the token: as `Authorization: Bearer`, as cookie, or as `?token=`."""
        if self.token is None:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = [bearer.strip() if scheme.lower() == "bearer" else "", self._kept(headers), in_query(query)]
        return any(self.is_token(one) for one in shown)

    def is_token(self, given: str) -> bool:
        """In a time that tells nothing of the token."""
        return self.token is not None and compare_digest(given.encode(), self.token.encode())

    def _kept(self, headers: Headers) -> str:
        try:
            kept = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return kept.value if kept else ""


def token_for(address: Address) -> tuple[str | None, bool]:
    """The token, and whether it is new: that of the environment; else beyond loopback 144 random bits, on it none.

    Raises:
        UsageError: the environment's is too short.
    """
    given = os.environ.get(VARIABLE)
    if given is not None and len(given) < SHORTEST:
        raise UsageError(
            f"{VARIABLE}: got {len(given)} characters, expected {SHORTEST} or more; leave it out for a new one"
        )
    if given is not None or address.is_loopback:
        return given, False
    return token_urlsafe(18), True


def in_query(query: str) -> str:
    """The token of `?token=`."""
    return QueryParams(query).get("token", "")


def _netloc(url: str) -> tuple[str, str]:
    """Host with port, and host alone; empty where `url` is none."""
    try:
        parts = urlsplit(url)
        return parts.netloc, parts.hostname or ""
    except ValueError:
        return "", ""
