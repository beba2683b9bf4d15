"""What a source is called: one grammar for cameras, streams, files, folders and the test scene.

| written | is |
| --- | --- |
| `0`, `/dev/video0`, `0?size=1280x720&fps=30` | a USB camera |
| `csi://0`, `csi://0?size=1920x1080&fps=30&element=libcamerasrc` | a camera at the board, through GStreamer |
| `rtsp://`, `rtsps://`, `http://`, `https://`, `tcp://`, `udp://` | a stream |
| `test://`, `test://?faces=4&size=1280x720&fps=30&seconds=10` | a synthetic scene; see `TestScene` |
| `file:///path`, anything else | a video by its suffix, else a picture or a folder of them |
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import UsageError
from .suffixes import is_video

STREAMS = ("rtsp", "rtsps", "http", "https", "tcp", "udp")

Kind = Literal["camera", "csi", "stream", "test", "video", "pictures"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_CAMERA = re.compile(r"(?:/dev/video)?(\d+)(?:\?(.*))?")
_VALUES = re.compile("(?<==).*|(?<=%3d).*", re.IGNORECASE | re.DOTALL)
_HIDDEN = "***"


@dataclass(frozen=True, repr=False)
class SourceUri:
    """A source by its name; shown, it is without user, password and query."""

    kind: Kind
    text: str
    """As given: never to be printed."""
    shown: str
    """Without anything secret."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """By name, checked and converted."""

    @property
    def number(self) -> int:
        """Of a camera."""
        return int(self.options["number"])

    @property
    def path(self) -> Path:
        """Of a file or folder."""
        return Path(self.text)

    @property
    def is_moving(self) -> bool:
        """Whether it is opened by `open_capture`: no file."""
        return self.kind not in ("video", "pictures")

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"SourceUri({self.kind}, {self.shown})"


def parse_uri(text: str) -> SourceUri:
    """Read the name of a source; nothing is opened.

    Raises:
        UsageError: no name, an unknown scheme or option, or an option that makes no sense.
    """
    if camera := _CAMERA.fullmatch(text):
        options = {"number": int(camera[1]), **_options(text, camera[2], CAMERA_OPTIONS)}
        name = text.removeprefix("/dev/video")  # the same camera, whichever way it is written
        return SourceUri("camera", name, name, options)
    scheme = found[1].lower() if (found := _SCHEME.match(text)) else "file"
    if scheme in STREAMS:
        return SourceUri("stream", text, without_secrets(text))
    if scheme == "csi":
        return _csi(text)
    if scheme == "test":
        return SourceUri("test", text, text, _options(text, text.partition("?")[2], TEST_OPTIONS))
    if scheme != "file":
        known = ", ".join(f"{name}://" for name in (*STREAMS, "csi", "test", "file"))
        raise UsageError(f"--input: got {scheme}://, expected a file, a folder, a camera's number or one of {known}")
    path = _path(text) if found else text
    if not path:
        raise UsageError(f"--input: got {text!r}, which names nothing; a dot is the folder that you are in")
    return SourceUri("video" if is_video(Path(path)) else "pictures", path, path)


def without_secrets(text: str) -> str:
    """A URI without user, password and the values of its query, which some cameras want in the path.

    An `@` behind the host, or text that is no URI, leaves the scheme alone: of `rtsp://admin:12/34@cam/1` any program
    takes `admin` for the host, and all else for a port and a path.
    """
    scheme, _, behind = text.partition("://")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return f"{scheme}://{_HIDDEN}"
    if "@" in behind.removeprefix(parts.netloc):
        return f"{scheme}://{_HIDDEN}"
    place = f"{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
    user, query = f"{_HIDDEN}@" if "@" in parts.netloc else "", f"?{_HIDDEN}" if parts.query else ""
    return f"{parts.scheme}://{user}{place}{_VALUES.sub(_HIDDEN, parts.path)}{query}"


def _path(text: str, on_windows: bool = os.name == "nt") -> str:
    """Of a `file://` URI (RFC 8089)."""
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(f"--input: got {text}, a file of another machine; expected file:/// and a path on this one")
    path = unquote(parts.path)
    return path[1:] if on_windows and re.match("/[A-Za-z]:", path) else path


def _csi(text: str) -> SourceUri:
    number, _, query = text.removeprefix("csi://").partition("?")
    if not number.isdecimal():
        raise UsageError(f"--input: got {text}, expected csi:// and the number of the camera, such as csi://0")
    return SourceUri("csi", text, text, {"number": int(number), **_options(text, query, CSI_OPTIONS)})


def _options(text: str, query: str | None, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    options = {}
    for name, value in parse_qsl(query or "", keep_blank_values=True):
        if name not in known:
            raise UsageError(f"--input: got option {name!r} in {text}, expected one of {', '.join(known)}")
        try:
            options[name] = known[name](value)
        except ValueError as error:
            raise UsageError(f"--input: got {name}={value} in {text}; {error}") from error
    return options


def _size(value: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
    if found is None or not (int(found[1]) and int(found[2])):
        raise ValueError("expected a size such as 1280x720")
    return int(found[1]), int(found[2])


def _rate(value: str) -> Fraction:
    is_written_so = re.fullmatch(r"\d{1,9}(\.\d{1,9}|/0*[1-9]\d{0,8})?", value, re.ASCII)
    if not is_written_so or not 0 < Fraction(value) <= 1000:
        raise ValueError("expected frames a second, above 0 to 1000, such as 30, 29.97 or 30000/1001")
    return Fraction(value)


def _whole(value: str) -> int:
    if not re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
        raise ValueError("expected a whole number")
    return int(value)


def _number(value: str) -> float:
    if not re.fullmatch(r"-?\d{1,9}(\.\d*)?|-?\.\d+", value, re.ASCII):
        raise ValueError("expected a number such as 2.5")
    return float(value)


def _flag(value: str) -> bool:
    if value not in ("0", "1"):
        raise ValueError("expected 0 or 1")
    return value == "1"


def _element(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise ValueError("expected the name of a GStreamer element, such as libcamerasrc")
    return value


CAMERA_OPTIONS: Mapping[str, Callable[[str], Any]] = {"size": _size, "fps": _rate}
CSI_OPTIONS: Mapping[str, Callable[[str], Any]] = {**CAMERA_OPTIONS, "element": _element}
TEST_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "faces": _whole,
    "size": _size,
    "fps": _rate,
    "seconds": _number,
    "speed": _number,
    "cuts": _number,
    "noise": _number,
    "crf": _whole,
    "seed": _whole,
    "live": _flag,
}
