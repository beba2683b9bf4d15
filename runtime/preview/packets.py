"""A shot as bytes for viewers: each quality made once, in a thread of its own, shared by all who want it.

A packet is a big-endian uint32, the length of the JSON that follows it, that JSON, and three JPEG files, whose
lengths it gives: before, after, and the strip of faces (0 bytes without a face).
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import thread_time
from types import MappingProxyType, TracebackType
from typing import TypeVar

import cv2
import numpy as np
from typing_extensions import Self

from ..align import RESTORED
from ..options import RestoreOptions
from ..pixels import RgbImage, bgr_from_rgb
from .controls import Controls
from .faces import TILE, face_strip
from .latest import Latest, Shot
from .pace import Pace
from .repaint import repainted

T = TypeVar("T")


@dataclass(frozen=True)
class Quality:
    """How much of a picture a viewer gets."""

    longest: int
    """Pixels of the longer side, at most."""
    jpeg: int
    """Quality of the restored picture, to 100; the other is enlarged on the screen, which shows more of its faults."""


QUALITIES: Mapping[str, Quality] = MappingProxyType(
    {"small": Quality(640, 75), "medium": Quality(1280, 82), "full": Quality(8192, 90)}
)


@dataclass(frozen=True, eq=False)
class Packet:
    """A shot in one quality."""

    shot: Shot
    data: bytes
    after: bytes
    """The restored picture alone, a JPEG file."""


class Packets:
    """Makes packets; a context manager that ends its thread. Belongs to one event loop."""

    def __init__(self, latest: Latest, pace: Pace) -> None:
        self._latest, self._pace = latest, pace
        self._made: dict[str, asyncio.Task[Packet]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fsr-preview-jpeg")

    @property
    def newest(self) -> Shot | None:
        """What the page shows, or will."""
        return self._latest.shot

    async def after(self, number: int, quality: str) -> Packet:
        """The newest packet, once there is a shot newer than `number`."""
        while True:
            made = self._made.get(quality)
            if made is None or (made.done() and not self._is_newest(made)):
                made = self._made[quality] = asyncio.create_task(self._make(number, quality))
            packet = await asyncio.shield(made)  # one viewer who leaves takes nothing from the others
            if packet.shot.number > number:
                return packet
            await self._latest.after(number)

    async def repaint(self, controls: Controls) -> None:
        """Show the held picture as `controls` have it now."""
        if (held := self._latest.shot) is None:
            return
        again = await self.in_thread(lambda: repainted(held.result, controls.options(RestoreOptions())))
        if controls.setting.paused and self._latest.shot is held:  # else something newer is shown already
            self._latest.put(again)

    async def in_thread(self, make: Callable[[], T]) -> T:
        """What `make` returns, made where packets are."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, make)

    def _is_newest(self, made: asyncio.Task[Packet]) -> bool:
        return not made.cancelled() and made.exception() is None and made.result().shot is self._latest.shot

    async def _make(self, number: int, quality: str) -> Packet:
        await self._latest.after(number)
        await self._pace.turn()
        shot = await self._latest.after(number)  # the newest, not the one that was waited for
        packet, seconds = await self.in_thread(partial(_timed, shot, QUALITIES[quality]))
        self._pace.spent(seconds)
        return packet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def _timed(shot: Shot, quality: Quality) -> tuple[Packet, float]:
    """With the seconds that this thread worked: waiting for a core is no cost to anybody."""
    started = thread_time()
    packet = make_packet(shot, quality)
    return packet, thread_time() - started


def make_packet(shot: Shot, quality: Quality) -> Packet:
    """Before, after and the faces of a shot."""
    result = shot.result
    said, strip = face_strip(result)
    before = jpeg(fitted(result.frame.pixels, quality.longest), quality.jpeg + 8)
    after = jpeg(fitted(result.restored.image, quality.longest), quality.jpeg)
    faces = b"" if strip is None else jpeg(strip, 85)
    height, width = result.frame.pixels.shape[:2]
    header = json.dumps(
        {
            "number": shot.number,
            "lengths": [len(before), len(after), len(faces)],
            "size": [width, height],
            "restored_size": [result.restored.image.shape[1], result.restored.image.shape[0]],
            "seconds": round(result.frame.seconds, 3),
            "tile": TILE,
            "faces": said,
            "count": len(result.restored.faces),
            "restored": sum(face.decision == RESTORED for face in result.restored.faces),
            "error": result.error,
        }
    ).encode()
    return Packet(shot, b"".join((struct.pack(">I", len(header)), header, before, after, faces)), after)


def fitted(picture: RgbImage, longest: int) -> RgbImage:
    """`picture`, or a smaller one of the same shape whose longer side is `longest`."""
    share = longest / max(picture.shape[:2])
    if share >= 1:
        return picture
    size_wh = (max(1, round(share * picture.shape[1])), max(1, round(share * picture.shape[0])))
    return np.asarray(cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(picture: RgbImage, quality: int) -> bytes:
    """A JPEG file of uint8 (H, W, 3) RGB."""
    return cv2.imencode(".jpg", bgr_from_rgb(picture), (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


def png(picture: RgbImage) -> bytes:
    """A PNG file of uint8 (H, W, 3) RGB."""
    return cv2.imencode(".png", bgr_from_rgb(picture))[1].tobytes()
