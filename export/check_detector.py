"""The detector in every precision by every engine, on frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..runtime.bundle import Bundle, check_file
from ..runtime.detect import Detector
from ..runtime.errors import EngineUnavailableError, FsrError, InputError
from ..runtime.media.images import find_images, read_image
from ..runtime.pixels import RgbImage
from .check_faces import REFERENCE
from .check_result import DetectorRow, Variant
from .detector_parity import at_sizes, gate_detector, measure_detector
from .known_pictures import known_pictures
from .parity_faces import choose_pictures

DETECTOR_PICTURES = 40


def detector_frames(bundle: Bundle, folder: Path | None) -> dict[str, list[RgbImage]]:
    """Frames to search: the parity set's sheets at three sizes, and some of one's own that the bundle never saw.

    Raises:
        InputError: there are none.
    """
    sheets = [read_image(bundle.path(entry)) for entry in bundle.manifest.parity_set.high.values()]
    smallest = min(sheets, key=lambda sheet: sheet.size)
    frames = {"sheets of the parity set": at_sizes(smallest)}
    if folder is not None and folder.is_dir():
        chosen = choose_pictures(find_images(folder), DETECTOR_PICTURES, known_pictures(bundle))
        if not chosen.hashes:
            reasons = ", ".join(f"{count} {reason}" for reason, count in chosen.known.items())
            raise InputError(f"{folder}: no picture to check on: {reasons}")
        frames[str(folder)] = list(_readable(chosen.hashes))
    return frames


def _readable(pictures: Iterable[Path]) -> Iterator[RgbImage]:
    for picture in pictures:
        try:
            yield read_image(picture)
        except FsrError:  # counted among those left out
            continue


def check_detector(
    bundle: Bundle,
    precisions: Sequence[str],
    engines: Sequence[str],
    frames: Mapping[str, Sequence[RgbImage]],
    not_run: list[str],
) -> Iterator[DetectorRow]:
    """The detector in every precision by every engine, against ONNX Runtime in float32."""
    files = {p: check_file(bundle.folder, entry) for p, entry in bundle.manifest.detector.files.items()}
    reference = Detector.open(files["fp32"], REFERENCE)
    variants = [Variant(p, engine) for p in files if p in precisions for engine in engines]
    for variant in variants:
        if variant == Variant("fp32", REFERENCE):
            continue
        try:
            other = Detector.open(files[variant.precision], variant.engine, precision=variant.precision)
        except EngineUnavailableError as error:
            not_run.append(f"detector {variant}: {error}")
            continue
        for data, pictures in frames.items():
            measured = measure_detector(reference, other, pictures)
            yield DetectorRow(variant, data, measured, gate_detector(measured))
