"""Videos from and to disk."""

from __future__ import annotations

from pathlib import Path

from .source import Source, VideoFrame
from .video_reader import VideoReader
from .video_writer import VideoWriter

__all__ = ["VIDEO_SUFFIXES", "Source", "VideoFrame", "VideoReader", "VideoWriter", "is_video"]

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
)


def is_video(path: Path) -> bool:
    """Whether its suffix is one of a video; the file is not opened."""
    return path.suffix.lower() in VIDEO_SUFFIXES
