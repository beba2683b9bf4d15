"""Which tensors of a float32 model and of its float16 or int8 version hold the same values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import NodeProto

from ..graph import Graph
from ..qdq import layer_name


@dataclass(frozen=True)
class Pair:
    """What one layer makes, in both models."""

    layer: str
    """A convolution by its name, such as `network.body.3`; anything else by its operator and tensor."""
    tensor: str
    """In float32."""
    counterpart: str
    """In the other: of a quantised tensor what is read of it, dequantised."""
    reads: Sequence[str]
    """Tensors of other pairs that the layer computes from."""


def find_pairs(reference: Graph, reduced: Graph) -> list[Pair]:
    """In the order that float32 runs them; what the picture has no part in is left out, and what only one has."""
    dequantised = _dequantised(reduced)
    there = {name for node in reduced.nodes() for name in node.output}
    computed, pairs = {reference.input}, []
    for node in reference.nodes():
        if computed.isdisjoint(node.input):
            continue
        computed.update(node.output)
        name = node.output[0]
        if (counterpart := dequantised.get(name, name)) in there:
            pairs.append(Pair(_named(node, reference), name, counterpart, tuple(computed.intersection(node.input))))
    return pairs


def _dequantised(graph: Graph) -> Mapping[str, str]:
    """By tensor that goes through Q/DQ: what comes out."""
    stored = {node.output[0]: node.input[0] for node in graph.nodes("QuantizeLinear")}
    return {
        stored[node.input[0]]: node.output[0] for node in graph.nodes("DequantizeLinear") if node.input[0] in stored
    }


def _named(node: NodeProto, graph: Graph) -> str:
    if node.op_type == "Conv" and node.input[1] in graph.constants:
        return layer_name(node)
    return f"{node.op_type} {node.output[0]}"
