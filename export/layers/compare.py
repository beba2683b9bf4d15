"""One model layer by layer: the same pictures through two engines that keep every tensor, then Polygraphy's comparator.

Keeping a tensor ends the fusion of layers around it, so int8 convolutions of ONNX Runtime compute in float between
their Q/DQ. That is what the file says; what its fused kernels make of it is the business of the check itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..graph import Graph
from .pairs import Pair, find_pairs
from .polygraphy_tools import quiet

if TYPE_CHECKING:
    from polygraphy.backend.base import BaseRunner

REFERENCE = "float32"


@dataclass(frozen=True)
class LayerError:
    """What one layer makes, beside float32."""

    layer: str
    tensor: str
    error: float
    """Mean difference, as a share of float32's mean magnitude; infinite where a value overflowed."""
    largest: float
    """Largest difference, in the tensor's own unit."""
    inherited: float
    """Largest error of what the layer reads: what it did not bring about itself."""
    within: bool
    """Of the tolerance, by Polygraphy's comparator."""

    @property
    def added(self) -> float:
        """What the layer itself brought, at least."""
        return max(0.0, self.error - self.inherited) if math.isfinite(self.inherited) else 0.0


Runner = Callable[[bytes, NDArray[np.uint8]], "BaseRunner"]
"""An engine over a model and the pictures that it will see."""


def onnx_runtime(model: bytes, pictures: NDArray[np.uint8]) -> BaseRunner:
    from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx

    return OnnxrtRunner(SessionFromOnnx(model), name="onnxruntime")


def compare_layers(
    reference: bytes, reduced: bytes, pictures: NDArray[np.uint8], tolerance: float, runner: Runner = onnx_runtime
) -> list[LayerError]:
    """Every layer that both models have, in the order they run.

    pictures: uint8 (N, H, W, 3) RGB. tolerance: largest `LayerError.error` that is within. runner: runs `reduced`.

    Raises:
        EngineUnavailableError: an engine refuses its model.
    """
    graph, other = (Graph(onnx.load_model_from_string(data)) for data in (reference, reduced))
    pairs = find_pairs(graph, other)
    with quiet():
        expected = _run(onnx_runtime(_marked(graph, [p.tensor for p in pairs]), pictures), graph.input, pictures)
        made = _run(runner(_marked(other, [p.counterpart for p in pairs]), pictures), other.input, pictures)
        return _errors(pairs, expected, {pair.tensor: made[pair.counterpart] for pair in pairs}, tolerance)


def _marked(graph: Graph, tensors: Sequence[str]) -> bytes:
    """The model with those tensors, and no others, for outputs."""
    from polygraphy.backend.onnx import ModifyOutputs

    model = ModifyOutputs(graph.model, outputs=list(dict.fromkeys(tensors)), copy=True)()
    # Polygraphy marks by name alone; TensorRT asks for types.
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


def _run(runner: BaseRunner, image: str, pictures: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """All outputs, in float32, which holds every number of the three precisions."""
    from polygraphy.comparator import Comparator

    (_, (outputs,)), *_ = Comparator.run([runner], data_loader=[{image: pictures}])
    return {name: np.asarray(_array(value), np.float32) for name, value in outputs.items()}


def _array(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else value


def _errors(
    pairs: Sequence[Pair],
    expected: Mapping[str, NDArray[np.float32]],
    made: Mapping[str, NDArray[np.float32]],
    tolerance: float,
) -> list[LayerError]:
    from polygraphy.comparator import Comparator, IterationResult, RunResults, SimpleCompareFunc

    magnitude = {name: float(np.abs(values).mean()) or 1.0 for name, values in expected.items()}
    overflowed = {name for name, values in made.items() if not np.isfinite(values).all()}
    both = [
        (who, [IterationResult({n: values[n] for n in expected if n not in overflowed}, runner_name=who)])
        for who, values in ((REFERENCE, expected), ("reduced", made))
    ]
    allowed = {name: tolerance * scale for name, scale in magnitude.items()}
    compared = Comparator.compare_accuracy(
        RunResults(both), compare_func=SimpleCompareFunc(atol=allowed, rtol=0.0, check_error_stat="mean")
    )
    (found,) = next(iter(compared[0].values()))
    errors: dict[str, LayerError] = {}
    for pair in pairs:
        result = found.get(pair.tensor)
        error = math.inf if result is None else result.mean_absdiff / magnitude[pair.tensor]
        errors[pair.tensor] = LayerError(
            pair.layer,
            pair.tensor,
            error,
            math.inf if result is None else result.max_absdiff,
            max((errors[name].error for name in pair.reads if name in errors), default=0.0),
            result is not None and bool(result),
        )
    return list(errors.values())
