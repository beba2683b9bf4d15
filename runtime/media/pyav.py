"""PyAV is an extra: whoever asks for a video without it is told how to get it."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import UsageError


def require_pyav() -> None:
    """Do nothing where PyAV is installed.

    Raises:
        UsageError: it is not.
    """
    if find_spec("av") is None:
        raise UsageError('videos are read and written by PyAV, which is missing; pip install "fsr-edge[video]"')
