"""Faces across the frames of a moving picture: who is who, where, and how much of it is shown.

cut? -> follow every face by its flow -> look again at some -> search the whole frame now and then -> new faces traced
back through the frames that still wait -> faces with number and opacity.

A face that enters between two searches is not missed where frames may wait (`ahead`): once found, it is followed
backwards to where it came in. Files wait, cameras do not.

What is seen (how a face fades, moves and is forgotten) goes by the seconds of the moving picture, at any rate and where
the rate changes; what is spent (how often is searched and looked) by its frames, for each costs the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .cuts import CutDetector
from .detect import Face
from .follow import Sights, begin, follow
from .geometry import iou
from .pixels import RgbImage
from .search import SAME_FACE, FaceSearch, FirstSight, FoundFace

F = TypeVar("F")

FRAME = 1 / 30
"""Seconds from frame to frame where nothing says when they are shown."""
UNEVEN = 2.0
"""Times as long or as short as the step before it that a step of motion may be: a face that is sought where a tremble
of a camera's clock leads, or the gap of a source that was lost, is not there."""
FADE = 1 / 6
"""Seconds in which a face comes or goes."""
GIVE_UP = 0.25
"""Seconds for which looks in a row may miss a face before it is forgotten; from the first on, there is one a frame."""
SAME_PLACE = 0.5
"""Overlap of two followed faces from which on the younger one is given up: both follow one."""
INSIDE, WHOLLY = 0.35, 0.6
"""Share of its box that must be in the picture for a face to be followed; up to the other one less of it is shown."""
HOLD = 0.06
"""Share by which a face must grow or shrink before its model is chosen anew."""


@dataclass(frozen=True)
class Pace:
    """How often the faces of a moving picture are looked for; the effort of tracking."""

    search_every: int = 10
    """Frames from one search of the whole picture to the next."""
    fine_every: int = 1
    """Searches from one at full size to the next; those between are at half size, which costs a quarter."""
    look_every: int = 5
    """Frames from one look at a face to the next."""


@dataclass
class _Track:
    """What is known of one face besides where it is."""

    number: int
    score: float
    reliable: bool
    opacity: float
    chosen_side: float
    """Side of its box for which its model was chosen."""
    missing: float = 0.0
    """Seconds for which looks have missed it, one frame counting from the one before."""

    def advance(self, side: float, seconds: float) -> None:
        """To the next frame, so many seconds later."""
        self.opacity = faded(self.opacity, seconds if self.reliable and not self.missing else -seconds)
        if abs(side / self.chosen_side - 1) > HOLD:
            self.chosen_side = side

    def found(self, face: Face, opacity: float, side: float) -> FoundFace:
        return FoundFace(
            face, self.reliable, track=self.number, opacity=opacity, held=self.chosen_side / max(side, 1e-6)
        )


@dataclass(frozen=True)
class Known:
    """What is known of a moving picture that was tracked before, so that its faces keep their numbers."""

    faces: Sequence[Mapping[int, Face]]
    """Of its first frames, by number."""
    next_number: int


@dataclass(eq=False)
class TrackedFrame(Generic[F]):
    """A frame and its faces; it changes while it waits for what the next ones show."""

    frame: F
    seconds: float
    """Since the frame before."""
    motion: float
    """The same, as far as motion goes by it."""
    faces: list[FoundFace] = field(default_factory=list)
    begins: bool = False
    """Whether it is the first of its shot."""
    milliseconds: float = 0.0
    error: Exception | None = None
    """Why its faces are not known."""


