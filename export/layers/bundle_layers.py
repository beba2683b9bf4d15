"""Every reduced file of a bundle, the detector's too, layer by layer, by every engine that can keep its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
from numpy.typing import NDArray

from ...runtime.bundle import Bundle, FileEntry, check_file
from ...runtime.errors import EngineUnavailableError, UsageError
from ...runtime.geometry import resize
from ...runtime.media.images import read_image
from ..check_result import Variant
from ..extend_bundle import DETECTOR
from ..parity_faces import spread, stored_faces
from .compare import Runner, compare_layers, onnx_runtime
from .polygraphy_tools import quiet
from .result import LayerReport, LayersFound
from .tensorrt_runner import TensorRTRunner, find_tensorrt

TOLERANCES: Mapping[str, float] = MappingProxyType({"fp16": 0.005, "int8": 0.2})
"""By precision, unless one is asked for: a little more than the worst layers of the models in the package show."""
FACES = 8
"""Of the parity set, spread evenly: a mean over all their pixels hardly moves with more."""
DETECTOR_FRAME = (320, 320)
"""Width and height that the detector sees the parity set's smallest sheet at."""


@dataclass(frozen=True)
class Subject:
    """A model, or the detector, and what it is shown: uint8 (N, H, W, 3) RGB."""

    name: str
    files: Mapping[str, FileEntry]
    pictures: NDArray[np.uint8]


def compare_bundle(
    bundle: Bundle,
    models: Sequence[str],
    precision: str,
    engine: str,
    tolerance: float | None,
    advance: Callable[[], None],
) -> LayersFound:
    """Compare what the options of `fsr-export check` choose; `all` stands for every precision and engine.

    Raises:
        UsageError: there is no reduced file among it, or no engine that this works with.
    """
    engines, not_run = _engines(engine)
    reports = []
    for subject in subjects(bundle, models):
        for reduced in [p for p in TOLERANCES if p in subject.files and precision in ("all", p)]:
            for name, runner in engines.items():
                try:
                    reports.append(_compare(bundle, subject, Variant(reduced, name), tolerance, runner))
                except EngineUnavailableError as error:
                    not_run.append(f"{subject.name} {reduced} {name}: {error}")
            advance()
    if not reports and not not_run:
        raise UsageError(
            f"--layers: {bundle.folder} has no file in less than float32 to compare; make one with fsr-export half or "
            "fsr-export quantize, or leave --precision out"
        )
    return LayersFound(reports, not_run)


def _engines(asked: str) -> tuple[dict[str, Runner], list[str]]:
    engines: dict[str, Runner] = {"onnxruntime": onnx_runtime} if asked in ("all", "onnxruntime") else {}
    not_run = []
    if asked in ("all", "tensorrt", "tensorrt-rtx"):
        target, why = find_tensorrt()
        if target is None or asked not in ("all", target.tensorrt.flavour):
            not_run.append(f"TensorRT: {why or f'{target} was found, not {asked}'}")
        else:
            engines[target.tensorrt.flavour] = TensorRTRunner(target.tensorrt.flavour)
    if not engines and not not_run:
        raise UsageError(f"--layers: got --engine {asked}, expected onnxruntime, tensorrt or tensorrt-rtx")
    return engines, not_run


def subjects(bundle: Bundle, models: Sequence[str]) -> Iterator[Subject]:
    """Those models, all with the detector if none is named."""
    for model in [bundle.model(name) for name in models] or bundle.manifest.models:
        low = stored_faces(bundle, model).low
        yield Subject(model.name, model.files, np.ascontiguousarray(low[spread(len(low), FACES)]))
    if not models:
        sheets = [read_image(bundle.path(entry)) for entry in bundle.manifest.parity_set.high.values()]
        frame = resize(min(sheets, key=lambda sheet: sheet.size), DETECTOR_FRAME)
        yield Subject(DETECTOR, bundle.manifest.detector.files, frame[np.newaxis])


def _compare(
    bundle: Bundle, subject: Subject, variant: Variant, tolerance: float | None, runner: Runner
) -> LayerReport:
    limit = TOLERANCES[variant.precision] if tolerance is None else tolerance
    if "fp32" not in subject.files:
        raise EngineUnavailableError("the bundle has no fp32 of it to compare with")
    reference, reduced = (check_file(bundle.folder, subject.files[p]) for p in ("fp32", variant.precision))
    layers = compare_layers(reference, reduced, subject.pictures, limit, runner)
    return LayerReport(subject.name, variant, len(subject.pictures), limit, layers, inspect(reduced))


def inspect(model: bytes) -> str:
    """What `polygraphy inspect model --show layers` prints of a file."""
    from polygraphy.backend.onnx.util import str_from_onnx

    with quiet():
        return str_from_onnx(onnx.load_model_from_string(model), show_layers=True)
