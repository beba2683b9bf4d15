"""Which files are videos, by their names."""

from __future__ import annotations

from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
)


def is_video(path: Path) -> bool:
    """Whether its suffix is one of a video; the file is not opened."""
    return path.suffix.lower() in VIDEO_SUFFIXES
