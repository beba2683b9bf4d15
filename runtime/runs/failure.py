"""Why one picture or frame failed, in one sentence."""

from __future__ import annotations

import traceback
from pathlib import Path

from ..errors import FsrError


def reason(name: str, error: Exception) -> str:
    """What `error` says of `name`; of a bug, with its place in the code."""
    if isinstance(error, FsrError):
        return str(error)
    if isinstance(error, OSError):
        return f"{name}: cannot be read: {error.strerror or error}"
    if isinstance(error, MemoryError):
        return f"{name}: not enough memory; choose fewer --workers or a smaller --scale"
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())
    return f"{name}: {type(error).__name__}: {message} ({Path(place.filename).name}, line {place.lineno})"
