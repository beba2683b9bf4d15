"""Cut what was chosen out of its moments: crops at every input size, portraits and views for the detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby

from ..runtime.engines import Network
from ..runtime.media.video import is_video
from ..runtime.pixels import RgbImage
from .crops import cut_crops
from .detector_frames import detector_view, portrait
from .look import Candidate
from .moments import Moment, video_moments


@dataclass(frozen=True, eq=False)
class Task:
    """A moment, the faces wanted of it by their rank in the set, and whether its view for the detector is."""

    moment: Moment
    faces: Mapping[int, Candidate]
    view: bool


@dataclass(frozen=True, eq=False)
class Pieces:
    """What was cut out of one moment."""

    crops: Mapping[int, Mapping[int, RgbImage]]
    """By rank and input size."""
    portraits: Mapping[int, RgbImage]
    """By rank."""
    rank: int
    """Of the moment's first face."""
    view: RgbImage | None


def tasks(chosen: Sequence[Candidate], views: int) -> Iterator[Task]:
    """The moments of the chosen faces, each once and videos in their order; the first `views` moments give a view."""
    wanted: dict[tuple[str, int], dict[int, Candidate]] = {}
    for rank, candidate in enumerate(chosen):
        wanted.setdefault(candidate.moment.key, {})[rank] = candidate
    with_view = set(list(wanted)[:views])
    for _, keys in groupby(sorted(wanted), key=lambda key: key[0]):
        of_source = {key: wanted[key] for key in keys}
        first = next(iter(next(iter(of_source.values())).values())).moment
        for moment in _moments(first, max(second for _, second in of_source)):
            if faces := of_source.get(moment.key):
                yield Task(moment, faces, moment.key in with_view)


def _moments(first: Moment, last_second: int) -> Iterator[Moment]:
    """The moments of one source; a video is read no further than needed."""
    if not is_video(first.source.path):
        yield first
        return
    with closing(video_moments(first.source)) as moments:
        for moment in moments:
            yield moment
            if moment.key[1] >= last_second:
                return


@dataclass(frozen=True, eq=False)
class Cut:
    """`cut(task)`; threads may share it."""

    network: Network
    """The detector's."""
    framing: str
    ranges: Mapping[int, tuple[float, float]]
    """Native sizes by input size; see `crops.native_ranges`."""
    seed: int

    def __call__(self, task: Task) -> Pieces:
        """Raises `InputError` if the file can no longer be read."""
        image = task.moment.read()
        return Pieces(
            {
                rank: cut_crops(image, face.landmarks, self.framing, self.ranges, face.random(self.seed))
                for rank, face in task.faces.items()
            },
            {rank: portrait(image, face.landmarks, face.width) for rank, face in task.faces.items()},
            min(task.faces),
            detector_view(self.network, image) if task.view else None,
        )
