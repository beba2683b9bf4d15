"""Which layers stay in float: none at first, then one more of the most harmful until the gate has nothing against it.

What comes out is judged twice: as ONNX Runtime runs it, and with everything beyond the thresholds clipped, as TensorRT
runs it; see `qdq`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..calibration.int8 import first_is_cheap
from .graph import Graph
from .qdq import layer_name
from .quantize import Calibrated, QuantizeConfig


@dataclass(frozen=True)
class Attempt:
    """An int8 model, and what the gate says of it."""

    model: bytes
    float_layers: Sequence[str]
    reasons: Sequence[str]
    """Why it must not be deployed; empty if it may."""


def search(
    calibrated: Calibrated,
    config: QuantizeConfig,
    judge: Callable[[bytes], Sequence[str]],
    error: Callable[[bytes], float],
) -> Attempt:
    """Quantise all layers but those `config` leaves out, then ever fewer, until `judge` gives no reason against it.

    Gives up, with the reasons, once half of the layers are in float: it would hardly be faster than that. judge: a
    model in either layout -> reasons. error: the same -> how far it is from float32; asked of each layer, alone in
    int8, only if the first attempt fails.
    """
    kept = list(config.float_layers)
    spare: list[str] | None = None
    while True:
        attempt = _attempt(calibrated, replace(config, float_layers=kept), judge)
        if not attempt.reasons or len(kept) >= len(calibrated.layers) / 2:
            return attempt
        if spare is None:
            spare = list(sensitivity(calibrated, config, error, [x for x in calibrated.layers if x not in kept]))
        kept = [*kept, spare.pop(0)]


def _attempt(calibrated: Calibrated, config: QuantizeConfig, judge: Callable[[bytes], Sequence[str]]) -> Attempt:
    fast, clipping = (calibrated.quantized(replace(config, tensorrt_8=clips)) for clips in (False, True))
    reasons = judge(fast) or [f"where values are clipped as TensorRT does it, {reason}" for reason in judge(clipping)]
    return Attempt(clipping if config.tensorrt_8 else fast, config.float_layers, reasons)


def sensitivity(
    calibrated: Calibrated, config: QuantizeConfig, error: Callable[[bytes], float], layers: Sequence[str]
) -> dict[str, float]:
    """Error of the model with one layer alone in int8, for each of `layers`, the largest first."""
    errors = {
        layer: error(calibrated.quantized(replace(config, float_layers=[x for x in calibrated.layers if x != layer])))
        for layer in layers
    }
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def cheap_input(calibrated: Calibrated) -> list[str]:
    """The layer that reads the picture, if it costs little."""
    graph = Graph(calibrated.model)
    sizes = [graph.constants[conv.input[1]].size for conv in graph.nodes("Conv")]
    first = layer_name(graph.nodes("Conv")[0])
    return [first] if first_is_cheap(sizes) and first in calibrated.layers else []
