"""What a recording is called: none replaces another, whether that was finished or cut short by a kill."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from ..files import fitted, is_being_written, maker_of, temporaries_of


def numbered(path: Path, number: int) -> Path:
    """`cam.mkv`, `cam-2.mkv`, `cam-3.mkv`."""
    return path if number == 1 else path.with_name(fitted(path.stem, f"-{number}{path.suffix}"))


def free_name(path: Path) -> Path:
    """The first of `numbered` that is free, once all that killed processes have recorded has names of its own."""
    for number in count(1):
        name = numbered(path, number)
        if not name.exists() and not _is_being_written(name) and not _salvaged(name):
            return name
    raise AssertionError("numbers do not end")


def _is_being_written(name: Path) -> bool:
    """By another program, or by this one: recordings are made by its child, but a result may have such a name too."""
    return any(maker_of(path) == os.getpid() or is_being_written(path) for path in temporaries_of(name))


def _salvaged(name: Path) -> bool:
    """Whether there was what a killed process recorded; it has that name now."""
    left = next((path for path in temporaries_of(name) if path.stat().st_size), None)
    if left is not None:
        left.replace(name)
    return left is not None
