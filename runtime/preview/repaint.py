"""A held picture with another strength or scale: its faces pasted anew, not looked for or restored again."""

from __future__ import annotations

from dataclasses import replace

from ..options import RestoreOptions
from ..pipeline import enlarge, paste_face
from ..runs.frame_work import FrameResult


def repainted(result: FrameResult, options: RestoreOptions) -> FrameResult:
    """`result` as it would be with the strength and scale of `options`; when it was captured counts no more."""
    image = enlarge(result.frame.pixels, options.scale)
    for face in sorted(result.restored.faces, key=lambda face: face.native_size):
        paste_face(image, face, options)
    return replace(result, frame=replace(result.frame, captured=None), restored=replace(result.restored, image=image))
