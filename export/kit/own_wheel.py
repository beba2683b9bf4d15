"""This program as a wheel, made of what is installed: no build tool, no network, and the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from io import BytesIO
from pathlib import Path

from ... import runtime
from ...runtime.errors import UsageError

NAME, LICENCE = "fsr-edge", "LICENSE"
PACKAGES = ("calibration", "export", "runtime", "train")
"""Of the namespace `fsr`, in which other distributions may have theirs."""
WHEEL = "Wheel-Version: 1.0\nGenerator: fsr-export kit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The earliest that a ZIP file can say: when a file was installed is nobody's business."""


def own_wheel() -> tuple[str, bytes]:
    """File name and bytes.

    Raises:
        UsageError: the program runs without being installed.
    """
    found = installed()
    stem = f"{NAME.replace('-', '_')}-{found.version}"
    about = f"{stem}.dist-info"
    files = {f"fsr/{name}": data for name, data in _modules()}
    files[f"{about}/METADATA"] = metadata(found).encode()
    files[f"{about}/WHEEL"] = WHEEL.encode()
    files[f"{about}/entry_points.txt"] = (found.read_text("entry_points.txt") or "").encode()
    if licence := _licence(found):
        files[f"{about}/licenses/{LICENCE}"] = licence
    record = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in sorted(files.items())]
    files[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""]).encode()
    return f"{stem}-py3-none-any.whl", _zipped(files)


def installed() -> Distribution:
    try:
        return distribution(NAME)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{NAME} is not installed here, so there is nothing to pack; install it: pip install ."
        ) from error


def _licence(found: Distribution) -> bytes | None:
    """Its text: an ordinary install has it beside the metadata, an egg-info of a clone in the clone."""
    if text := found.read_text(f"licenses/{LICENCE}"):
        return text.encode()
    clone = Path(str(found.locate_file(LICENCE)))
    return clone.read_bytes() if clone.is_file() else None


def metadata(found: Distribution) -> str:
    """What pip reads of it, its requirements among it."""
    return found.read_text("METADATA") or found.read_text("PKG-INFO") or ""


def _modules() -> Iterator[tuple[str, bytes]]:
    """Every file of the packages, whichever way they are installed; of a link the file."""
    root = Path(runtime.__file__).parent.parent
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root).as_posix(), path.read_bytes()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # the archive that it goes into is compressed
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()
