"""The obvious chain, for comparison: OpenCV and PyTorch as their tutorials use them.

cv2.imread -> cv2.FaceDetectorYN at the picture's size -> estimateAffinePartial2D and warpAffine for each face -> a
network of random weights in torch, float32, eager, one face at a time -> warpAffine to the whole picture and a soft
blend for each face -> cv2.imwrite. The network has 48 channels, 16 layers at 16 px and PixelShuffle to 128 px.

Nothing else of the runtime imports torch or onnx, and this module only when it is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..bundle import default_detector
from ..errors import EngineUnavailableError, InputError
from ..geometry import invert, scaling, template_landmarks
from ..quiet import quiet_opencv
from ..timing import Stopwatch
from .race import Outcome

LOW, HIGH = 16, 128
CHANNELS, LAYERS = 48, 16
SCORE, OVERLAP, TOP_K = 0.6, 0.3, 5000
"""Thresholds of `detect.Detector`."""
FINDS = 24.0
"""Width in pixels from which its detector finds nearly every face of a picture."""


def require_naive() -> None:
    """Prove that the chain can run, without importing what it needs.

    Raises:
        EngineUnavailableError: torch or onnx is not installed.
    """
    if missing := [name for name in ("torch", "onnx") if find_spec(name) is None]:
        raise EngineUnavailableError(
            f'--naive: the chain it times needs {" and ".join(missing)}; install with: pip install "fsr-edge[export]"'
        )


class NaiveChain:
    """`chain(source, target)` restores the faces of one picture file into another; threads may share it."""

    def __init__(self, threads: int | None = None, quality: int = 90) -> None:
        """threads: for OpenCV and torch each, in every call; None leaves the libraries' own choice.

        Raises:
            EngineUnavailableError: torch or onnx is not installed.
        """
        require_naive()
        import torch

        self.threads = threads
        self._quality = quality
        self._torch_threads = threads or torch.get_num_threads()
        self._network = make_network()
        self._model = original_yunet(default_detector())
        self._idle: SimpleQueue[Any] = SimpleQueue()  # detectors: none may serve two threads at once

    def __call__(self, source: Path, target: Path) -> Outcome:
        """Raises InputError if OpenCV cannot read `source`."""
        import torch

        watch = Stopwatch()
        torch.set_num_threads(self._torch_threads)  # counts for the thread that says so
        with watch("read"):
            frame = read(source)
        with watch("detect"), self._detector() as detector:
            faces = detect(detector, frame)
        for face in faces:
            with watch("align"):
                low_from_frame, low = align(frame, face)
            with watch("super-resolve"):
                restored = super_resolve(self._network, low)
            with watch("paste"):
                frame = paste(frame, restored, low_from_frame)
        with watch("write"):
            cv2.imwrite(str(target), frame, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        return Outcome(boxes_of(faces), len(faces), watch.milliseconds)

    def boxes(self, source: Path) -> NDArray[np.float64]:
        """(N, 4): every face that it finds in a picture, which it leaves as it is."""
        with self._detector() as detector:
            return boxes_of(detect(detector, read(source)))

    @contextmanager
    def _detector(self) -> Iterator[Any]:
        detector = open_detector(self._model) if self._idle.empty() else self._idle.get()
        try:
            yield detector
        finally:
            self._idle.put(detector)


def read(source: Path) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) BGR."""
    if (frame := cv2.imread(str(source))) is None:
        raise InputError(f"{source}: OpenCV cannot read it; leave it out of a comparison with the naive chain")
    return np.asarray(frame, np.uint8)


