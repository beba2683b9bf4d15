"""Find the faces of a frame down to a given width, and place the landmarks of small ones well.

passes at several sizes -> tiles -> overlaps suppressed -> a second look at each small face, enlarged, which also says
what of the merely suspected is one -> a look at each doubtful face from all four sides.

YuNet finds 98 of 100 faces that are 24 px wide in its input, 83 of 16 px and 70 of 14 px, by its usual score of .6. But
it suspects, with a score of .07, 97 of 100 from 14 px on, and half a dozen other places in a frame. So the frame is
brought to the size where the smallest faces are 14 px wide, and what is suspected is cut out, enlarged to 64 px and
detected again: a face must score .8 there. Of 1,760 faces of CelebA and the US Congress put into 220 photographs, 12 to
80 px wide and from the smallest on, that finds 99.0 to 99.8%, with .03 to .12 others a picture; one pass at the size
where the smallest are 24 px wide, at three times the arithmetic, finds 98.1 to 100%, with .03 to .07.

The second look also places the landmarks: at a width of 12, 16 and 24 px their mean error falls from .18, .14 and .13
of the eye distance to .10, .08 and .08. Measured on 209 portraits of CelebA and the US Congress, against the points
found in the full-size picture.

YuNet draws an upright face whatever it sees: from 60 degrees of roll on its landmarks are wrong by more than half the
eye distance, and no misfit shows it. But a face seen the right way up scores higher. On 40 portraits of the US
Congress, 20 and 45 px wide, rolled by 60, 90, 180 and 270 degrees, 180 faces were found; without the look from all
sides 3 of them had landmarks within .4 of the eye distance, with it 157 have, and 11 are left alone. At 0 and 15
degrees all 160 stayed right; at 45, between two turns, a third is placed wrongly still.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .detect import Detector, Face
from .geometry import Transform, invert, iou, scaling, suppress_overlaps, transform_points
from .look import look_at, sample, turned
from .pixels import RgbImage, check_rgb

DETECTABLE = 14.0
"""Width in pixels from which the detector suspects nearly every face."""
SUSPECTED = 0.07
"""Its score from which on a place is looked at again; from its own threshold on it is taken for a face already."""
CONFIRMED = 0.8
"""Score of the second look from which on what was suspected is a face."""
TILE_LONG, TILE_SHORT = 1280, 736
"""Sides of the most that the detector sees at once; bounds its memory, and smaller ones stay in the CPU's cache."""
OVERLAP = 128
"""Of neighbouring tiles; a face narrower than this is whole in one of them."""
COARSER = 4
"""Ratio between the sizes of passes; a face too large for the tiles of one is small in the next."""
WIDEST = 320.0
"""Width in the detector's input up to which it is believed where a coarser pass follows. Of faces from 400 px on it
sees a part, with landmarks .7 eye distances off, and a space shuttle 450 px wide scored .64."""

