"""A frame, from pixels to restored faces: detect -> align -> super-resolve.

```python
with Restorer.open() as restorer:
    for face in restorer(frame):  # uint8 (H, W, 3) RGB
        face.restored
```
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from typing_extensions import Self

from .bundle import FileEntry, ModelEntry, default_folder, open_bundle
from .detect import Detector, Face
from .engines import Engine, open_engine
from .errors import BundleError, EngineUnavailableError
from .geometry import Transform, crop_from_landmarks, native_size, warp
from .pixels import RgbImage

SMALL_FRAME = 640
"""A frame whose longer side is below this is searched at twice its size, where faces of 10 to 20 px are found."""


@dataclass(frozen=True, eq=False)
class RestoredFace:
    """One face of a frame and what became of it."""

    face: Face
    native_size: float
    """Side in frame pixels of the square that the aligned crop was taken from."""
    decision: str
    """`restored`, or why the face was left as it is."""
    model: str | None = None
    crop_from_frame: Transform | None = None
    """Aligned low-resolution crop from frame."""
    low: RgbImage | None = None
    """The model's input, uint8 (h, h, 3) RGB."""
    restored: RgbImage | None = None
    """The model's output, uint8 (H, H, 3) RGB."""


class Restorer:
    """Restores the faces of frames with the models of one bundle; a context manager that frees its engines."""

    def __init__(self, detector: Detector, engines: Sequence[tuple[ModelEntry, Engine]]) -> None:
        self._detector = detector
        self._engines = engines
        self._stack = ExitStack()

    @classmethod
    def open(cls, bundle: Path | None = None, *, engine: str = "onnxruntime", precision: str = "fp32") -> Self:
        """Open a bundle's detector and models; the default bundle comes with the package.

        Raises:
            BundleError: the bundle is damaged or newer than this program.
            EngineUnavailableError: the engine is not here, or a model is not in the bundle in that precision.
        """
        opened = open_bundle(bundle or default_folder())
        manifest = opened.manifest
        if not manifest.models:
            raise BundleError(f"{opened.folder}: holds no super-resolution model, expected at least one")
        with ExitStack() as stack:  # what was opened is closed if a later model cannot be
            engines = [
                (m, stack.enter_context(open_engine(engine, opened.path(_file(m, precision)), precision)))
                for m in manifest.models
            ]
            restorer = cls(Detector(opened.path(manifest.detector.model)), engines)
            restorer._stack = stack.pop_all()
        return restorer

    def __call__(self, frame: RgbImage) -> list[RestoredFace]:
        """Restore every face of a frame, best detection first.

        frame: uint8 (H, W, 3) RGB.
        """
        factor = 2 if max(frame.shape[:2]) < SMALL_FRAME else 1
        return [self._restore(frame, face) for face in self._detector.detect_upsampled(frame, factor)]

    def _restore(self, frame: RgbImage, face: Face) -> RestoredFace:
        native = 0.0
        for model, engine in self._engines:
            crop_from_frame = crop_from_landmarks(face.landmarks, model.framing, model.input_size)
            native = native_size(crop_from_frame, model.input_size)
            if model.native_from <= native < model.native_to:
                low = warp(frame, crop_from_frame, (model.input_size, model.input_size))
                restored = engine(low[np.newaxis])[0]
                return RestoredFace(face, native, "restored", model.name, crop_from_frame, low, restored)
        return RestoredFace(face, native, "no model helps at this size")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _file(model: ModelEntry, precision: str) -> FileEntry:
    if precision not in model.files:
        known = ", ".join(model.files)
        raise EngineUnavailableError(f"{model.name}: got precision {precision!r}, expected one of {known}")
    return model.files[precision]
