"""Pictures from and to disk."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from ..errors import InputError
from ..pixels import RgbImage
from .decode import MAX_PIXELS, read_picture
from .encode import write_picture
from .picture import SUFFIXES, Picture

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Picture",
    "find_images",
    "list_files",
    "read_image",
    "read_picture",
    "write_image",
    "write_picture",
]


def find_images(folder: Path) -> list[Path]:
    """Every picture below `folder`, sub-folders included, in a stable order; hidden files and folders are passed over.

    Raises:
        InputError: the folder is missing, is not a folder, cannot be listed, or holds no picture.
    """
    found, _ = list_files(folder, SUFFIXES)
    if not found:
        raise InputError(f"{folder}: no picture in it; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return found


def list_files(folder: Path, suffixes: Collection[str]) -> tuple[list[Path], list[Path]]:
    """Every file below `folder` that ends in one of `suffixes` (lower case), as `find_images`; then what is no file.

    That is links to folders, which are not followed, and pipes, sockets and devices with such a suffix, which may hang
    whoever opens them. A link to nothing is a file: whoever opens it says why that fails.

    Raises:
        InputError: the folder is missing, is not a folder, or cannot be listed.
    """
    try:
        if not folder.is_dir():
            raise InputError(f"{folder}: got {'a file' if folder.exists() else 'nothing there'}, expected a folder")
        files, odd = [], []
        for path in folder.rglob("*"):
            if _is_hidden(path.relative_to(folder)):
                continue
            mode = _mode(path)
            if S_ISDIR(mode):
                odd += [path] if path.is_symlink() else []
            elif path.suffix.lower() in suffixes:
                (files if S_ISREG(mode) or not mode else odd).append(path)
        return sorted(files), sorted(odd)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror or error}") from error


def read_image(path: Path | str) -> RgbImage:
    """Read a picture as uint8 (H, W, 3) RGB, turned upright as its EXIF orientation says.

    Raises:
        InputError: as `read_picture`.
    """
    return read_picture(path).pixels


def write_image(path: Path, image: RgbImage, quality: int = 95) -> None:
    """Write uint8 (H, W, 3) RGB in the format that the suffix names, whole or not at all.

    Raises:
        OutputError: as `write_picture`.
    """
    write_picture(path, Picture(image), quality)


def _mode(path: Path) -> int:
    """What lies there, links followed; 0 where that cannot be told, as of a link to nothing."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _is_hidden(inside: Path) -> bool:
    return any(part.startswith(".") for part in inside.parts)
