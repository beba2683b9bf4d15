"""A float32 model to float16: weights, and everything computed from them; what goes in and comes out stays as it is.

Pictures are uint8 at both ends, the detector's heads float32. The casts that stood between uint8 and float32 now stand
between uint8 and float16, so TensorRT from 10 on, which takes every precision from the graph, computes all of it in
float16.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from ..runtime.errors import InputError
from .graph import Graph, read_float_model

FLOAT32_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that are float32 by ONNX's rule, whatever the pictures are: regions and scales."""

LARGEST = float(np.finfo(np.float16).max)


def to_half(model: bytes, name: str = "the model") -> bytes:
    """`model` in float16; `name` is what messages call it.

    Raises:
        InputError: no float32 model of fsr-export, or one whose weights float16 cannot hold or that is no model in it.
    """
    graph = Graph(read_float_model(model, name))
    graph.cast_first()
    kept = {
        node.input[index]
        for node in graph.nodes(*FLOAT32_INPUTS)
        for index in FLOAT32_INPUTS[node.op_type]
        if index < len(node.input)
    }
    for tensor in graph.model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            tensor.CopyFrom(numpy_helper.from_array(_half(numpy_helper.to_array(tensor), tensor.name), tensor.name))
    for node in graph.nodes():
        _convert_attributes(node, kept)
    for output in graph.model.graph.output:
        if output.type.tensor_type.elem_type == TensorProto.FLOAT:
            _cast_back(graph, output.name)
    return graph.finish(f"{name} in float16").SerializeToString(deterministic=True)


def _cast_back(graph: Graph, output: str) -> None:
    """A float32 output stays one."""
    maker = graph.maker(output)
    assert maker is not None
    half = f"{output}_half"
    graph.reroute(graph.users(output), output, half)
    maker.output[:] = [half if name == output else name for name in maker.output]
    cast = helper.make_node("Cast", [half], [output], f"{output}_cast", to=TensorProto.FLOAT)
    graph.insert([cast], len(graph.nodes()))


def _half(values: NDArray[np.float32], name: str) -> NDArray[np.float16]:
    if not (np.abs(values) <= LARGEST).all():
        raise InputError(f"got {name} with values beyond {LARGEST:g}, which float16 cannot hold")
    return values.astype(np.float16)


def _convert_attributes(node: NodeProto, kept: set[str]) -> None:
    """Casts to float32, and constants that stand in a node."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        constant = attribute.type == AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT
        if constant and node.output[0] not in kept:
            half = _half(numpy_helper.to_array(attribute.t), node.output[0])
            attribute.CopyFrom(helper.make_attribute(attribute.name, numpy_helper.from_array(half)))
