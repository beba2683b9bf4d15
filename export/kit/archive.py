"""One archive of many files, in the same bytes whenever the files are the same."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from ...runtime.files import atomic_path

ROOT = "fsr-kit"
"""The folder that everything unpacks into."""
COMPRESSION = 1
"""Wheels are compressed already."""


def write_archive(final: Path, files: Mapping[str, bytes]) -> None:
    """Write a .tar.gz, whole or not at all. files: by path below `ROOT`; scripts (.sh) may be run."""
    with (
        atomic_path(final) as temporary,
        temporary.open("wb") as out,
        gzip.GzipFile("", "wb", COMPRESSION, out, mtime=0) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"{ROOT}/{name}")
            entry.size, entry.mode = len(data), 0o755 if name.endswith(".sh") else 0o644
            archive.addfile(entry, BytesIO(data))
