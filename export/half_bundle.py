"""A bundle, or one ONNX file, to float16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..calibration.parity_set import parity_faces
from ..runtime.bundle import Bundle, check_file, open_bundle
from ..runtime.detect import Detector
from ..runtime.engines import open_engine
from ..runtime.errors import ParityError
from ..runtime.files import write_bytes
from ..runtime.runs.progress import progress
from .check_detector import detector_frames
from .detector_parity import detector_words, gate_detector, measure_detector
from .extend_bundle import DETECTOR, Reduced, add_precision, add_to_card, chosen_parts, copied
from .half import to_half
from .parity import ParityFaces, gate, measure, restore
from .parity_faces import stored_faces
from .quantize_bundle import model_framing, read_model, require_onnx_output


@dataclass(frozen=True)
class HalfRequest:
    """What `fsr-export half` was asked for."""

    model: Path
    """A bundle's folder or an ONNX file."""
    output: Path
    models: Sequence[str] = ()
    """Of the bundle, by name; all if empty."""


def half_file(request: HalfRequest) -> float:
    """One ONNX file that fsr-export made; returns its PSNR to float32 in dB.

    Raises:
        InputError: it is missing or unfit. ParityError: it is too far from float32.
        OutputError: the output exists or cannot be written.
    """
    require_onnx_output(request.output)
    data, name = read_model(request.model), str(request.model)
    halved = to_half(data, name)
    framing = model_framing(data, name)
    with open_engine("onnxruntime", data) as engine:
        faces = parity_faces(framing, engine.input_size, engine.output_size)
        names = [f"parity {index}" for index in range(len(faces.low))]
        judged = ParityFaces("parity set", faces.low, restore(engine, faces.low), faces.high, names)
    with open_engine("onnxruntime", halved, "fp16") as engine:
        measured = measure(engine, judged)
    if reasons := gate(measured, "fp16"):
        raise ParityError(f"{name}: fp16 {'; '.join(reasons)}; nothing was written")
    write_bytes(request.output, halved)
    return measured.psnr


def half_detector(bundle: Bundle) -> tuple[Reduced, list[str]]:
    """The detector in float16, held against float32's faces, boxes and points, and what is wrong with it."""
    data = check_file(bundle.folder, bundle.manifest.detector.files["fp32"])
    halved = to_half(data, DETECTOR)
    frames = [frame for some in detector_frames(bundle, None).values() for frame in some]
    figures = measure_detector(Detector.open(data), Detector.open(halved, precision="fp16"), frames)
    words = f"{len(halved) / 1e6:.2f} MB of {len(data) / 1e6:.2f}; {detector_words(figures)}"
    return Reduced(DETECTOR, halved, words), gate_detector(figures)


def half_bundle(request: HalfRequest, console: Console) -> tuple[list[Reduced], list[str]]:
    """A new bundle with fp16 beside what was there: what passed, and a sentence for each that did not.

    Raises:
        BundleError, InputError, UsageError: an input is missing, damaged or unfit.
        ParityError: nothing passed; nothing was written. OutputError: the output exists or cannot be written.
    """
    bundle = open_bundle(request.model)
    models, with_detector = chosen_parts(bundle, request.models, "fp16")
    passed: list[Reduced] = []
    failed: list[str] = []
    with copied(bundle, request.output) as folder:
        with progress(console, "models", len(models) + with_detector, "model") as advance:
            for model in models:
                data = check_file(bundle.folder, model.files["fp32"])
                halved = to_half(data, model.name)
                with open_engine("onnxruntime", halved, "fp16") as engine:
                    measured = measure(engine, stored_faces(bundle, model))
                if reasons := gate(measured, "fp16"):
                    failed.append(f"{model.name}: {'; '.join(reasons)}")
                else:
                    words = f"{len(halved) / 1e6:.2f} MB of {len(data) / 1e6:.2f}; {measured.psnr:.1f} dB to fp32"
                    passed.append(Reduced(model.name, halved, words, [measured.entry("fp16")]))
                advance()
            if with_detector:
                reduced, reasons = half_detector(bundle)
                if reasons:
                    failed.append(f"{DETECTOR}: {'; '.join(reasons)}")
                else:
                    passed.append(reduced)
                advance()
        if not passed:
            raise ParityError(f"{'; '.join(failed)}; nothing was written")
        add_precision(folder, bundle.manifest, "fp16", passed)
        add_to_card(folder, "fp16", passed)
    return passed, failed
