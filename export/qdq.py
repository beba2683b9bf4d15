"""INT8 written into an ONNX graph: QuantizeLinear and DequantizeLinear (Q/DQ) around convolutions.

One file runs fast everywhere. Weights are int8 constants with a scale a channel; activations have one scale, a zero
point of 0, and one Q/DQ pair that all readers share. Behind a ReLU the zero point is left out: by ONNX's rule the
values are then uint8 from 0, so that ONNX Runtime absorbs the ReLU and runs one int8 kernel a layer, while TensorRT
reads the same nodes as int8 around 0 (TensorRT-RTX 1.7 builds the same engine from both; 10 by its parser's source,
not run). Both have the same scale, so the same steps; only what lies beyond the threshold differs: TensorRT clips it at
127 steps, ONNX Runtime at 255. Written out as int8 zeros, which TensorRT 8.6 needs, ONNX Runtime finds no int8 kernel
behind the ReLU and computes every layer in float.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from ..calibration.int8 import weight_scales
from ..calibration.ranges import LEVELS
from .graph import Graph
from .picture_path import fits_int8, picture_path

MOVES = frozenset({"DepthToSpace", "MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"})
"""Operators that move or pick values without computing new ones: what goes in and out has one scale."""


@dataclass(frozen=True)
class Range:
    """What int8 holds of a tensor."""

    threshold: float
    signed: bool
    """Whether negative values occur."""


GREY_LEVELS = Range(LEVELS, signed=True)
"""Of a tensor that holds a picture less 128: a step is a level, and -128 is one too."""


def quantisable(graph: Graph) -> list[NodeProto]:
    """Convolutions that may run in int8: with weights of their own, and not of the picture added to something.

    That would be a first layer with a value a place added to it, which 7 bits would spoil. The way around the network
    may where nothing is lost but parts of a grey level; see `picture_path`.
    """
    return [
        node
        for node in graph.nodes("Conv")
        if node.input[1] in graph.constants
        and len(graph.users(node.input[1])) == 1
        and (
            _sees_features(graph, node.input[0])
            or all(u.op_type != "Add" for u in graph.users(node.output[0]))
            or node in grey_convolutions(graph)
        )
    ]


def grey_convolutions(graph: Graph) -> list[NodeProto]:
    """The way around the network, where its weights fit int8."""
    path = picture_path(graph)
    return [path.skip] if path and fits_int8(graph.constants[path.skip.input[1]]) else []


def _sees_features(graph: Graph, tensor: str) -> bool:
    """Whether a convolution had a part in a tensor."""
    maker = graph.maker(tensor)
    return maker is not None and (maker.op_type == "Conv" or any(_sees_features(graph, x) for x in maker.input if x))


def layer_name(conv: NodeProto) -> str:
    """What people and `QuantizeConfig` call a convolution, such as `network.body.3`: by its bias, or else its weights.

    The exporter renames weights that it has folded a factor into.
    """
    return conv.input[2].removesuffix(".bias") if len(conv.input) > 2 else conv.input[1].removesuffix(".weight")


def quantised_tensors(graph: Graph, convs: Collection[NodeProto]) -> dict[str, str]:
    """Activations that get a Q/DQ pair, each with the tensor whose range it has.

    What a convolution reads and what it or its ReLU makes; and where values are only moved between two of them, or
    from the last to the result, all that lies on the way, so that they stay in int8.
    """
    made = [result for conv in convs if (result := behind_relu(graph, conv)) not in graph.outputs]
    tensors = dict.fromkeys(made)
    for conv in convs:
        path = [conv.input[0]]
        while path[-1] not in made and (maker := graph.maker(path[-1])) is not None and maker.op_type in MOVES:
            path.append(maker.input[0])
        tensors |= dict.fromkeys(path, path[-1]) if path[-1] in made else {path[0]: path[0]}
    result = picture_path(graph)
    if result and any(behind_relu(graph, conv) in result.added.input for conv in convs):
        tensors |= dict.fromkeys(result.moved, result.moved[0])
    return {tensor: source or tensor for tensor, source in tensors.items()}


def grey_ranges(graph: Graph) -> dict[str, Range]:
    """Of the tensors whose range is known: a picture's."""
    path = picture_path(graph)
    return dict.fromkeys([path.skip.input[0], path.skip.output[0], path.moved[0]], GREY_LEVELS) if path else {}


