"""What tests of the page share: results to show, statistics, requests by hand."""

from __future__ import annotations

import http.client
import json
import socket
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

from fsr.runtime.align import RestoredFace
from fsr.runtime.detect import Face
from fsr.runtime.geometry import scaling
from fsr.runtime.media.source import VideoFrame
from fsr.runtime.options import RestoreOptions
from fsr.runtime.pipeline import RestoredFrame, enlarge
from fsr.runtime.pixels import RgbImage
from fsr.runtime.preview.address import Address
from fsr.runtime.preview.controls import Controls
from fsr.runtime.preview.preview import Preview
from fsr.runtime.runs.effort import Effort
from fsr.runtime.runs.frame_work import FrameResult

LITTLE = Effort(4, "faces are restored by tier S")
GREEN, RED = (40, 160, 90), (200, 40, 40)


@dataclass(frozen=True)
class FakeSnapshot:
    frames: int = 120
    dropped: int = 3
    fps: float = 24.7
    latency_ms_median: float | None = 41.6
    latency_ms_p95: float | None = 58.2
    faces: int = 5
    """Others than `result` has: the run is never at the picture that a viewer sees."""
    reconnects: int = 1
    effort: Effort = LITTLE


class FakeStats:
    def snapshot(self) -> FakeSnapshot:
        return FakeSnapshot()


def result(
    number: int = 0, size_wh: tuple[int, int] = (320, 180), scale: int = 2, error: str | None = None
) -> FrameResult:
    """A frame as green as its number says, with a face that came out red and one that was left."""
    frame = np.full((size_wh[1], size_wh[0], 3), (40, number % 256, 90), np.uint8)
    faces = [restored_face(7, (40, 30)), left_face(9, (200, 60))]
    image = enlarge(frame, scale)
    image[60:140, 80:160] = RED
    video_frame = VideoFrame(frame, number, Fraction(1, 30), number / 30, time.monotonic())
    return FrameResult(video_frame, RestoredFrame(image, faces, {}), error)


def with_faces(shown: FrameResult, *faces: RestoredFace) -> FrameResult:
    """`shown` with other faces."""
    return replace(shown, restored=replace(shown.restored, faces=list(faces)))


def restored_face(track: int, corner: tuple[int, int]) -> RestoredFace:
    """40 pixels wide, whose crop is taken 1:2.5."""
    crop_from_frame = scaling(16 / 40)
    crop_from_frame[:, 2] = -np.array(corner) * 16 / 40
    return RestoredFace(
        _face(corner), 40.0, "restored", "edge-S-16x8", crop_from_frame, _grey(16), _red(128), track=track
    )


def left_face(track: int, corner: tuple[int, int]) -> RestoredFace:
    return RestoredFace(_face(corner), 90.0, "left: large enough already", track=track)


def _face(corner: tuple[int, int]) -> Face:
    x, y = corner
    return Face(np.array([x, y, x + 40, y + 40], np.float32), np.ones((5, 2), np.float32), 0.9)


def _grey(side: int) -> RgbImage:
    return np.full((side, side, 3), 128, np.uint8)


def _red(side: int) -> RgbImage:
    return np.full((side, side, 3), RED, np.uint8)


def preview(address: str = "127.0.0.1:0", **options: Any) -> Preview:
    """Not open yet, on any free port."""
    controls = options.pop("controls", None) or Controls(RestoreOptions())
    return Preview(Address.parse(address), FakeStats(), controls, about="fake (it tests), int8, tier S", **options)


def ask(
    page: Preview, path: str, method: str = "GET", body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body of one request; a body that is no string is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None and not isinstance(body, str | bytes):
        body, sent = json.dumps(body), {"Content-Type": "application/json", **sent}
    try:
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def raw(page: Preview, data: bytes = b"") -> socket.socket:
    """A connection on which `data` was sent."""
    connection = socket.create_connection(("127.0.0.1", page.port), timeout=10)
    connection.sendall(data)
    return connection


def watch(page: Preview, **options: Any) -> ClientConnection:
    """A viewer's WebSocket, with the Origin that a browser would send."""
    options.setdefault("origin", f"http://127.0.0.1:{page.port}")
    return connect(f"ws://127.0.0.1:{page.port}/stream", compression=None, max_size=None, proxy=None, **options)


@dataclass(frozen=True)
class Received:
    """A packet, taken apart."""

    header: dict[str, Any]
    before: bytes
    after: bytes
    strip: bytes


def next_picture(viewer: ClientConnection, timeout: float = 10) -> Received:
    """The next packet; states in between are passed over."""
    deadline = time.monotonic() + timeout
    while isinstance(data := viewer.recv(deadline - time.monotonic()), str):
        pass
    length = int.from_bytes(data[:4], "big")
    header, rest = json.loads(data[4 : 4 + length]), data[4 + length :]
    before, after, strip = header["lengths"]
    assert len(rest) == before + after + strip
    return Received(header, rest[:before], rest[before : before + after], rest[before + after :])


def next_state(viewer: ClientConnection) -> dict[str, Any]:
    """The next state; packets in between are passed over."""
    while isinstance(data := viewer.recv(10), bytes):
        pass
    return json.loads(data)


def told(viewer: ClientConnection, **message: Any) -> None:
    viewer.send(json.dumps(message))