LOOK_BELOW = 48.0
"""Width in the detector's input below which a face is looked at again."""
LOOK_BATCH = 16
AROUND_SIDE = 64
"""Side of the same square in the look from all sides, which serves as well and costs half as much."""
SURE_SCORE = 0.87
"""Of the detector, from which on a face is taken to stand upright. A look around costs a thirtieth of a 720p frame."""
SURE_LOOK = 0.9
"""Of a second look, in which upright faces score higher: at most 4 of 177 stayed below both, all 16 turned ones did."""
MAYBE_TURNED = 0.3
"""Score below which no look around is spent on what the second look did not confirm."""
TURNED_SCORE = 0.87
"""Of a face seen after a quarter turn or a half, from which on it is one; between two of them none is reached."""
SAME_FACE = 0.3
"""Least overlap of what both looks found."""


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face in frame pixels, and whether a second look agreed with the first."""

    face: Face
    reliable: bool
    look_score: float = 0.0
    """Of the second look; 0 without one."""
    track: int | None = None
    """Number of the face in a moving picture, the same from frame to frame; None in a picture of its own."""
    opacity: float = 1.0
    """Of what is pasted: 0 to 1, less than 1 while a face of a moving picture comes or goes."""
    held: float = 1.0
    """Multiple of its size by which its model is chosen; keeps a face that grows and shrinks with one model."""


@dataclass(frozen=True, eq=False)
class FirstSight:
    """A face in frame pixels, and the size of the frame, in multiples of its own, at which it was seen."""

    face: Face
    scale: float


class FaceSearch:
    """`search(frame)` returns the faces of a frame from `min_face` pixels on, best score first."""

    def __init__(self, detector: Detector, min_face: float, closer: Detector | None = None) -> None:
        """closer: the detector of the closer looks, which place the landmarks; `detector` by default."""
        self._detector, self.closer = detector, closer or detector
        self.scale = DETECTABLE / min_face
        """Size of the first pass, in multiples of the frame's."""

    def __call__(self, frame: RgbImage) -> list[FoundFace]:
        """frame: uint8 (H, W, 3) RGB.

        Raises:
            TypeError: `frame` is not that.
        """
        check_rgb(frame, "frame")
        return self.look_closer(frame, self.first_look(frame))

    def first_look(self, frame: RgbImage, share: float = 1.0) -> list[FirstSight]:
        """What the detector sees or suspects in the whole frame, best score first.

        share: of the usual size to search it at.
        """
        passes = pass_scales(self.scale * share, (frame.shape[1], frame.shape[0]))
        seen = [FirstSight(face, scale) for scale in passes for face in self._at_scale(frame, scale)]
        seen = [each for each in seen if each.scale == passes[-1] or width_of(each.face) * each.scale <= WIDEST]
        seen = [each for each in seen if self.is_face(each.face) or (each.scale == passes[0] and is_small(each))]
        boxes = np.array([each.face.box_xyxy for each in seen]).reshape(-1, 4)
        kept = suppress_overlaps(boxes, [each.face.score for each in seen], self._detector.max_iou)
        return [seen[i] for i in kept]

    def is_face(self, face: Face) -> bool:
        """Whether the detector takes it for a face, and does not merely suspect one."""
        return face.score >= self._detector.score_threshold

    def look_closer(self, frame: RgbImage, seen: Sequence[FirstSight]) -> list[FoundFace]:
        """Look again at what was seen small, from all sides at what is doubtful, and drop what turns out no face."""
        found = [FoundFace(each.face, True) for each in seen]
        small = [n for n, each in enumerate(seen) if is_small(each)]
        for n, second in zip(small, self.look_again(frame, [found[n].face for n in small]), strict=True):
            found[n] = second
        doubtful = [n for n, each in enumerate(found) if is_doubtful(each)]
        for n, seen_around in zip(doubtful, self.look_around(frame, [found[n] for n in doubtful]), strict=True):
            found[n] = seen_around
        return self._without_illusions(found)

    def _without_illusions(self, found: Sequence[FoundFace]) -> list[FoundFace]:
        """Faces, best score first, each once: no unconfirmed suspicions, nor two looks that ended at one face."""
        suspicions = [each for each in found if not self.is_face(each.face) and each.look_score >= CONFIRMED]
        faces = [each for each in found if self.is_face(each.face)]
        faces += [replace(each, face=replace(each.face, score=each.look_score)) for each in suspicions]
        boxes = np.array([each.face.box_xyxy for each in faces]).reshape(-1, 4)
        kept = suppress_overlaps(boxes, [each.face.score for each in faces], self._detector.max_iou)
        return [faces[i] for i in kept]

    def _at_scale(self, frame: RgbImage, scale: float) -> Iterator[Face]:
        """Faces of one pass, in frame pixels."""
        size_wh = scaled((frame.shape[1], frame.shape[0]), scale)
        pass_from_frame = scaling(size_wh[0] / frame.shape[1], size_wh[1] / frame.shape[0])
        shrunk = reduced(frame, size_wh) if scale < 1 else frame
        for left, top, right, bottom in tiles(*size_wh):
            tile_from_frame = pass_from_frame - np.array([[0, 0, left], [0, 0, top]])
            if scale > 1:  # tile by tile: the whole frame enlarged might not fit into memory
                view = sample(frame, tile_from_frame, (right - left, bottom - top))
            else:
                view = np.asarray(shrunk[top:bottom, left:right], np.uint8)
            frame_from_tile = invert(tile_from_frame)
            for face in self._detector(view, SUSPECTED):
                if not cut_off(face.box_xyxy, (left, top, right, bottom), size_wh):
                    yield moved(face, frame_from_tile)

    def look_again(self, frame: RgbImage, faces: Sequence[Face]) -> Iterator[FoundFace]:
        """Detect each face anew in a square cut out around it; one that is not found there is not reliable."""
        for start in range(0, len(faces), LOOK_BATCH):
            batch = faces[start : start + LOOK_BATCH]
            views, frame_from_view = zip(*(look_at(frame, face.box_xyxy) for face in batch), strict=True)
            for face, back, seen in zip(batch, frame_from_view, self.closer.in_batch(np.stack(views)), strict=True):
                yield confirmed(face, [moved(second, back) for second in seen])

    def look_around(self, frame: RgbImage, found: Sequence[FoundFace]) -> Iterator[FoundFace]:
        """Detect each face anew, upright and turned by 90, 180 and 270 degrees, and take what suits it best."""
        for start in range(0, len(found), LOOK_BATCH // 4):
            batch = found[start : start + LOOK_BATCH // 4]
            upright = [look_at(frame, each.face.box_xyxy, AROUND_SIDE) for each in batch]
            looks = [turned(*look, quarters) for look in upright for quarters in range(4)]
            seen = self.closer.in_batch(np.stack([view for view, _ in looks]))
            seen = [[moved(face, back) for face in faces] for (_, back), faces in zip(looks, seen, strict=True)]
            for n, each in enumerate(batch):
                yield best_turn(each, seen[4 * n : 4 * n + 4])


def pass_scales(first: float, size_wh: tuple[int, int]) -> list[float]:
    """Sizes to search a frame at: the first, then coarser ones until all of it is seen at once."""
    scales = [first]
    while len(list(tiles(*scaled(size_wh, scales[-1])))) > 1:
        scales.append(scales[-1] / COARSER)
    return scales


def scaled(size_wh: tuple[int, int], scale: float) -> tuple[int, int]:
    """In whole pixels, at least one."""
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """left, top, right, bottom of overlapping tiles of about one size that cover a picture."""
    wide = width >= height
    for top, bottom in _spans(height, TILE_SHORT if wide else TILE_LONG):
        for left, right in _spans(width, TILE_LONG if wide else TILE_SHORT):
            yield left, top, right, bottom


def _spans(length: int, longest: int) -> list[tuple[int, int]]:
    count = max(1, -(-(length - OVERLAP) // (longest - OVERLAP)))
    size = -(-(length + (count - 1) * OVERLAP) // count)
    starts = np.linspace(0, length - size, count).round().astype(int).tolist()
    return [(start, start + size) for start in starts]


def cut_off(box_xyxy: NDArray[np.float32], tile: tuple[int, int, int, int], size_wh: tuple[int, int]) -> bool:
    """Whether a box (in pixels of its tile) reaches an edge of the tile beyond which the picture goes on."""
    left, top, right, bottom = tile
    x0, y0, x1, y1 = box_xyxy.tolist()
    before = (left > 0 and x0 < 1) or (top > 0 and y0 < 1)
    after = (right < size_wh[0] and x1 > right - left - 2) or (bottom < size_wh[1] and y1 > bottom - top - 2)
    return before or after


def reduced(frame: RgbImage, size_wh: tuple[int, int]) -> RgbImage:
    """Shrink a frame for the detector: by a whole number with means, the rest, less than a half, with linear samples.

    Means over parts of pixels take eight times as long, and as many faces are found.
    """
    whole = min(frame.shape[1] // size_wh[0], frame.shape[0] // size_wh[1])
    if whole > 1:
        means_wh = frame.shape[1] // whole, frame.shape[0] // whole
        frame = np.asarray(
            cv2.resize(frame[: means_wh[1] * whole, : means_wh[0] * whole], means_wh, interpolation=cv2.INTER_AREA),
            np.uint8,
        )
    return np.asarray(cv2.resize(frame, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)


def confirmed(first: Face, seen: Sequence[Face]) -> FoundFace:
    """`first` with the box and landmarks of the face seen most nearly in its place, if there is one."""
    if (best := same_face(first, seen)) is None:
        return FoundFace(first, False)
    return FoundFace(Face(best.box_xyxy, best.landmarks, first.score), True, best.score)


def same_face(first: Face, seen: Sequence[Face]) -> Face | None:
    """Of the faces seen the one most nearly in the place of `first`."""
    overlaps = iou(first.box_xyxy, np.array([face.box_xyxy for face in seen]))
    return seen[int(overlaps.argmax())] if len(seen) and overlaps.max() >= SAME_FACE else None


def best_turn(first: FoundFace, seen: Sequence[Sequence[Face]]) -> FoundFace:
    """`first`, or the face in its place that was seen better turned; not reliable where it hangs between two turns.

    seen: upright, then turned, in frame pixels.
    """
    upright, *turned = (same_face(first.face, faces) for faces in seen)
    best = max((face for face in turned if face is not None), key=lambda face: face.score, default=None)
    if best is None or (upright is not None and upright.score >= best.score):
        return first
    if best.score < TURNED_SCORE:
        return replace(first, reliable=False)
    return FoundFace(Face(best.box_xyxy, best.landmarks, first.face.score), True, best.score)


def moved(face: Face, target_from_source: Transform) -> Face:
    """The face in other pixels; the transform scales, shifts and turns by quarters."""
    points = np.concatenate([face.box_xyxy.reshape(2, 2), face.landmarks])
    points = transform_points(target_from_source, points).astype(np.float32)
    return Face(np.sort(points[:2], axis=0).reshape(4), points[2:], face.score)


def is_doubtful(found: FoundFace) -> bool:
    """Whether it is looked at from all sides."""
    score = max(found.face.score, found.look_score)
    return score >= MAYBE_TURNED and found.face.score < SURE_SCORE and found.look_score < SURE_LOOK


def is_small(seen: FirstSight) -> bool:
    """Whether it is looked at again."""
    return width_of(seen.face) * seen.scale < LOOK_BELOW


def width_of(face: Face) -> float:
    return float(face.box_xyxy[2] - face.box_xyxy[0])
