"""A model with one Q/DQ pair put in by hand, its range right or wrong."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from fsr.runtime.pixels import RgbBatch


def with_quantised_features(model: bytes, low: RgbBatch, headroom: float) -> bytes:
    """Quantise what the first activation returns to `headroom` times its largest value on `low`."""
    graph = (loaded := onnx.load_model_from_string(model)).graph
    (activation,) = [node for node in graph.node if node.op_type == "Relu"][:1]
    values = activation.output[0]
    scale = np.float32(headroom * _largest(model, values, low) / 127)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(scale), "qdq_scale"),
            numpy_helper.from_array(np.array(0, np.int8), "qdq_zero"),
        ]
    )
    for node in graph.node:
        node.input[:] = ["qdq_values" if name == values else name for name in node.input]
    pair = [
        helper.make_node("QuantizeLinear", [values, "qdq_scale", "qdq_zero"], ["qdq_bytes"]),
        helper.make_node("DequantizeLinear", ["qdq_bytes", "qdq_scale", "qdq_zero"], ["qdq_values"]),
    ]
    after = list(graph.node).index(activation) + 1
    for node in reversed(pair):
        graph.node.insert(after, node)
    return loaded.SerializeToString()


def _largest(model: bytes, values: str, low: RgbBatch) -> float:
    loaded = onnx.load_model_from_string(model)
    loaded.graph.output.append(helper.make_tensor_value_info(values, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(loaded.SerializeToString(), providers=["CPUExecutionProvider"])
    return float(np.asarray(session.run([values], {session.get_inputs()[0].name: low})[0]).max())