class Tracker:
    """`tracker(frames)` yields each frame with its faces, in order. It belongs to one moving picture and one thread."""

    def __init__(
        self, search: FaceSearch, pace: Pace | None = None, ahead: int = 0, known: Known | None = None
    ) -> None:
        """ahead: frames that may wait for a later one, which costs as much latency and the memory of as many.
        known: of a run over the same moving picture, whose numbers the faces take.
        """
        self.pace = pace or Pace()
        """May be changed at any time, from any thread."""
        self.ahead = ahead
        self._search, self._is_cut = search, CutDetector()
        self._tracks: list[_Track] = []
        self._sights: Sights | None = None
        self._time, self._last_search, self._searches = 0, 0, 0
        self._next_number = known.next_number if known else 1
        self._known = deque(known.faces if known else ())

    def __call__(
        self,
        frames: Iterable[F],
        pixels_of: Callable[[F], RgbImage],
        seconds_of: Callable[[F], float] | None = None,
    ) -> Iterator[TrackedFrame[F]]:
        """pixels_of: uint8 (H, W, 3) RGB of a frame, all of one size; a change of size begins a new shot.
        seconds_of: when it is shown, from any moment on; None: there are 30 a second.
        """
        waiting: deque[TrackedFrame[F]] = deque()
        before, motion = None, FRAME
        for frame in frames:
            now = None if seconds_of is None else seconds_of(frame)
            passed = FRAME if now is None or before is None else max(0.0, now - before)
            before, motion = now, min(UNEVEN * motion, max(motion / UNEVEN, passed))
            waiting.append(TrackedFrame(frame, passed, motion))
            start = perf_counter()
            try:
                self._track(waiting, pixels_of)
            except Exception as error:  # one frame loses its faces; the next begins anew
                waiting[-1].error = error
                self.begin_anew()
            waiting[-1].milliseconds = (perf_counter() - start) * 1e3
            while len(waiting) > self.ahead:
                yield waiting.popleft()
        yield from waiting

    def begin_anew(self) -> None:
        """Forget every face."""
        self._is_cut, self._tracks, self._sights = CutDetector(), [], None

    def _track(self, waiting: deque[TrackedFrame[F]], pixels_of: Callable[[F], RgbImage]) -> None:
        """Find the faces of the last of the frames that wait, and new ones in those before it."""
        now = waiting[-1]
        pixels = pixels_of(now.frame)
        now.begins, born = self._advance(pixels, now)
        if self._known:
            self._take_numbers(self._known.popleft())
        now.faces = self._shown(pixels)
        if born and not now.begins:
            self._trace_back(born, pixels, waiting, pixels_of)

    def _advance(self, pixels: RgbImage, now: TrackedFrame[F]) -> tuple[bool, list[_Track]]:
        """To the next frame: whether a shot begins with it, and the tracks that do."""
        self._time += 1
        begins = self._is_cut(pixels)
        if begins or self._sights is None:
            self._tracks, self._sights = [], begin(pixels, [])
        else:
            self._follow(pixels, now)
        if begins or self._time - self._last_search >= self.pace.search_every:
            self._last_search = self._time
            return begins, self._search_whole(pixels, 1.0 if begins else 0.0)
        return begins, []

    def _follow(self, pixels: RgbImage, now: TrackedFrame[F]) -> None:
        """Move every track to this frame, and end those that are gone."""
        sights = self._sights_now
        every = self.pace.look_every
        due = [
            n for n, track in enumerate(self._tracks) if sights.missed[n] or (self._time + track.number) % every == 0
        ]
        sights = follow(pixels, sights, self._search.closer, now.motion, due)
        for n in due:
            self._tracks[n].reliable |= not sights.missed[n]
        for track, missed in zip(self._tracks, sights.missed, strict=True):
            track.missing = track.missing + now.seconds if missed else 0.0
        missing = np.array([track.missing for track in self._tracks])
        inside = shares_inside(sights.boxes_xyxy, pixels)
        self._keep(without_doubles(sights, np.flatnonzero((missing < GIVE_UP) & (inside >= INSIDE))), sights)
        for track, side in zip(self._tracks, sides(self._sights_now), strict=True):
            track.advance(float(side), now.seconds)

    def _search_whole(self, pixels: RgbImage, opacity: float) -> list[_Track]:
        """Find new faces in the whole picture; returns their tracks."""
        sights = self._sights_now
        self._searches = 0 if opacity else self._searches + 1
        seen = self._search.first_look(pixels, 1.0 if self._searches % self.pace.fine_every == 0 else 0.5)
        pairs = matched(sights.boxes_xyxy, [each.face for each in seen])
        for n, index in pairs.items():
            if self._search.is_face(seen[index].face):  # a suspicion is proof enough that a known face is still there
                self._tracks[n].score = seen[index].face.score
            sights.missed[n] = 0
        fresh = [
            each
            for index, each in enumerate(seen)
            if index not in pairs.values() and not (iou(each.face.box_xyxy, sights.boxes_xyxy) > SAME_FACE).any()
        ]
        return self._begin(pixels, fresh, opacity)

    def _take_numbers(self, faces: Mapping[int, Face]) -> None:
        """Of faces that were known by them when they were at the same places."""
        numbers = [*faces]
        for n, index in matched(self._sights_now.boxes_xyxy, [*faces.values()]).items():
            mine = self._tracks[n]
            for other in self._tracks:
                if other is not mine and other.number == numbers[index]:
                    other.number = self._new_number()
            mine.number = numbers[index]

    def _new_number(self) -> int:
        self._next_number += 1
        return self._next_number - 1

    def _begin(self, pixels: RgbImage, fresh: Sequence[FirstSight], opacity: float) -> list[_Track]:
        found = self._search.look_closer(pixels, fresh)
        new = begin(pixels, [each.face for each in found])
        born = []
        for each, side in zip(found, sides(new), strict=True):
            born.append(_Track(self._new_number(), each.face.score, each.reliable, opacity, float(side)))
        self._sights = self._sights_now.with_more(new)
        self._tracks = [*self._tracks, *born]
        return born

    def _trace_back(
        self,
        born: Sequence[_Track],
        pixels: RgbImage,
        waiting: deque[TrackedFrame[F]],
        pixels_of: Callable[[F], RgbImage],
    ) -> None:
        """Follow new faces back through the waiting frames of their shot, and let them fade in from there on."""
        count = len(self._tracks) - len(born)
        sights, live = self._sights_now.take(range(count, len(self._tracks))), list(born)
        traces: dict[int, list[tuple[TrackedFrame[F], FoundFace, bool]]] = {track.number: [] for track in born}
        back = [*waiting][::-1]
        for step, (past, later) in enumerate(zip(back[1:], back, strict=False)):
            if later.begins or not live:
                break
            due = range(len(live)) if step % 3 == 0 else ()
            sights = follow(pixels_of(past.frame), sights, self._search.closer, later.motion, list(due))
            known = np.array([face.face.box_xyxy for face in past.faces]).reshape(-1, 4)
            inside = shares_inside(sights.boxes_xyxy, pixels)
            edge, kept = at_the_edge(inside), []
            for n, track in enumerate(live):
                taken = (iou(sights.boxes_xyxy[n], known) > SAME_FACE).any()
                if sights.missed[n] or inside[n] < INSIDE or taken:
                    continue
                kept.append(n)
                side = float(sides(sights)[n])
                traces[track.number].append((past, track.found(sights.face(n, track.score), edge[n], side), bool(due)))
            live, sights = [live[n] for n in kept], sights.take(kept)
        for track in born:
            self._show_traced(track, traces[track.number], waiting[-1].seconds)
        waiting[-1].faces[:] = self._shown(pixels)

    def _show_traced(self, track: _Track, trace: list[tuple[TrackedFrame[F], FoundFace, bool]], seconds: float) -> None:
        """Show a new face from the earliest frame in which the detector saw it, more and more of it.

        seconds: from the last frame of the trace to the one in which it was found.
        """
        while trace and not trace[-1][2]:
            trace.pop()
        opacity = 1.0 if trace and trace[-1][0].begins else 0.0
        for past, found, _ in reversed(trace):
            opacity = faded(opacity, past.seconds)
            past.faces.append(replace(found, opacity=opacity * found.opacity))
        track.opacity = faded(opacity, seconds) if track.reliable else 0.0

    def _shown(self, pixels: RgbImage) -> list[FoundFace]:
        """The faces of the frame that was last looked at, the one longest known first."""
        sights = self._sights_now
        edge = at_the_edge(shares_inside(sights.boxes_xyxy, pixels))
        return [
            track.found(sights.face(n, track.score), track.opacity * edge[n], float(side))
            for n, (track, side) in enumerate(zip(self._tracks, sides(sights), strict=True))
            if track.opacity > 0 or not sights.missed[n]
        ]

    def _keep(self, kept: Sequence[int], sights: Sights) -> None:
        self._sights = sights.take(kept) if len(kept) < len(sights) else sights
        self._tracks = [self._tracks[n] for n in kept]

    @property
    def _sights_now(self) -> Sights:
        assert self._sights is not None
        return self._sights


