"""Which ONNX file of a bundle becomes the plan of a model in a precision, and by which of TensorRT's two ways.

A typed network computes in the types of its file, so float16 and int8 are read from files that have them. A flagged
one, of TensorRT 8.6, is a float32 file that a flag allows to compute in less; int8 is a file with Q/DQ in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...runtime.bundle import FileEntry
from ...runtime.engines.trt_library import TensorRT


@dataclass(frozen=True)
class Source:
    """The file to build from."""

    entry: FileEntry
    asked: str
    """SHA-256 of the file that will be asked for when the plan is wanted; another where a flag makes the precision."""
    flags: tuple[str, ...]
    """Names of the `BuilderFlag`s to set; none for a typed network."""


def source_of(files: Mapping[str, FileEntry], precision: str, tensorrt: TensorRT) -> Source | None:
    """Of a model; None where the bundle has no file that this TensorRT could build that precision from."""
    own, float32 = files.get(precision), files.get("fp32")
    if precision == "fp16" and tensorrt.flagged and (own is None or not tensorrt.typed):
        return None if float32 is None else Source(float32, (own or float32).sha256, ("FP16",))
    return _own(own, precision, tensorrt)


def detector_source(files: Mapping[str, FileEntry], precision: str, tensorrt: TensorRT) -> Source | None:
    """Of the detector: never its fp32 file, which is made for processors and transposes bytes; TensorRT cannot."""
    return None if precision == "fp32" else _own(files.get(precision), precision, tensorrt)


def _own(entry: FileEntry | None, precision: str, tensorrt: TensorRT) -> Source | None:
    if entry is None:
        return None
    flags = {"fp16": ("FP16",), "int8": ("INT8",)}
    return Source(entry, entry.sha256, () if tensorrt.typed else flags.get(precision, ()))
