"""The page as one of the places that the frames of a run go to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from ..errors import UsageError
from ..runs.stream import Show
from .address import Address
from .controls import Controls
from .stats import Stats

NEEDED = ("starlette", "uvicorn", "websockets")


def require_preview() -> None:
    """Do nothing where the extra is installed.

    Raises:
        UsageError: it is not.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UsageError(f'--preview: needs {", ".join(missing)}, which is missing; pip install "fsr-edge[preview]"')


@contextmanager
def on_page(
    address: Address, stats: Stats, controls: Controls, say: Callable[[str], None], *, about: str, source: str
) -> Iterator[Show]:
    """A sink; `say` is told once where to watch."""
    from .preview import Preview

    with Preview(address, stats, controls, about=about, source=source) as page:
        say(f"watch at {page.url}")
        yield page.show
