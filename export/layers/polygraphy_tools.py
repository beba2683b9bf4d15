"""Polygraphy, found and kept quiet: it logs to the terminal, and ends a call with its own exception."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ...runtime.errors import EngineUnavailableError

NEEDED = ("onnx", "polygraphy")
INSTALL = 'pip install "fsr-edge[layers]"'


def require_polygraphy() -> None:
    """Raise what says how to install it.

    Raises:
        EngineUnavailableError: Polygraphy, or onnx, is missing or older than what is used of it.
    """
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise EngineUnavailableError(f"--layers needs {name} ({error}); install it with: {INSTALL}") from error
    if not hasattr(importlib.import_module("polygraphy.comparator"), "SimpleCompareFunc"):
        raise EngineUnavailableError(f"--layers needs Polygraphy 0.53 or newer; install it with: {INSTALL}")


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing printed, and any failure inside as one sentence.

    Raises:
        EngineUnavailableError: an engine or Polygraphy refused what it was given.
    """
    from polygraphy.logger import G_LOGGER

    with G_LOGGER.verbosity(G_LOGGER.CRITICAL), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations between NVIDIA's own packages, which no user can act on
        try:
            yield
        except Exception as error:  # of ONNX Runtime, TensorRT or Polygraphy: no common base
            reason = str(error).strip().partition("\n")[0]
            raise EngineUnavailableError(f"{type(error).__name__}: {reason}") from error
