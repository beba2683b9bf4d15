"""The machine's peak: a network that does nothing but arithmetic, in the same engines as the models.

Five 3x3 convolutions of 256 to 256 channels on 32x32, each with its ReLU: what reading and writing costs is little
beside the arithmetic. It is a peak that was reached, by the engine that came nearest, not the processor's sheet.
"""

from __future__ import annotations

import numpy as np

SIDE, CHANNELS, LAYERS = 32, 256, 5
MACS = 9 * SIDE**2 * CHANNELS * (3 + LAYERS * CHANNELS)
"""Multiply-accumulates for one picture."""


def yardsticks() -> dict[str, bytes]:
    """ONNX files by precision, from uint8 (N, SIDE, SIDE, 3) to float32 (N, CHANNELS, 1, 1); needs onnx."""
    from .quantize import QuantizeConfig, quantize

    model = make_yardstick()
    pictures = np.random.default_rng(1).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    return {"fp32": model, "int8": quantize(model, pictures, QuantizeConfig("minmax"))}


def make_yardstick() -> bytes:
    """The float32 one, of random weights that keep the size of what goes through them."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["map0"], to=TensorProto.FLOAT),
    ]
    weights = []
    for layer, inputs in enumerate([3, *[CHANNELS] * LAYERS]):
        weight = rng.normal(0, (2 / (9 * inputs)) ** 0.5, (CHANNELS, inputs, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"{layer}.weight"))
        names = [f"map{layer}", f"{layer}.weight"]
        nodes.append(helper.make_node("Conv", names, [f"conv{layer}"], kernel_shape=[3, 3], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"conv{layer}"], [f"map{layer + 1}"]))
    nodes.append(helper.make_node("GlobalAveragePool", [f"map{LAYERS + 1}"], ["mean"]))
    graph = helper.make_graph(
        nodes,
        "yardstick",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["N", CHANNELS, 1, 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()
