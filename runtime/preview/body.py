"""The JSON of a request: small, soon, and from no form of another page."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from ..errors import UsageError

LARGEST = 1024
"""Bytes."""
PATIENCE = 5.0
"""Seconds for all of it."""


async def read_json(request: Request) -> dict[str, Any]:
    """The object in the request's body.

    Raises:
        UsageError: too large, too slow, or no JSON object. Its type must say JSON: a form of another page cannot.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UsageError("expected Content-Type: application/json")
    try:
        given = json.loads(await asyncio.wait_for(_read(request), PATIENCE))
    except (ValueError, RecursionError, asyncio.TimeoutError, ClientDisconnect) as error:
        raise UsageError(f"expected a JSON object within {PATIENCE:g} s") from error
    if not isinstance(given, dict):
        raise UsageError(f"got {type(given).__name__}, expected a JSON object")
    return given


async def _read(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise UsageError(f"got more than {LARGEST} bytes, expected a small JSON object")
    return body
