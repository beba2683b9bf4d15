"""An ONNX graph that can be read along its edges and changed in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, version_converter

from ..runtime.errors import InputError

OPSET = 17
"""The newest that TensorRT 8.6 reads; what is older is raised to it."""

IR_VERSION = 8
"""The newest that parsers of that age read."""

REDUCED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear"})
BRANCHES = frozenset({"If", "Loop", "Scan"})


def read_float_model(data: bytes, name: str) -> ModelProto:
    """Parse a float32 model that takes one batch of uint8 pictures, in opset 17; `name` is what messages call it.

    Raises:
        InputError: not ONNX, against its rules, already quantised or in float16, an opset that TensorRT 8.6 cannot
            read, or nodes of which there is no int8 or float16 version.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise InputError(f"{name}: got {len(data)} bytes that are not an ONNX file: {error}") from error
    opset = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    operators = {node.op_type for node in model.graph.node}
    if reduced := sorted(operators & REDUCED):
        raise InputError(f"{name}: got a model with {reduced[0]}, expected a float32 one: it is quantised already")
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise InputError(f"{name}: got a model with float16 weights, expected the float32 one it was made from")
    if opset > OPSET:
        raise InputError(f"{name}: got opset {opset}, expected at most {OPSET}: TensorRT 8.6 reads no newer one")
    foreign = [f"{node.domain}::{node.op_type}" for node in model.graph.node if node.domain not in ("", "ai.onnx")]
    if unknown := sorted({*foreign, *(operators & BRANCHES)}):
        raise InputError(f"{name}: got node {unknown[0]}, expected plain operators of ONNX without branches or loops")
    pictures = [image for image in model.graph.input if image.type.tensor_type.elem_type == TensorProto.UINT8]
    if len(model.graph.input) != 1 or not pictures:
        raise InputError(f"{name}: got a model that does not take uint8 pictures; export it with fsr-export onnx")
    require_valid(model, name)
    if opset < OPSET:
        model = version_converter.convert_version(model, OPSET)
    model.ir_version = IR_VERSION
    return model


def require_valid(model: ModelProto, name: str) -> None:
    """Refuse, by `InputError`, a model against ONNX's rules: an edge from nowhere, types that do not fit."""
    try:
        for tensor in model.graph.initializer:
            TensorProto.DataType.Name(tensor.data_type)
        onnx.checker.check_model(model, full_check=True)
        for tensor in model.graph.initializer:
            numpy_helper.to_array(tensor)  # the checker counts the bytes of few types
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name}: got a graph that breaks ONNX's rules: {reason}; export it with fsr-export onnx"
        ) from error


class Graph:
    """A model's graph; what is asked of it is always its present state."""

    def __init__(self, model: ModelProto) -> None:
        """Work on `model` itself."""
        self.model = model
        self._graph = model.graph
        self.constants: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in self._graph.initializer}
        for node in self.nodes("Constant"):
            self.constants[node.output[0]] = numpy_helper.to_array(helper.get_node_attr_value(node, "value"))

    @classmethod
    def copy(cls, model: ModelProto) -> Graph:
        copied = ModelProto()
        copied.CopyFrom(model)
        return cls(copied)

    def nodes(self, *operators: str) -> list[NodeProto]:
        """Of these operators, all if none is named, in the order they run."""
        return [node for node in self._graph.node if not operators or node.op_type in operators]

    @property
    def input(self) -> str:
        return self._graph.input[0].name

    @property
    def outputs(self) -> list[str]:
        return [output.name for output in self._graph.output]

    def users(self, tensor: str) -> list[NodeProto]:
        return [node for node in self._graph.node if tensor in node.input]

    def maker(self, tensor: str) -> NodeProto | None:
        """The node that makes a tensor; None of an input or a constant."""
        return next((node for node in self._graph.node if tensor in node.output), None)

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Add a constant and return its name."""
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        self.constants[name] = np.asarray(value)
        return name

    def insert(self, nodes: Sequence[NodeProto], position: int) -> None:
        """Ahead of the node that has that position now."""
        for offset, node in enumerate(nodes):
            self._graph.node.insert(position + offset, node)

    def position(self, node: NodeProto) -> int:
        return next(index for index, other in enumerate(self._graph.node) if other is node)

    def reroute(self, users: Sequence[NodeProto], tensor: str, other: str) -> None:
        """Let `users` read `other` in place of `tensor`."""
        for user in users:
            user.input[:] = [other if name == tensor else name for name in user.input]

    def skip_no_ops(self) -> None:
        """Take out DepthToSpace with blocks of 1, which TensorRT and ONNX Runtime would copy for."""
        for node in self.nodes("DepthToSpace"):
            if helper.get_node_attr_value(node, "blocksize") == 1 and node.output[0] not in self.outputs:
                self.skip([node])

    def cast_first(self) -> None:
        """Cast the picture before it is transposed: TensorRT transposes no bytes."""
        for transpose in [node for node in self.users(self.input) if node.op_type == "Transpose"]:
            users = self.users(transpose.output[0])
            if [user.op_type for user in users] == ["Cast"]:
                cast, made = users[0], users[0].output[0]
                self.reroute([cast], transpose.output[0], self.input)
                cast.output[0] = transpose.input[0] = transpose.output[0]
                transpose.output[0] = made
                self._graph.node.remove(cast)
                self.insert([cast], self.position(transpose))

    def skip(self, nodes: Sequence[NodeProto]) -> None:
        """Take nodes out: whoever read what they made reads what they read first."""
        for node in nodes:
            self.reroute(self.users(node.output[0]), node.output[0], node.input[0])
            self._graph.node.remove(node)

    def finish(self, name: str) -> ModelProto:
        """The model without constants that nothing reads, checked; shapes recorded of what was there are dropped.

        Raises:
            InputError: what was made of it is no model; `name` is what the message calls it.
        """
        used = {name for node in self._graph.node for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:], self._graph.value_info[:]
        self._graph.initializer.extend(kept)
        require_valid(self.model, name)
        return self.model


def attributes(node: NodeProto) -> Mapping[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
