"""A synthetic moving scene whose truth is known: what `test://` shows, and what tests and measurements compare with.

Faces of public-domain pictures enter, leave, move by up to `speed` pixels a frame, and all change at a cut. Every
frame is what a camera would send of it: with noise, and encoded as H.264 and decoded again.

```python
scene = TestScene(faces=4, seconds=10)
for number, pixels in enumerate(scene.frames()):
    scene.truth(number)  # ids, boxes, landmarks, and the faces at full size
    scene.clean(number, scale=2)  # the frame as it would be without noise, compression or small pixels
```
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..geometry import Transform, scale_of, scaling, transform_points
from ..geometry import compose as composed
from ..pixels import RgbImage
from .scene_motion import Path, plan
from .scene_people import CAST, Person, background, people, seen
from .scene_wear import worn

APPEARANCES = 1_000_000
"""Ids that one face of one shot may take."""


@dataclass(frozen=True, eq=False)
class TrueFace:
    """One face of one frame, as it is."""

    id: int
    """The same from its entry to its exit, or to the cut; a face that comes back has another."""
    person: Person
    frame_from_crop: Transform
    """From the 128 px crop of the person, framed as `runtime`."""
    box_xyxy: NDArray[np.float64]
    """(4,): as the detector boxes the crop, brought into the frame; it may reach beyond."""
    landmarks: NDArray[np.float64]
    """(5, 2), in frame pixels."""
    visible: float
    """Share of the box that is inside the frame, above 0 to 1."""

    @property
    def crop(self) -> RgbImage:
        """The face at full size, uint8 (128, 128, 3) RGB."""
        return self.person.crop


@dataclass(frozen=True)
class TestScene:
    """A scene; the same arguments give the same pixels and the same truth."""

    __test__: ClassVar[bool] = False  # pytest collects classes of such a name

    faces: int = 4
    size_wh: tuple[int, int] = (1280, 720)
    rate: Fraction = Fraction(30)
    seconds: float | None = None
    """None: without end."""
    speed: float = 8.0
    """Of the fastest face, in pixels a frame."""
    cuts: float = 5.0
    """Seconds of a shot; 0: no cut."""
    noise: float = 3.0
    """Standard deviation in grey levels."""
    crf: int = 26
    """Of the H.264 that every frame has been; 0: none, and PyAV is not needed."""
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("faces", self.faces, 0 <= self.faces <= len(CAST), f"0 to {len(CAST)}"),
            (
                "size",
                self.size_wh,
                all(64 <= s <= 7680 and s % 2 == 0 for s in self.size_wh),
                "even sides of 64 to 7680",
            ),
            ("fps", self.rate, 1 <= self.rate <= 240, "1 to 240"),
            ("seconds", self.seconds, self.seconds is None or self.seconds > 0, "more than 0"),
            ("speed", self.speed, 0 <= self.speed <= 64, "0 to 64 pixels a frame"),
            ("cuts", self.cuts, self.cuts >= 0, "seconds from cut to cut, or 0"),
            ("noise", self.noise, 0 <= self.noise <= 40, "0 to 40 grey levels"),
            ("crf", self.crf, 0 <= self.crf <= 51, "0 (none) to 51"),
            ("seed", self.seed, self.seed >= 0, "0 or more"),
        )
        for name, got, holds, expected in checks:
            if not holds:
                raise UsageError(f"test://?{name}: got {got}, expected {expected}")

    @property
    def count(self) -> int | None:
        """Of its frames; None: without end."""
        return None if self.seconds is None else max(1, round(self.seconds * self.rate))

    def frames(self) -> Iterator[RgbImage]:
        """uint8 (H, W, 3) RGB from the first on, as a camera would send them; each may be kept."""
        return worn(self._all_clean(), self.rate, self.noise, self.crf, self.seed)

    def truth(self, number: int) -> list[TrueFace]:
        """What is to be seen in frame `number`, the farther of two faces first."""
        placed = (self._true_face(number, slot, path) for slot, path in enumerate(self._paths(self.shot(number))))
        return [face for face in placed if face.visible > 0]

    def clean(self, number: int, scale: int = 1) -> RgbImage:
        """Frame `number` without noise and compression, with `scale` times as many pixels each way."""
        shot = self.shot(number)
        canvas = _background(self.seed, shot, self.size_wh, scale).copy()
        cast = self._cast(shot)
        for slot, path in enumerate(self._paths(shot)):
            here = path.frame_from_crop(self._time(number))
            people()[cast[slot]].paste(canvas, composed(scaling(scale), here))
        return canvas

    def shot(self, number: int) -> int:
        """Which shot frame `number` is of; a cut lies where it changes."""
        return number // self._shot_frames if self.cuts else 0

    @property
    def _shot_frames(self) -> int:
        return max(1, round(self.cuts * self.rate))

    def _time(self, number: int) -> float:
        return number % self._shot_frames if self.cuts else number

    def _paths(self, shot: int) -> list[Path]:
        return _planned(self.seed, shot, self.faces, self.size_wh, self.speed)

    def _cast(self, shot: int) -> list[int]:
        return np.random.default_rng([self.seed, shot, 1]).permutation(len(CAST)).tolist()

    def _all_clean(self) -> Iterator[RgbImage]:
        number = 0
        while self.count is None or number < self.count:
            yield self.clean(number)
            number += 1

    def _true_face(self, number: int, slot: int, path: Path) -> TrueFace:
        shot, time = self.shot(number), self._time(number)
        who = self._cast(shot)[slot]
        frame_from_crop = path.frame_from_crop(time)
        box_xyxy = _box(frame_from_crop, seen(who).box_xyxy)
        landmarks = transform_points(frame_from_crop, seen(who).landmarks)
        identity = (shot * self.faces + slot) * APPEARANCES + path.appearance(time)
        visible = _share_inside(box_xyxy, self.size_wh)
        return TrueFace(identity, people()[who], frame_from_crop, box_xyxy, landmarks, visible)


@lru_cache(maxsize=4)
def _background(seed: int, shot: int, size_wh: tuple[int, int], scale: int) -> RgbImage:
    return background(np.random.default_rng([seed, shot, 2]), size_wh, scale)


@lru_cache(maxsize=64)
def _planned(seed: int, shot: int, faces: int, size_wh: tuple[int, int], speed: float) -> list[Path]:
    return plan(np.random.default_rng([seed, shot, 3]), faces, size_wh, speed) if faces else []


def _box(target_from_source: Transform, box_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    """A box of the same size as the turned one, about its middle: what a detector of upright boxes sees."""
    middle = transform_points(target_from_source, (box_xyxy[:2] + box_xyxy[2:]) / 2)
    half = (box_xyxy[2:] - box_xyxy[:2]) / 2 * scale_of(target_from_source)
    return np.concatenate([middle - half, middle + half])


def _share_inside(box_xyxy: NDArray[np.float64], size_wh: tuple[int, int]) -> float:
    limit = np.array(size_wh) - 0.5
    inside = np.clip(box_xyxy[2:], -0.5, limit) - np.clip(box_xyxy[:2], -0.5, limit)
    return float(inside.prod() / (box_xyxy[2:] - box_xyxy[:2]).prod())
