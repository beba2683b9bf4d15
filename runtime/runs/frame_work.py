"""One frame of a video or camera: restored, and recorded; a failure costs the frame its faces, not the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..media.source import VideoFrame
from ..moving import PreparedFrame
from ..options import RestoreOptions
from ..pipeline import RestoredFrame, Restorer, enlarge
from ..pixels import RgbImage
from ..track import Known, Pace
from .compare import side_by_side
from .effort import Effort, KeepUp
from .failure import reason
from .picture_work import Restore
from .records import Record, face_record, rounded_milliseconds


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What became of one frame."""

    frame: VideoFrame
    restored: RestoredFrame
    """Merely enlarged where the frame failed."""
    error: str | None = None

    def record(self, number: int) -> Record:
        """Its line; frames count from 0."""
        where: Record = {"frame": number, "seconds": round(self.frame.seconds, 4)}
        if self.error is not None:
            return {**where, "error": self.error}
        faces = [face_record(face) for face in self.restored.faces]
        return {**where, "faces": faces, "milliseconds": rounded_milliseconds(self.restored.milliseconds)}


@dataclass(frozen=True)
class FrameWork:
    """What is done with the frames of a run: `prepared` one after the other, the rest of each by itself.

    The faces of a moving picture are tracked where `restore` is a `Restorer`; a stand-in restores frame by frame.
    """

    restore: Restore
    scale: int = 2
    options_now: Callable[[], RestoreOptions] | None = None
    """Asked once a frame for the options it is restored with; None: the restorer's own."""
    keeps_tier: bool = True
    """Of the models, even where a live source cannot be kept up with."""
    tell: Callable[[Effort], None] = lambda _: None
    """Told when less or more is done for a frame."""

    def prepared(
        self,
        frames: Iterable[VideoFrame],
        *,
        live: bool = False,
        say: Callable[[str], None] = lambda _: None,
        known: Known | None = None,
    ) -> Iterator[VideoFrame | PreparedFrame[VideoFrame]]:
        """What `self(...)` takes, for each frame, in order.

        live: no frame waits for later ones, and where they come too fast less is done; `say` is told in a sentence.
        known: what an earlier run knew of the first of `frames`.
        """
        if not isinstance(self.restore, Restorer):
            return iter(frames)
        chain = self.restore.moving(self.options_now, ahead=0 if live else Pace().search_every, known=known)
        if chain is None:
            return iter(frames)
        lighter = self.restore.lighter if self.restore.has_lighter and not self.keeps_tier else None
        paced = KeepUp(chain, lighter, say, self.tell)(frames) if live else frames
        return chain(paced, lambda frame: frame.pixels, lambda frame: frame.seconds)

    def warm_up(self, size_wh: tuple[int, int]) -> None:
        """Make ready for frames of that size, ahead of the first."""
        if isinstance(self.restore, Restorer):
            self.restore.warm_up(size_wh)

    def __call__(self, item: VideoFrame | PreparedFrame[VideoFrame]) -> FrameResult:
        frame = item.frame if isinstance(item, PreparedFrame) else item
        try:
            if isinstance(item, PreparedFrame) and isinstance(self.restore, Restorer):
                return FrameResult(frame, self.restore.finish(frame.pixels, item))
            return FrameResult(frame, self.restore(frame.pixels))
        except Exception as error:  # a frame left out would be seen; one that is merely enlarged hardly is
            scale = item.options.scale if isinstance(item, PreparedFrame) else self.scale
            plain = RestoredFrame(enlarge(frame.pixels, scale), [], {})
            return FrameResult(frame, plain, reason(f"{frame.seconds:.2f} s", error))

    def compared(self, result: FrameResult) -> RgbImage:
        """Plain bicubic beside restored."""
        return side_by_side(enlarge(result.frame.pixels, self.scale), result.restored.image)
