"""What a user may choose about the restoration of a frame."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UsageError


@dataclass(frozen=True)
class RestoreOptions:
    """Choices that shape the restored picture, the same for pictures, videos and cameras."""

    scale: int = 2
    """Enlargement of the whole picture: 1 to 8."""
    min_face: float = 16.0
    """Width in pixels of the smallest face that is searched for: 8 or more. Smaller costs more time."""
    max_faces: int | None = None
    """Restore at most this many, the largest; None: all."""
    only_center: bool = False
    """Restore only the face nearest to the middle of the picture."""
    strength: float = 1.0
    """Share of the restored face in what is pasted: 0 (nothing changes) to 1."""

    def __post_init__(self) -> None:
        if self.scale not in range(1, 9):
            raise UsageError(f"--scale: got {self.scale}, expected a whole number from 1 to 8")
        if not 8 <= self.min_face < float("inf"):
            raise UsageError(f"--min-face: got {self.min_face}, expected 8 pixels or more")
        if self.max_faces is not None and self.max_faces < 1:
            raise UsageError(f"--max-faces: got {self.max_faces}, expected 1 or more")
        if not 0 <= self.strength <= 1:
            raise UsageError(f"--strength: got {self.strength}, expected 0 to 1")
