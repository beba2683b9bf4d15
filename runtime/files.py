"""Files that appear under their final name only when they are whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from hashlib import sha256
from pathlib import Path

from .alive import is_alive
from .errors import OutputError

LONGEST_NAME = 255
"""Bytes of a name that every usual file system takes."""
_LONGEST_HIDDEN = 100
"""Bytes of a final name that its temporary one repeats: with what comes around it, some encrypting disks take 143."""
_TEMPORARY = re.compile(r"\.(\d+)\.partial(\.|$)")


def cache_folder() -> Path:
    """Where what can be made anew is kept: `$XDG_CACHE_HOME/fsr-edge`, by default below `~/.cache`."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".cache"  # the specification: relative ones do not count
    return base / "fsr-edge"


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary name beside `final`; rename it to `final` on success, delete it on any failure.

    The temporary name keeps the suffix, since many writers choose the format by it, and is short enough wherever
    `final` is. Parent folders are made.

    Raises:
        OutputError: the folder or file cannot be written (permissions, full disk, a folder in the way).
    """
    temporary = _temporary(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(0o666 & ~UMASK)  # some writers make private files
        temporary.replace(final)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{final}: cannot be written: {reason}; nothing was left under that name") from error
    finally:
        with suppress(OSError):  # where it cannot be deleted it could not be written: reported above
            temporary.unlink(missing_ok=True)


def temporaries_of(final: Path) -> Iterator[Path]:
    """The temporary files, or folders, of `final`, of this process or any other."""
    name = re.compile(rf"{re.escape(_hidden(final))}\.\d+\.partial{re.escape(final.suffix)}")
    return (path for path in final.parent.glob(f"{escape(_hidden(final))}.*") if name.fullmatch(path.name))


def maker_of(temporary: Path) -> int | None:
    """The number of the process that makes it; None of any other file."""
    return int(found[1]) if (found := _TEMPORARY.search(temporary.name)) else None


def is_being_written(temporary: Path) -> bool:
    """Whether the process that makes it lives. What bears the number of this one is an earlier one's, since a program
    in a container has the same number each time: to be asked before this one writes anything of that name.
    """
    maker = maker_of(temporary)
    return maker is not None and maker != os.getpid() and is_alive(maker)


def aside(final: Path) -> Path:
    """A temporary name of `final` that no process will take."""
    return final.with_name(f"{_hidden(final)}.0.partial{final.suffix}")


def remove_temporaries(among: Iterable[Path]) -> None:
    """Delete those files of `among` that a killed run left half-written."""
    for path in list(among):
        if maker_of(path) is not None and not is_being_written(path) and not path.is_dir():
            path.unlink(missing_ok=True)


def fitted(stem: str, tail: str, longest: int = LONGEST_NAME) -> str:
    """`stem + tail`; where that has more than `longest` bytes, a hash stands for the stem."""
    name = stem + tail
    return name if len(os.fsencode(name)) <= longest else sha256(os.fsencode(stem)).hexdigest()[:16] + tail


def _hidden(final: Path) -> str:
    return f".{fitted(final.stem, '', _LONGEST_HIDDEN)}"


def _temporary(final: Path) -> Path:
    return final.with_name(f"{_hidden(final)}.{os.getpid()}.partial{final.suffix}")


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `final`; rename it on success, delete it on any failure.

    What killed processes left of it is deleted first.

    Raises:
        OutputError: `final` exists already, or cannot be written.
    """
    if final.exists():
        raise OutputError(f"{final}: exists already; choose another --output or remove it")
    temporary = _temporary(final)
    for left in list(temporaries_of(final)):
        if not is_being_written(left):
            shutil.rmtree(left, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(final)
    except OSError as error:
        raise OutputError(f"{final}: cannot be written: {error.strerror or error}; nothing was left there") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_writable(folder: Path) -> None:
    """Make `folder` and prove that files can be written there, before long work whose results belong in it."""
    probe = folder / f".{os.getpid()}.writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except FileExistsError as error:
        raise OutputError(f"{folder}: got a file, expected a folder; choose another --output") from error
    except OSError as error:
        raise OutputError(f"{folder}: nothing can be written there: {error.strerror or error}") from error


def require_file_name(final: Path) -> None:
    """Prove, before long work whose result belongs there, that no folder bears the name of the file `final`."""
    if final.is_dir():
        raise OutputError(f"{final}: got a folder, expected the name of a file; choose another, or remove it")


def require_new_file(final: Path, option: str) -> None:
    """Prove, before long work whose result belongs there, that `final`, given by `option`, can be written anew."""
    require_file_name(final)
    if final.exists():
        raise OutputError(f"{final}: exists already; choose another {option} or remove it")
    require_writable(final.parent)


def write_bytes(final: Path, data: bytes) -> None:
    """Write `data` to `final`, whole or not at all."""
    with atomic_path(final) as temporary:
        temporary.write_bytes(data)


def write_text(final: Path, text: str) -> None:
    """Write UTF-8 `text` to `final`, whole or not at all."""
    write_bytes(final, text.encode())


def _umask() -> int:
    current = os.umask(0)  # it can only be read by setting it
    os.umask(current)
    return current


UMASK = _umask()
"""Read once, while there is one thread: between the two calls a file of another thread would be open to all."""
