"""One frame of a video or camera: restored, and recorded; a failure costs the frame its faces, not the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..media.source import VideoFrame
from ..moving import MovingChain, PreparedFrame
from ..options import RestoreOptions
from ..pipeline import RestoredFrame, Restorer, enlarge
from ..pixels import RgbImage
from ..track import Pace
from .compare import side_by_side
from .effort import keep_up
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

    def prepared(
        self, frames: Iterable[VideoFrame], *, live: bool = False, say: Callable[[str], None] | None = None
    ) -> Iterator[VideoFrame | PreparedFrame[VideoFrame]]:
        """What `self(...)` takes, for each frame, in order.

        live: no frame waits for later ones, and where they come too fast less is done; `say` is told in a sentence.
        """
        chain = self._chain(live)
        if chain is None:
            return iter(frames)
        paced = keep_up(frames, chain.tracker, say) if live else frames
        return chain(paced, lambda frame: frame.pixels)

    def _chain(self, live: bool) -> MovingChain | None:
        if not isinstance(self.restore, Restorer):
            return None
        return self.restore.moving(self.options_now, ahead=0 if live else Pace().search_every)

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
