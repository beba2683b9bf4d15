"""Videos from and to disk."""

from __future__ import annotations

from .source import Source, VideoFrame
from .suffixes import VIDEO_SUFFIXES, is_video
from .video_reader import VideoReader
from .video_writer import VideoWriter

__all__ = ["VIDEO_SUFFIXES", "Source", "VideoFrame", "VideoReader", "VideoWriter", "is_video"]
