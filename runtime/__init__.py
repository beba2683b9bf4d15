"""From a picture to the same picture with its faces restored, without torch.

`Restorer.open()(frame)` restores the faces of a uint8 (H, W, 3) RGB frame; see `pipeline`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .options import RestoreOptions
    from .pipeline import RestoredFace, RestoredFrame, Restorer

__all__ = ["RestoreOptions", "RestoredFace", "RestoredFrame", "Restorer"]


def __getattr__(name: str) -> object:
    """Import the pipeline when it is first asked for, so that `fsr-run --help` need not."""
    if name in __all__:
        from . import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
