"""A landmarker of the right shapes that sees the same face everywhere, and the mesh it sees."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr.runtime.geometry import similarity_transform, template_landmarks
from fsr.train import mesh
from fsr.train.face_prior import FacePrior, no_prior
from fsr.train.landmarker import BLENDSHAPE_NETWORK, BLENDSHAPE_POINTS, FIVE_IN_INPUT, INPUT_SIZE, MESH_NETWORK


@cache
def synthetic_mesh() -> NDArray[np.float64]:
    """(478, 2) in the mesh network's input: every ring an ellipse around its part of a face seen from the front."""
    right_eye, left_eye, nose, right_corner, left_corner = FIVE_IN_INPUT
    mouth = (right_corner + left_corner) / 2
    middle = np.array([127.0, 128.0])
    half = (left_corner - right_corner)[0] / 2
    points = np.tile(middle, (mesh.MESH_POINTS, 1))
    _ring(points, mesh.FACE_OVAL, middle, (70, 84), start=-90)
    _ring(points, mesh.RIGHT_BROW, right_eye - (0, 20), (18, 3), start=180)
    _ring(points, mesh.LEFT_BROW, left_eye - (0, 20), (18, 3), start=0, turn=-1)
    _ring(points, mesh.RIGHT_EYE, right_eye, (13, 6), start=180)
    _ring(points, mesh.LEFT_EYE, left_eye, (13, 6), start=0, turn=-1)
    _ring(points, mesh.NOSE, nose - np.array([0, 10]), (12, 24), start=-90, turn=-1)
    _ring(points, mesh.OUTER_LIPS, mouth, (half, 12), start=180)
    _ring(points, mesh.INNER_LIPS, mouth, (half - 8, 5), start=180)
    points[list(range(468, 473))], points[list(range(473, 478))] = right_eye, left_eye
    points[[1, 4]] = nose
    return points


def synthetic_priors(count: int, framing: str, size: int) -> dict[str, NDArray]:
    """`pack.PRIORS` of faces that all have the synthetic mesh where `framing` puts them, each a pixel further right.

    The last of several is not relied on.
    """
    crop_from_input = similarity_transform(FIVE_IN_INPUT, template_landmarks(framing, size))
    face = FacePrior(
        np.concatenate([synthetic_mesh(), FIVE_IN_INPUT]), np.linspace(0, 1, 16, dtype=np.float32), reliable=True
    )
    each = [face.in_crop(crop_from_input + np.array([[0, 0, index % 4], [0, 0, 0]]), size) for index in range(count)]
    blank = no_prior(size)
    stacked = {
        name: np.stack([one[name] for one in each]) if each else np.empty((0, *value.shape), value.dtype)
        for name, value in blank.items()
    }
    stacked["reliable"][1:][-1:] = False
    return stacked


def _ring(
    points: NDArray[np.float64], ring: Sequence[int], centre: NDArray, radii: tuple[float, float], start: float,
    turn: int = 1,
) -> None:  # fmt: skip
    """Put a ring's points clockwise (as seen) on an ellipse, the first at `start` degrees from the right."""
    angles = np.radians(start + turn * 360 * np.arange(len(ring)) / len(ring))
    points[list(ring)] = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radii


def write_landmarker(path: Path, *, presence: float = 9.0, shift: float = 0.0) -> Path:
    """A zip as `face_landmarker.task`, whose networks answer every face with the synthetic mesh and equal blendshapes.

    presence: logit; shift: pixels of the network's input that the mesh is off by.
    """
    points = np.zeros((mesh.MESH_POINTS, 3), np.float32)
    points[:, :2] = synthetic_mesh() + 0.5 + shift  # the network counts from the edge
    face = (1, INPUT_SIZE, INPUT_SIZE, 3)
    with zipfile.ZipFile(path, "w") as parts:
        parts.writestr(
            zipfile.ZipInfo(MESH_NETWORK), constant_network(face, [points.ravel(), np.array([presence], np.float32)])
        )
        blendshapes = np.linspace(0, 1, 52, dtype=np.float32)
        parts.writestr(
            zipfile.ZipInfo(BLENDSHAPE_NETWORK), constant_network((1, len(BLENDSHAPE_POINTS), 2), [blendshapes])
        )
    return path


def constant_network(input_shape: tuple[int, ...], outputs: Sequence[NDArray[np.float32]]) -> bytes:
    """A TFLite network that answers anything with `outputs`: the input times 0, plus them."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated

    tflite: Any = schema_py_generated  # its generated types contradict its use
    model, graph = tflite.ModelT(), tflite.SubGraphT()
    model.version, model.subgraphs = 3, [graph]
    model.buffers = [tflite.BufferT()]  # the first is empty by convention
    graph.tensors, graph.operators = [], []

    def tensor(shape: Sequence[int], values: NDArray | None = None) -> int:
        entry = tflite.TensorT()
        entry.shape, entry.buffer, entry.name = list(shape), 0, f"tensor{len(graph.tensors)}".encode()
        entry.type = tflite.TensorType.INT32 if values is not None and values.dtype == np.int32 else 0
        if values is not None:
            buffer = tflite.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            entry.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(entry)
        return len(graph.tensors) - 1

    def operator(code: int, inputs: Sequence[int], output: int, kind: int, options: object) -> None:
        entry = tflite.OperatorT()
        entry.opcodeIndex, entry.inputs, entry.outputs = code, list(inputs), [output]
        entry.builtinOptionsType, entry.builtinOptions = kind, options
        graph.operators.append(entry)

    model.operatorCodes = [_code(tflite, "MEAN"), _code(tflite, "FULLY_CONNECTED")]
    channels = input_shape[-1]
    whole, pooled = tensor(input_shape), tensor((1, channels))
    axes = tensor((len(input_shape) - 2,), np.arange(1, len(input_shape) - 1, dtype=np.int32))
    operator(0, [whole, axes], pooled, tflite.BuiltinOptions.ReducerOptions, tflite.ReducerOptionsT())
    graph.inputs, graph.outputs = [whole], []
    for values in outputs:
        weights = tensor((len(values), channels), np.zeros((len(values), channels), np.float32))
        bias, out = tensor((len(values),), values), tensor((1, len(values)))
        options = tflite.FullyConnectedOptionsT()
        operator(1, [pooled, weights, bias], out, tflite.BuiltinOptions.FullyConnectedOptions, options)
        graph.outputs.append(out)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(tflite: Any, name: str) -> Any:
    code = tflite.OperatorCodeT()
    code.builtinCode = getattr(tflite.BuiltinOperator, name)
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
    return code
