"""A bundle, or one ONNX file, to int8: calibration set -> ranges -> layers -> gate -> what passed is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from ..calibration.calibration_set import CalibrationSet, open_set, read_description
from ..calibration.parity_set import parity_faces
from ..calibration.plausible import require_faces
from ..runtime.bundle import Bundle, ModelEntry, check_file, open_bundle
from ..runtime.detect import Detector
from ..runtime.engines import open_engine
from ..runtime.engines.onnx_runtime import open_session
from ..runtime.errors import CalibrationError, InputError, OutputError, ParityError, UsageError
from ..runtime.files import require_writable, write_bytes, write_text
from ..runtime.pixels import RgbBatch, RgbImage
from ..runtime.runs.progress import progress
from .check_detector import detector_frames
from .detector_parity import DetectorFigures, detector_words, gate_detector, measure_detector
from .extend_bundle import DETECTOR, Reduced, add_precision, add_to_card, chosen_parts, copied
from .known_pictures import CALIBRATION
from .layer_search import Attempt, cheap_input, search
from .parity import ParityFaces, ParityFigures, gate, measure, restore
from .parity_faces import open_originals, own_faces, stored_faces
from .quantize import Calibrated, QuantizeConfig

HELD_OUT = 8
"""One calibration picture in so many tells how far a layer is off; ranges are measured on the others."""
HELD_OUT_FACES, HELD_OUT_FRAMES = 64, 8
ORIGINALS = 500
"""Of --faces at most."""


@dataclass(frozen=True)
class QuantizeRequest:
    """What `fsr-export quantize` was asked for."""

    model: Path
    """A bundle's folder or an ONNX file."""
    calibration: Path
    output: Path
    config: QuantizeConfig
    models: Sequence[str] = ()
    """Of the bundle, by name, the detector as `detector`; all if empty."""
    faces: Path | None = None
    """Originals that the gate is held on, too."""


def quantize_file(request: QuantizeRequest) -> tuple[Attempt, ParityFigures]:
    """One ONNX file that fsr-export made, and how it did; nothing is written if it does not pass.

    Raises:
        InputError, CalibrationError, UsageError: an input is missing, damaged or unfit.
        ParityError: it loses too much. OutputError: the output exists or cannot be written.
    """
    if request.models or request.faces:
        raise UsageError("--model and --faces go with a bundle; got one ONNX file")
    require_onnx_output(request.output)
    data, name = read_model(request.model), str(request.model)
    calibration = open_set(request.calibration)
    framing = model_framing(data, name)
    calibration.require_framing(framing)
    require_faces(calibration)
    with open_engine("onnxruntime", data) as engine:
        pictures = calibration.faces(engine.input_size)
        faces = parity_faces(framing, engine.input_size, engine.output_size)
        names = [f"parity {index}" for index in range(len(faces.low))]
        judged = ParityFaces("parity set", faces.low, restore(engine, faces.low), faces.high, names)
    attempt = quantize_model(data, pictures, request.config, [judged], name)
    if attempt.reasons:
        raise ParityError(f"{name}: int8 {'; '.join(attempt.reasons)}; nothing was written")
    write_bytes(request.output, attempt.model)
    with open_engine("onnxruntime", attempt.model, "int8") as engine:
        return attempt, measure(engine, judged)


def require_onnx_output(path: Path) -> None:
    """Refuse a path that is no ONNX file's, is there already, or cannot be written."""
    if path.suffix != ".onnx":
        raise UsageError(f"--output: got {path}, expected an .onnx file; a folder is made from a bundle")
    if path.exists():
        raise OutputError(f"{path}: exists already; choose another --output or remove it")
    require_writable(path.parent)


