"""Stand-ins that need no model: an engine that is watched, and a search that is told what it finds."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from fsr.runtime.bundle import FileEntry, ModelEntry
from fsr.runtime.detect import Face
from fsr.runtime.engines import FakeEngine
from fsr.runtime.geometry import framing
from fsr.runtime.pixels import RgbBatch, RgbImage
from fsr.runtime.search import FoundFace


class WatchedEngine(FakeEngine):
    """A fake engine that remembers the batches it was given, and whether it is open."""

    def __init__(self, input_size: int, scale: int) -> None:
        super().__init__(input_size, scale)
        self.batches: list[RgbBatch] = []
        self.open = False

    def __call__(self, batch: RgbBatch) -> RgbBatch:
        self.batches.append(batch)
        return super().__call__(batch)

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open = False


class FakeSearch:
    """Finds the same faces in every frame: those of the landmarks it is given, each in a box about them."""

    def __init__(self, *landmarks: object, reliable: bool = True) -> None:
        self.found = [FoundFace(face_of(np.asarray(points, np.float32)), reliable) for points in landmarks]

    def __call__(self, frame: RgbImage) -> list[FoundFace]:
        return self.found


def face_of(landmarks: NDArray[np.float32]) -> Face:
    """In the box that reaches as far again from the middle as the landmarks do."""
    middle = landmarks.mean(0)
    box = np.concatenate([2 * landmarks.min(0) - middle, 2 * landmarks.max(0) - middle])
    return Face(box.astype(np.float32), landmarks, 0.9)


def model_entry(input_size: int, scale: int, native_from: float, native_to: float) -> ModelEntry:
    """A model of the runtime framing with that range of native sizes, called like `32x4`."""
    return ModelEntry(
        name=f"{input_size}x{scale}",
        task="face-super-resolution",
        network="fake",
        tier="S",
        scale=scale,
        input_size=input_size,
        output_size=input_size * scale,
        framing="runtime",
        template=framing("runtime").template.tolist(),
        colour_order="rgb",
        value_range="uint8",
        files={"fp32": FileEntry("fake.onnx", "0" * 64)},
        data=[],
        training="none",
        licence="none",
        multiply_accumulates=0,
        native_from=native_from,
        native_to=native_to,
    )
