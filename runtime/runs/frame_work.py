"""One frame of a video or camera: restored, and recorded; a failure costs the frame its faces, not the run."""

from __future__ import annotations

from dataclasses import dataclass

from ..media.source import VideoFrame
from ..pipeline import RestoredFrame, enlarge
from ..pixels import RgbImage
from .compare import side_by_side
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
    """What is done with each frame of a run."""

    restore: Restore
    scale: int = 2

    def __call__(self, frame: VideoFrame) -> FrameResult:
        try:
            return FrameResult(frame, self.restore(frame.pixels))
        except Exception as error:  # a frame left out would be seen; one that is merely enlarged hardly is
            plain = RestoredFrame(enlarge(frame.pixels, self.scale), [], {})
            return FrameResult(frame, plain, reason(f"{frame.seconds:.2f} s", error))

    def compared(self, result: FrameResult) -> RgbImage:
        """Plain bicubic beside restored."""
        return side_by_side(enlarge(result.frame.pixels, self.scale), result.restored.image)