def read_model(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def model_framing(data: bytes, name: str) -> str:
    from .graph import read_float_model

    properties = {entry.key: entry.value for entry in read_float_model(data, name).metadata_props}
    if "framing" not in properties:
        raise InputError(f"{name}: does not say how its faces are framed; export it with fsr-export onnx")
    return properties["framing"]


def quantize_model(
    data: bytes, pictures: RgbBatch, config: QuantizeConfig, judged: Sequence[ParityFaces], name: str
) -> Attempt:
    """A super-resolution model to int8, held against all of `judged`; uint8 (N, s, s, 3) calibration faces."""
    calibrated = Calibrated.measure(data, _calibrating(pictures), config.method, name)
    kept = [*config.float_layers, *(layer for layer in cheap_input(calibrated) if layer not in config.float_layers)]
    low = _held_out(pictures, HELD_OUT_FACES)
    with open_engine("onnxruntime", data) as engine:
        held_out = ParityFaces("held out", low, restore(engine, low), None, [str(n) for n in range(len(low))])

    def judge(model: bytes) -> list[str]:
        with open_engine("onnxruntime", model, "int8") as engine:
            return [reason for faces in judged for reason in gate(measure(engine, faces), "int8")]

    def error(model: bytes) -> float:
        with open_engine("onnxruntime", model, "int8") as engine:
            return float(measure(engine, held_out).squared.mean())

    return search(calibrated, replace(config, float_layers=kept), judge, error)


def quantize_detector(
    data: bytes, pictures: RgbBatch, config: QuantizeConfig, frames: Mapping[str, Sequence[RgbImage]]
) -> tuple[Attempt, dict[str, DetectorFigures]]:
    """The detector to int8, held against float32's faces, boxes and points in each of the sets of `frames`."""
    calibrated = Calibrated.measure(data, _calibrating(pictures), config.method, "the detector")
    reference, views = Detector.open(data), _held_out(pictures, HELD_OUT_FRAMES)
    expected = _heads(data, views)
    (stored, sheets), *own = frames.items()
    # Alone, as `check` judges them, and with more faces.
    looked = {stored: sheets, f"{stored} and calibration frames": [*sheets, *views], **dict(own)}

    def measured(model: bytes) -> dict[str, DetectorFigures]:
        detector = Detector.open(model, precision="int8")
        return {data: measure_detector(reference, detector, some) for data, some in looked.items()}

    def judge(model: bytes) -> list[str]:
        return [f"{reason} ({data})" for data, figures in measured(model).items() for reason in gate_detector(figures)]

    def error(model: bytes) -> float:
        return sum(float(np.square(a - b).mean()) for a, b in zip(_heads(model, views), expected, strict=True))

    attempt = search(calibrated, config, judge, error)
    return attempt, measured(attempt.model)


def _heads(model: bytes, views: RgbBatch) -> list[np.ndarray]:
    session = open_session(model)
    return session.run(None, {session.get_inputs()[0].name: views})


def _calibrating(pictures: RgbBatch) -> RgbBatch:
    return np.delete(pictures, np.s_[::HELD_OUT], axis=0)


def _held_out(pictures: RgbBatch, most: int) -> RgbBatch:
    return pictures[::HELD_OUT][:most]


def quantize_bundle(request: QuantizeRequest, console: Console) -> tuple[list[Reduced], list[str]]:
    """A new bundle with int8 beside what was there: what passed, and a sentence for each that did not.

    Raises:
        BundleError, CalibrationError, InputError, UsageError: an input is missing, damaged or unfit.
        ParityError: nothing passed; nothing was written. OutputError: the output exists or cannot be written.
    """
    bundle = open_bundle(request.model)
    if request.config.tensorrt_8 or request.config.float_layers:
        raise UsageError("--tensorrt-8 and --float-layer go with one ONNX file; got a bundle")
    models, with_detector = chosen_parts(bundle, request.models, "int8")
    calibration = open_set(request.calibration)
    require_one_set(bundle, calibration.id)
    require_apart(bundle, calibration)
    for model in models:
        calibration.require_framing(model.framing)
        calibration.faces(model.input_size)
    require_faces(calibration)
    passed: list[Reduced] = []
    failed: list[str] = []
    with copied(bundle, request.output) as folder:
        write_text(folder / CALIBRATION, calibration.description.to_json())
        work = Bundle(folder, bundle.manifest)
        jobs: list[Callable[[], tuple[Attempt, Reduced]]] = [*_model_jobs(work, models, calibration, request, console)]
        if with_detector:
            jobs.append(lambda: _detector_job(work, calibration, request))
        with progress(console, "models", len(jobs), "model") as advance:
            for job in jobs:
                attempt, reduced = job()
                if attempt.reasons:
                    failed.append(f"{reduced.name}: {'; '.join(attempt.reasons)}")
                else:
                    passed.append(reduced)
                advance()
        if not passed:
            raise ParityError(f"{'; '.join(failed)}; nothing was written")
        add_precision(folder, bundle.manifest, "int8", passed, calibration.id)
        faces = f"{calibration.description.faces} faces of calibration set {calibration.id}"
        note = f" Ranges by {request.config.method} on {faces}."
        add_to_card(folder, "int8", passed, note)
    return passed, failed


def require_one_set(bundle: Bundle, wanted: str) -> None:
    """Refuse a second calibration set beside the one that a bundle's int8 is from: it describes one.

    Raises:
        UsageError: it is so.
    """
    path = bundle.folder / CALIBRATION
    if path.is_file() and (there := read_description(path).id) != wanted:
        raise UsageError(
            f"{bundle.folder}: its int8 is from calibration set {there}, got set {wanted}; give that one, or quantize "
            "the bundle without int8"
        )


def require_apart(bundle: Bundle, calibration: CalibrationSet) -> None:
    """Refuse a calibration set that holds a picture which the bundle's parity set, that the gate uses, is made of.

    Raises:
        CalibrationError: it is so.
    """
    judged = set(bundle.manifest.parity_set.pictures)
    if both := [source.name for source in calibration.description.sources if source.sha256 in judged]:
        raise CalibrationError(
            f"{calibration.folder}: holds {both[0]}, of which the parity set of {bundle.folder} is made too: the gate "
            "would judge int8 on what it was calibrated on; collect the set without it"
        )


def _model_jobs(
    bundle: Bundle,
    models: Sequence[ModelEntry],
    calibration: CalibrationSet,
    request: QuantizeRequest,
    console: Console,
) -> list[Callable[[], tuple[Attempt, Reduced]]]:
    originals = None
    if request.faces is not None and models:
        with progress(console, "faces", ORIGINALS, "picture") as advance:
            originals = open_originals(request.faces, bundle, models, ORIGINALS, advance)

    def job(model: ModelEntry) -> tuple[Attempt, Reduced]:
        data = check_file(bundle.folder, model.files["fp32"])
        judged = [stored_faces(bundle, model)]
        if originals is not None:
            with open_engine("onnxruntime", data) as engine:
                judged.append(own_faces(originals, model, engine))
        attempt = quantize_model(data, calibration.faces(model.input_size), request.config, judged, model.name)
        with open_engine("onnxruntime", attempt.model, "int8") as engine:
            measured = [measure(engine, faces) for faces in judged]
        figures = f"{_size(attempt.model, data)}; {words_of(measured)}; {in_float(attempt)}"
        return attempt, Reduced(model.name, attempt.model, figures, [f.entry("int8") for f in measured])

    return [lambda model=model: job(model) for model in models]


def words_of(measured: Sequence[ParityFigures]) -> str:
    """How far from float32, and how much was lost, on each set of faces."""
    return "; ".join(
        f"{f.psnr:.1f} dB to fp32, {f.loss.mean:.3f} dB lost, at most {f.loss.upper:.3f}, on {f.faces} of {f.data}"
        for f in measured
        if f.loss is not None
    )


def _detector_job(bundle: Bundle, calibration: CalibrationSet, request: QuantizeRequest) -> tuple[Attempt, Reduced]:
    data = check_file(bundle.folder, bundle.manifest.detector.files["fp32"])
    frames = detector_frames(bundle, request.faces)
    attempt, measured = quantize_detector(data, calibration.frames(), request.config, frames)
    found = "; ".join(f"{detector_words(figures)} ({data})" for data, figures in measured.items())
    figures = f"{_size(attempt.model, data)}; {found}; {in_float(attempt)}"
    return attempt, Reduced(DETECTOR, attempt.model, figures)


def _size(model: bytes, original: bytes) -> str:
    return f"{len(model) / 1e6:.2f} MB of {len(original) / 1e6:.2f}"


def in_float(attempt: Attempt) -> str:
    return f"in float: {', '.join(attempt.float_layers)}" if attempt.float_layers else "every layer in int8"