def behind_relu(graph: Graph, conv: NodeProto) -> str:
    """What a convolution makes, with the ReLU that engines fuse into it."""
    users = graph.users(conv.output[0])
    return users[0].output[0] if [user.op_type for user in users] == ["Relu"] else conv.output[0]


def insert_qdq(
    model: ModelProto, layers: Collection[str], ranges: Mapping[str, Range], *, tensorrt_8: bool = False
) -> ModelProto:
    """A copy of `model` in which the convolutions of those names run in int8.

    ranges: of every tensor that `quantised_tensors` takes a range from. tensorrt_8: write zero points out, and weights
    as float constants that a Q/DQ pair follows, both as TensorRT 8.6 needs it.
    """
    graph = Graph.copy(model)
    graph.skip_no_ops()
    graph.cast_first()
    convs = [conv for conv in quantisable(graph) if layer_name(conv) in layers]
    ranges = {**ranges, **grey_ranges(graph)}
    sources = quantised_tensors(graph, convs)
    made = {behind_relu(graph, conv) for conv in convs}
    if (path := picture_path(graph)) and path.moved[0] in sources:
        made.add(path.moved[0])
        graph.skip(path.to_uint8)
    for conv in convs:
        _quantise_weights(graph, conv, ranges[sources[conv.input[0]]].threshold / LEVELS, tensorrt_8)
    for tensor, source in sources.items():
        # What int8 makes all read in int8; of what float makes, only the convolutions do.
        users = graph.users(tensor) if source in made else [c for c in convs if c.input[0] == tensor]
        _quantise_tensor(graph, tensor, users, ranges[source], tensorrt_8)
    return graph.finish("the model in int8")


def to_int8(weights: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.int8]:
    """Weights (K, ...) in steps of their channel's scale, rounded half to even as engines do."""
    steps = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))
    return np.clip(steps, -LEVELS, LEVELS).astype(np.int8)


def _quantise_weights(graph: Graph, conv: NodeProto, input_scale: float, tensorrt_8: bool) -> None:
    name = conv.input[1]
    weights = graph.constants[name]
    bias = graph.constants[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(weights), np.float32)
    scales = weight_scales(weights, bias, input_scale)
    zeros = np.zeros(len(scales), np.int8)
    parameters = [graph.constant(f"{name}_scale", scales), graph.constant(f"{name}_zero", zeros)]
    stored, read = f"{name}_q", f"{name}_dq"
    nodes = [helper.make_node("DequantizeLinear", [stored, *parameters], [read], read, axis=0)]
    if tensorrt_8:
        nodes.insert(0, helper.make_node("QuantizeLinear", [name, *parameters], [stored], stored, axis=0))
    else:
        graph.constant(stored, to_int8(weights, scales))
    graph.insert(nodes, graph.position(conv))
    conv.input[1] = read


def _quantise_tensor(graph: Graph, tensor: str, users: Sequence[NodeProto], range_: Range, tensorrt_8: bool) -> None:
    parameters = [graph.constant(f"{tensor}_scale", np.float32(range_.threshold / LEVELS))]
    if range_.signed or tensorrt_8:
        parameters.append(graph.constant(f"{tensor}_zero", np.int8(0)))
    stored, read = f"{tensor}_q", f"{tensor}_dq"
    pair = [
        helper.make_node("QuantizeLinear", [tensor, *parameters], [stored], stored),
        helper.make_node("DequantizeLinear", [stored, *parameters], [read], read),
    ]
    maker = graph.maker(tensor)
    graph.reroute(users, tensor, read)
    graph.insert(pair, graph.position(maker) + 1 if maker is not None else 0)
