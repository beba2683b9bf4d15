"""A frame, from pixels to pixels: detect -> align -> super-resolve -> enlarge -> paste.

```python
with Restorer.open() as restorer:
    result = restorer(frame)  # uint8 (H, W, 3) RGB
    result.image  # the frame at twice its size, its faces restored
    result.faces  # what became of each
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from typing_extensions import Self

from .align import RESTORED, RestoredFace, align
from .bundle import Bundle, FileEntry, ModelEntry, default_folder, open_bundle
from .detect import Detector
from .engines import AUTO, Choice, Engine, choose_detector, choose_engine, file_for, open_engine
from .errors import BundleError, EngineUnavailableError
from .geometry import compose, invert, scaling
from .moving import MovingChain, PreparedFrame
from .options import RestoreOptions
from .paste import paste
from .pixels import RgbImage
from .search import FaceSearch, FoundFace
from .superresolve import super_resolve
from .timing import Stopwatch
from .track import Known

__all__ = ["RESTORED", "RestoreOptions", "RestoredFace", "RestoredFrame", "Restorer"]

LIGHTEST = "S"
"""The tier that takes least time."""


@dataclass(frozen=True, eq=False)
class RestoredFrame:
    """A frame whose faces were restored."""

    image: RgbImage
    """uint8 (scale H, scale W, 3) RGB."""
    faces: list[RestoredFace]
    """Best detection first; in a moving picture the one longest known."""
    milliseconds: dict[str, float]
    """By stage, in the order of the chain."""


class Restorer:
    """Restores the faces of frames with the models of one bundle; a context manager that frees its engines.

    It may be called from several threads at once: each call works on its own frame.
    """

    def __init__(
        self,
        search: Callable[[RgbImage], Sequence[FoundFace]],
        engines: Sequence[tuple[ModelEntry, Engine]],
        options: RestoreOptions | None = None,
        description: str = "",
    ) -> None:
        self.options = options or RestoreOptions()
        self.description = description
        """Engine, device, precision and tier, and why they were chosen."""
        self._search = search
        self._models = [model for model, _ in engines]
        self._engines: Mapping[str, Engine] = {model.name: engine for model, engine in engines}
        self._stack = ExitStack()
        self._open_lighter: Callable[[], list[tuple[ModelEntry, Engine]]] | None = None
        self._lock = Lock()
        self._is_closed = False

    @classmethod
    def open(
        cls,
        bundle: Path | str | None = None,
        *,
        engine: str = "auto",
        precision: str = "auto",
        tier: str | None = None,
        options: RestoreOptions | None = None,
    ) -> Self:
        """Open a bundle's detector and models; the default bundle comes with the package.

        engine: a key of `engines.OPENERS`, or `auto`. precision: `fp32`, `fp16`, `int8`, or `auto`, which is int8
        where every model of the tier has it and this processor computes it correctly and faster. The detector follows
        where it gains: see `choose_detector`. tier: `S`, `M` or `L`; None takes the best one in the bundle.

        Raises:
            BundleError: the bundle is damaged or newer than this program.
            EngineUnavailableError: the engine is not here, its int8 is wrong here, or a model is not in the bundle in
                that precision.
        """
        opened = open_bundle(Path(bundle or default_folder()))
        models, detectors = models_of_tier(opened, tier), opened.manifest.detector.files
        if precision != AUTO:
            for model in models:
                file_of(model, precision, engine)  # refuses, ahead of anything slow
        files = [model.files for model in models]
        named = None if opened.folder == default_folder() else opened.folder
        choice = choose_engine(engine, precision, set.intersection(*map(set, files)), models=files, bundle=named)
        search = choose_detector(engine, precision, detectors, named)
        options = options or RestoreOptions()
        with ExitStack() as stack:  # what was opened is closed if a later model cannot be
            exact = choice.precision
            file = opened.path(file_for(detectors, search.precision, search.engine) or detectors["fp32"])
            detector = Detector.open(file, search.engine, precision=search.precision)
            # Closer looks place the landmarks, cost little, and stay exact.
            closer = detector if search.precision == "fp32" else Detector.open(opened.path(detectors["fp32"]))

            def opened_engines(stack: ExitStack, models: Sequence[ModelEntry]) -> list[tuple[ModelEntry, Engine]]:
                files = [(model, opened.path(file_of(model, exact, choice.engine))) for model in models]
                return [(model, stack.enter_context(open_engine(choice.engine, file, exact))) for model, file in files]

            engines = opened_engines(stack, models)
            tier_of_bundle = f"tier {models[0].tier} of bundle {opened.manifest.name}"
            description = f"{describe(choice, search, engines[0][1].device)}, {tier_of_bundle}"
            restorer = cls(FaceSearch(detector, options.min_face, closer), engines, options, description)
            restorer._stack = stack.pop_all()
            lightest = [model for model in opened.manifest.models if model.tier == LIGHTEST]
            if lightest and models[0].tier != LIGHTEST:
                restorer._open_lighter = lambda: opened_engines(restorer._stack, lightest)
        return restorer

    @property
    def has_lighter(self) -> bool:
        """Whether the bundle holds models that take less time than those that are open."""
        return self._open_lighter is not None

    def lighter(self) -> list[ModelEntry]:
        """Models of tier `LIGHTEST`, opened beside the others, for `MovingChain.models`; to be called from any thread.

        The default bundle's take .02 s and less than 5 MB with ONNX Runtime, .2 s with OpenVINO.

        Raises:
            EngineUnavailableError: there are none, not in this precision, or the restorer was closed.
        """
        with self._lock:
            if self._open_lighter is None or self._is_closed:
                raise EngineUnavailableError(f"got no models of tier {LIGHTEST} to open, expected some")
            engines = self._open_lighter()
            self._engines = {**self._engines, **{model.name: engine for model, engine in engines}}
            return [model for model, _ in engines]

    def __call__(self, frame: RgbImage) -> RestoredFrame:
        """Restore the faces of a frame.

        frame: uint8 (H, W, 3) RGB.

        Raises:
            TypeError: `frame` is not that.
        """
        watch = Stopwatch()
        with watch("detect"):
            found = self._search(frame)
        with watch("align"):
            faces = align(frame, found, self._models, self.options)
        return self._finished(frame, faces, self.options, watch)

    def moving(
        self,
        options_now: Callable[[], RestoreOptions] | None = None,
        *,
        ahead: int = 0,
        known: Known | None = None,
    ) -> MovingChain | None:
        """The first part of the chain for a moving picture, which `finish` goes on with; its faces are tracked.

        options_now: asked for every frame, in place of the restorer's options. ahead, known: see `track.Tracker`.
        None where the search is a stand-in that cannot follow.
        """
        if not isinstance(self._search, FaceSearch):
            return None
        return MovingChain(self._search, self._models, options_now or (lambda: self.options), ahead=ahead, known=known)

    def warm_up(self, size_wh: tuple[int, int]) -> None:
        """Run every network once, on black, for frames of that size: their first runs, which take memory and threads,
        last up to five times as long as those that follow, and a live source does not wait.
        """
        self._search(np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
        for engine in self._engines.values():
            engine(np.zeros((1, engine.input_size, engine.input_size, 3), np.uint8))

    def finish(self, pixels: RgbImage, prepared: PreparedFrame[Any]) -> RestoredFrame:
        """Restore the faces of a frame that `moving` prepared; several threads may, in any order.

        Raises:
            Exception: what the first part met with.
        """
        if prepared.error is not None:
            raise prepared.error
        watch = Stopwatch()
        watch.milliseconds.update(prepared.milliseconds)
        return self._finished(pixels, prepared.faces, prepared.options, watch)

    def _finished(
        self, frame: RgbImage, faces: list[RestoredFace], options: RestoreOptions, watch: Stopwatch
    ) -> RestoredFrame:
        with watch("super-resolve"):
            faces = super_resolve(faces, self._engines)
        with watch("enlarge"):
            image = enlarge(frame, options.scale)
        with watch("paste"):
            for face in sorted(faces, key=lambda face: face.native_size):  # the nearer of two comes to lie above
                paste_face(image, face, options)
        return RestoredFrame(image, faces, watch.milliseconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_closed = True
            self._stack.close()


def describe(models: Choice, detector: Choice, device: str) -> str:
    """What runs and why; of the detector, what differs from the models."""
    said = f"{models.engine} on the {device} ({models.why}), {models.precision} ({models.why_precision})"
    if (detector.engine, detector.precision) == (models.engine, models.precision):
        return said
    return f"{said}, detector: {detector.engine}, {detector.precision} ({detector.why_precision})"


def enlarge(frame: RgbImage, scale: int) -> RgbImage:
    """Bicubic, by a whole number; always a copy."""
    if scale == 1:
        return frame.copy()
    size_wh = (frame.shape[1] * scale, frame.shape[0] * scale)
    return np.asarray(cv2.resize(frame, size_wh, interpolation=cv2.INTER_CUBIC), np.uint8)


def paste_face(image: RgbImage, face: RestoredFace, options: RestoreOptions) -> None:
    """Paste a restored face into the enlarged frame; one that was left has nothing to paste."""
    if face.low is None or face.restored is None or face.crop_from_frame is None:
        return
    crop_from_restored = scaling(len(face.low) / len(face.restored))
    image_from_crop = compose(scaling(options.scale), invert(face.crop_from_frame))
    image_from_restored = compose(image_from_crop, crop_from_restored)
    strength = options.strength * face.opacity
    paste(image, face.restored, image_from_restored, strength, crisp=options.scale == 1)


def models_of_tier(bundle: Bundle, tier: str | None) -> list[ModelEntry]:
    """The models of one tier that are used at some size; without a tier, of the one that takes most arithmetic."""
    models = bundle.manifest.models
    if not models:
        raise BundleError(f"{bundle.folder}: holds no super-resolution model, expected at least one")
    wanted = tier or max(models, key=lambda model: model.multiply_accumulates).tier
    if chosen := [model for model in models if model.tier == wanted]:
        return chosen
    known = ", ".join(sorted({model.tier for model in models}))
    raise EngineUnavailableError(f"--tier: got {wanted!r}, expected one that {bundle.folder} holds: {known}")


def file_of(model: ModelEntry, precision: str, engine: str) -> FileEntry:
    """The model's file in a precision for an engine; EngineUnavailableError names those there are."""
    if (entry := file_for(model.files, precision, engine)) is None:
        known, made_by = ", ".join(model.files), {"fp16": "half", "int8": "quantize"}
        advice = f"; make it with fsr-export {made_by[precision]}" if precision in made_by else ""
        raise EngineUnavailableError(f"{model.name}: got precision {precision!r}, expected one of {known}{advice}")
    return entry
