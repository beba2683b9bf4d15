"""Which class reads which kind of moving source, in the process that opens it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from .source import Source
from .uri import SourceUri

Opener: TypeAlias = Callable[[SourceUri, "Path | None"], Source]
"""Opens a source; given a path, records its packets there if it has any."""


def _camera(uri: SourceUri, record: Path | None) -> Source:
    from .camera import Camera

    return Camera(uri.number, size_wh=uri.options.get("size"), rate=uri.options.get("fps"))


def _csi(uri: SourceUri, record: Path | None) -> Source:
    from .csi import CsiCamera

    return CsiCamera(uri)


def _stream(uri: SourceUri, record: Path | None) -> Source:
    from .network import NetworkStream
    from .recording import PacketRecording

    return NetworkStream(uri, PacketRecording(record) if record else None)


def _test(uri: SourceUri, record: Path | None) -> Source:
    from .test_source import TestSource

    return TestSource(uri.options)


OPENERS: Mapping[str, Opener] = {"camera": _camera, "csi": _csi, "stream": _stream, "test": _test}

HAVE_PACKETS = frozenset({"stream"})
"""Kinds whose recording is a copy of what came; of the others the frames are encoded."""


def open_moving(uri: SourceUri, record: Path | None = None) -> Source:
    """Open a camera, stream or test scene in this process."""
    return OPENERS[uri.kind](uri, record)
