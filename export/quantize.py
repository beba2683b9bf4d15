"""A float32 model to int8: what flows through it on calibration pictures -> ranges -> Q/DQ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ..calibration.ranges import METHODS, Histogram, threshold
from ..runtime.engines.onnx_runtime import open_session
from ..runtime.errors import InputError, UsageError
from ..runtime.pixels import RgbBatch
from .graph import Graph, read_float_model
from .placement import require_placement
from .qdq import Range, grey_ranges, insert_qdq, layer_name, quantisable, quantised_tensors

BATCH, PIXELS = 16, 2**18
"""Most pictures, and most pixels of pictures, that are run at once: every layer's values are kept for each."""


@dataclass(frozen=True)
class QuantizeConfig:
    """How a model is brought to int8."""

    method: str = "mse"
    """Of `calibration.ranges.METHODS`."""
    float_layers: Sequence[str] = ()
    """Layers left in float, by the name of their weights."""
    tensorrt_8: bool = False
    """Write the file so that TensorRT 8.6 reads it, which ONNX Runtime runs no faster than float32."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"--method: got {self.method!r}, expected one of {', '.join(METHODS)}")


def quantize(model: bytes, batch: RgbBatch, config: QuantizeConfig) -> bytes:
    """`model`, float32, as an int8 Q/DQ model; ranges measured on `batch`, uint8 (N, h, w, 3) RGB.

    Raises:
        InputError: a model that cannot be quantised, or a batch of another size.
        CalibrationError: the model's values are not finite.
    """
    return Calibrated.measure(model, batch, config.method).quantized(config)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A float32 model with the ranges of every tensor that int8 may hold."""

    model: ModelProto
    ranges: Mapping[str, Range]

    @classmethod
    def measure(cls, model: bytes, batch: RgbBatch, method: str, name: str = "the model") -> Calibrated:
        """Run the model on `batch` with ONNX Runtime; `name` is what messages call it."""
        parsed = read_float_model(model, name)
        graph = Graph.copy(parsed)
        graph.skip_no_ops()
        if not (convs := quantisable(graph)):
            raise InputError(f"{name}: got a model without a convolution that int8 could run")
        # Which layer reads int8 is not known yet, so what is on the way between layers is measured too.
        read, made = (conv.input[0] for conv in convs), quantised_tensors(graph, convs).values()
        tensors = sorted({*read, *made} - set(grey_ranges(graph)))
        ranges = {
            tensor: Range(threshold(histogram, method), histogram.signed)
            for tensor, histogram in histograms(graph.model, batch, tensors, name).items()
        }
        return cls(parsed, ranges)

    @property
    def layers(self) -> list[str]:
        """Every layer that could run in int8, from the first."""
        graph = Graph.copy(self.model)
        graph.skip_no_ops()
        return [layer_name(conv) for conv in quantisable(graph)]

    def quantized(self, config: QuantizeConfig) -> bytes:
        """The model with every layer in int8 but those that `config` leaves in float."""
        if unknown := [name for name in config.float_layers if name not in self.layers]:
            raise UsageError(f"--float-layer: got {unknown[0]!r}, expected one of {', '.join(self.layers)}")
        chosen = [name for name in self.layers if name not in config.float_layers]
        written = insert_qdq(self.model, chosen, self.ranges, tensorrt_8=config.tensorrt_8)
        require_placement(written)
        return written.SerializeToString(deterministic=True)


def histograms(model: ModelProto, batch: RgbBatch, tensors: Sequence[str], name: str) -> dict[str, Histogram]:
    """What flows through tensors of a float32 model, by name, while it runs on uint8 (N, h, w, 3) RGB."""
    watched = ModelProto()
    watched.CopyFrom(model)
    known = {output.name for output in watched.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None) for tensor in tensors if tensor not in known
    )
    session = open_session(watched.SerializeToString())
    image = session.get_inputs()[0]
    if any(isinstance(want, int) and got != want for got, want in zip(batch.shape[1:], image.shape[1:], strict=True)):
        raise InputError(f"{name}: got calibration pictures {batch.shape[1:]}, expected {tuple(image.shape[1:])}")
    found = {tensor: Histogram() for tensor in tensors}
    count = max(1, min(BATCH, PIXELS // (batch.shape[1] * batch.shape[2])))
    for start in range(0, len(batch), count):
        values = session.run(list(tensors), {image.name: np.ascontiguousarray(batch[start : start + count])})
        for tensor, value in zip(tensors, values, strict=True):
            found[tensor].add(value)
    return found