def faded(opacity: float, seconds: float) -> float:
    """That much later; earlier in its course where `seconds` are less than 0."""
    return round(min(1.0, max(0.0, opacity + seconds / FADE)), 6)  # whole after as many frames as make up `FADE`


def matched(boxes_xyxy: NDArray[np.float64], faces: Sequence[Face]) -> dict[int, int]:
    """Index of a face for the index of each box that has one, the largest overlaps first, each face once."""
    overlaps = np.array([iou(face.box_xyxy, boxes_xyxy) for face in faces]).reshape(len(faces), len(boxes_xyxy))
    pairs: dict[int, int] = {}
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        face, box = divmod(int(flat), max(1, len(boxes_xyxy)))
        if overlaps[face, box] < SAME_FACE:
            break
        if box not in pairs and face not in pairs.values():
            pairs[box] = face
    return pairs


def sides(sights: Sights) -> NDArray[np.float64]:
    """(N,): of a square as large as each box."""
    return np.sqrt((sights.boxes_xyxy[:, 2:] - sights.boxes_xyxy[:, :2]).prod(1))


def shares_inside(boxes_xyxy: NDArray[np.float64], pixels: RgbImage) -> NDArray[np.float64]:
    """(N,): share of each box that lies in the picture."""
    limit = np.array(pixels.shape[1::-1]) - 0.5
    corners = np.minimum(np.maximum(boxes_xyxy.reshape(-1, 2, 2), -0.5), limit)
    inside, whole = corners[:, 1] - corners[:, 0], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    return inside[:, 0] * inside[:, 1] / np.maximum(whole[:, 0] * whole[:, 1], 1e-6)


def at_the_edge(inside: NDArray[np.float64]) -> list[float]:
    """Opacity of faces of which that share is in the picture."""
    return np.minimum(1, np.maximum(0, (inside - INSIDE) / (WHOLLY - INSIDE))).tolist()


def without_doubles(sights: Sights, numbers: NDArray[np.intp]) -> list[int]:
    """Those of `numbers` that lie on no older one: the younger of two that follow one face is given up."""
    boxes, kept = sights.boxes_xyxy, []
    near = sides(sights)
    centres = sights.centres
    for n in numbers.tolist():
        close = [k for k in kept if abs(centres[n, 0] - centres[k, 0]) < near[n] > abs(centres[n, 1] - centres[k, 1])]
        if not close or not (iou(boxes[n], boxes[close]) > SAME_PLACE).any():
            kept.append(n)
    return kept