def detect(detector: Any, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 15) as OpenCV returns them: left, top, width, height, five landmarks, score."""
    detector.setInputSize((bgr.shape[1], bgr.shape[0]))
    _, faces = detector.detect(bgr)
    return np.empty((0, 15), np.float32) if faces is None else faces


def align(bgr: NDArray[np.uint8], face: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """low_from_frame, and the aligned crop."""
    landmarks = face[4:14].reshape(5, 2)
    low_from_frame, _ = cv2.estimateAffinePartial2D(landmarks, template_landmarks("runtime", LOW))
    low = cv2.warpAffine(bgr, low_from_frame, (LOW, LOW))
    return np.asarray(low_from_frame, np.float64), np.asarray(low, np.uint8)


def super_resolve(network: Any, low_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (16, 16, 3) BGR -> uint8 (128, 128, 3) BGR."""
    import torch

    rgb = np.ascontiguousarray(low_bgr[..., ::-1].transpose(2, 0, 1))
    with torch.no_grad():
        restored = network(torch.from_numpy(rgb)[None].float() / 255)[0]
    return (restored.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]


def paste(
    bgr: NDArray[np.uint8], restored: NDArray[np.uint8], low_from_frame: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Warp the face to a picture as large as the frame, a mask likewise, and blend the two pictures."""
    size_wh = (bgr.shape[1], bgr.shape[0])
    frame_from_restored = invert(low_from_frame) @ np.vstack([scaling(LOW / HIGH), [0, 0, 1]])
    face = cv2.warpAffine(np.ascontiguousarray(restored), frame_from_restored, size_wh)
    mask = cv2.warpAffine(np.ones((HIGH, HIGH), np.float32), frame_from_restored, size_wh)
    return np.asarray(cv2.blendLinear(bgr, face, 1 - mask, mask), np.uint8)


def boxes_of(faces: NDArray[np.float32]) -> NDArray[np.float64]:
    """OpenCV counts from the picture's edge, half a pixel from the middle of its first pixel."""
    corner, size = faces[:, :2].astype(np.float64) - 0.5, faces[:, 2:4]
    return np.hstack([corner, corner + size])


def make_network() -> Any:
    """3x3 convolutions with ReLU at 16 px, .42 M random weights, 107 M multiply-accumulates a face."""
    from torch import nn

    def layer(inputs: int, outputs: int) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    body = [module for _ in range(LAYERS) for module in (layer(CHANNELS, CHANNELS), nn.ReLU())]
    upscale = HIGH // LOW
    tail = [layer(CHANNELS, 3 * upscale**2), nn.PixelShuffle(upscale)]
    return nn.Sequential(layer(3, CHANNELS), nn.ReLU(), *body, *tail).eval()


def original_yunet(detector: bytes) -> bytes:
    """Undo what a bundle puts before YuNet: float32 (1, 3, H, W) BGR in 0..255 again, as OpenCV feeds it.

    detector: uint8 (N, H, W, 3) RGB -> Transpose -> Cast -> YuNet with its first weights in RGB order.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_model_from_string(detector)
    transpose, cast, first, *rest = model.graph.node
    if [transpose.op_type, cast.op_type, first.op_type] != ["Transpose", "Cast", "Conv"]:
        raise EngineUnavailableError("the default bundle's detector does not begin as this version makes it; reinstall")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == first.input[1])
    bgr_weight = np.ascontiguousarray(numpy_helper.to_array(weight)[:, ::-1])
    weight.CopyFrom(numpy_helper.from_array(bgr_weight, weight.name))
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend([first, *rest])
    model.graph.input.append(helper.make_tensor_value_info(cast.output[0], TensorProto.FLOAT, [1, 3, 640, 640]))
    return model.SerializeToString()


def open_detector(yunet: bytes) -> Any:
    """cv2.FaceDetectorYN; through a file, which every OpenCV since 4.8 reads."""
    with quiet_opencv(), tempfile.TemporaryDirectory() as folder:  # OpenCV 5 warns about its own defaults
        path = Path(folder, "yunet.onnx")
        path.write_bytes(yunet)
        return cv2.FaceDetectorYN.create(str(path), "", (640, 640), SCORE, OVERLAP, TOP_K)
