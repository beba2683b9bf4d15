"""TensorRT's rules for where Q/DQ may stand, checked on a graph before it is written.

Found by running the parsers of TensorRT 8.6 and TensorRT-RTX, and from NVIDIA's guide ("Explicit quantization"). What
breaks one is refused by the parser or, worse, built without the int8 kernel that it was made for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto

from ..runtime.errors import ParityError
from .graph import OPSET, Graph, attributes


def require_placement(model: ModelProto) -> None:
    """Raise `ParityError`, with all of them, if a graph breaks any rule."""
    if broken := list(broken_rules(model)):
        raise ParityError(f"TensorRT could not use the int8 graph: {'; '.join(broken)}; nothing was written")


def broken_rules(model: ModelProto) -> Iterator[str]:
    """What is wrong, a clause each, with the node it is wrong at."""
    opset = {entry.domain: entry.version for entry in model.opset_import}.get("")
    if opset != OPSET:
        yield f"opset {opset}, expected {OPSET}"
    graph = Graph(model)
    for node in graph.nodes("QuantizeLinear", "DequantizeLinear"):
        yield from _parameters(graph, node)
    for node in graph.nodes("QuantizeLinear"):
        yield from _pair(graph, node)
    for node in graph.nodes("DequantizeLinear"):
        yield from _source(graph, node)
    for conv in graph.nodes("Conv"):
        yield from _convolution(graph, conv)


def _parameters(graph: Graph, node: NodeProto) -> Iterator[str]:
    scale = graph.constants.get(node.input[1])
    if scale is None or not (scale > 0).all():
        yield f"{node.name}: its scale is no constant above 0"
    elif scale.ndim and attributes(node).get("axis", 1) != 0:
        yield f"{node.name}: scales along axis {attributes(node).get('axis', 1)}, expected 0"
    if len(node.input) > 2:
        zero = graph.constants.get(node.input[2])
        if zero is None or zero.dtype != np.int8 or zero.any() or (scale is not None and zero.size != scale.size):
            yield f"{node.name}: a zero point other than int8 zeros"


def _pair(graph: Graph, quantize: NodeProto) -> Iterator[str]:
    tensor = quantize.input[0]
    if [user.op_type for user in graph.users(tensor)].count("QuantizeLinear") > 1:
        yield f"{quantize.name}: {tensor} is quantised more than once"
    readers = graph.users(quantize.output[0])
    if [reader.op_type for reader in readers] != ["DequantizeLinear"]:
        yield f"{quantize.name}: not followed by one DequantizeLinear"
    elif list(readers[0].input[1:]) != list(quantize.input[1:]):
        yield f"{quantize.name}: dequantised with another scale or zero point"


def _source(graph: Graph, dequantize: NodeProto) -> Iterator[str]:
    source = dequantize.input[0]
    maker = graph.maker(source)
    if maker is None and (source not in graph.constants or graph.constants[source].dtype != np.int8):
        yield f"{dequantize.name}: dequantises something other than int8 constants"
    if maker is not None and maker.op_type != "QuantizeLinear":
        yield f"{dequantize.name}: dequantises the result of {maker.op_type}"


def _convolution(graph: Graph, conv: NodeProto) -> Iterator[str]:
    reads = [(maker := graph.maker(name)) is not None and maker.op_type == "DequantizeLinear" for name in conv.input]
    if reads[1] and not reads[0]:  # the other way round it is a layer in float that reads what int8 made
        yield f"{conv.name}: int8 weights on a float input"
    if any(reads[2:]):
        yield f"{conv.name}: a quantised bias"
    if reads[1]:
        weights = graph.maker(conv.input[1])
        assert weights is not None
        if graph.constants[weights.input[1]].ndim != 1:
            yield f"{conv.name}: one scale for all weights, expected one for each channel"
    users = graph.users(conv.output[0])
    behind = [user for q in users if q.op_type == "QuantizeLinear" for user in _behind_pair(graph, q)]
    if any(user.op_type == "Relu" for user in behind):
        yield f"{conv.name}: Q/DQ between it and its Relu, which engines fuse"


def _behind_pair(graph: Graph, quantize: NodeProto) -> list[NodeProto]:
    return [user for dq in graph.users(quantize.output[0]) for user in graph.users(dq.output[0])]
