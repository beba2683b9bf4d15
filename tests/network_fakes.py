"""Streams of grey frames, and a server on this machine that sends them."""

from __future__ import annotations

import io
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler
from typing import Any

import numpy as np
import pytest
from run_fakes import add_tone

from fsr.runtime.media.capture import Patience

av = pytest.importorskip("av", reason="streams need PyAV")

SIZE_WH = (96, 64)
PACE = 0.02
HASTE = Patience(open=30.0, frame=2.0, first_pause=0.05, longest_pause=0.1)
WAIT = 30.0


def encoded(
    frames: int,
    size_wh: tuple[int, int] = SIZE_WH,
    format_name: str = "mpegts",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    tune: str = "zerolatency",
    sound: tuple[str, int] | None = None,
    sound_frames: int | None = None,
) -> bytes:
    """A stream of grey frames, each of another level, with a key frame every 5.

    sound: codec and samples a second of a tone beside them, as long as `sound_frames`, by default as they are.
    """
    buffer = io.BytesIO()
    quality = {"g": "5", "tune": tune, "crf": "10"} if codec == "libx264" else {}
    with av.open(buffer, "w", format=format_name, options=options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=quality)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio = container.add_stream(sound[0], rate=sound[1], layout="mono") if sound else None
        for number in range(frames):
            pixels = np.full((size_wh[1], size_wh[0], 3), 30 + 5 * (number % 40), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            add_tone(container, audio, (sound_frames or frames) * sound[1] // 25)
    return buffer.getvalue()


class QuietFiles(SimpleHTTPRequestHandler):
    """Serves a folder."""

    def log_message(self, format: str, *_: Any) -> None: ...


class Server(socketserver.ThreadingTCPServer):
    """Answers every request with `body`, in its own pieces or in small ones, and then is silent or hangs up."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, body: bytes | Iterable[bytes], kind: str, *, hangs_up: bool) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.body, self.kind, self.hangs_up = body, kind, hangs_up
        self.over = threading.Event()
        self.connections: list[socket.socket] = []

    def handle_error(self, request: Any, client_address: Any) -> None: ...


class Handler(socketserver.StreamRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle(self) -> None:
        self.server.connections.append(self.request)
        with suppress(OSError):
            while self.rfile.readline().strip():
                pass
            self.wfile.write(
                f"HTTP/1.0 200 OK\r\nContent-Type: {self.server.kind}\r\nConnection: close\r\n\r\n".encode()
            )
            body = self.server.body
            if isinstance(body, bytes):
                body = [body[start : start + 2000] for start in range(0, len(body), 2000)]
            for piece in body:
                self.wfile.write(piece)
                self.wfile.flush()
                if self.server.over.wait(PACE):
                    return
            if not self.server.hangs_up:
                self.server.over.wait()


@contextmanager
def serving(
    body: bytes | Iterable[bytes], port: int = 0, kind: str = "video/mp2t", *, hangs_up: bool = True
) -> Iterator[int]:
    """A server that is there until it is left; its port."""
    with Server(port, body, kind, hangs_up=hangs_up) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.over.set()
            server.shutdown()
            for connection in server.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            thread.join()


def address(port: int) -> str:
    return f"http://user:secret@127.0.0.1:{port}/live?token=hidden"


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, "waited too long"


def levels(frames: Any) -> list[int]:
    return [round((float(frame.pixels.mean()) - 30) / 5) for frame in frames]


# In this process
