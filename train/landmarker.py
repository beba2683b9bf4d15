"""MediaPipe's face landmarker: the dense mesh of one face and what its muscles do.

The file is a zip of TFLite networks. Two of them are run by LiteRT, without mediapipe: the mesh (attention mesh, 478
points) and the blendshapes.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from ..runtime.errors import EngineUnavailableError, InputError
from ..runtime.geometry import Landmarks, invert, similarity_transform, transform_points, warp
from ..runtime.pixels import RgbImage
from .mesh import MESH_POINTS

KNOWN_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
"""The `face_landmarker.task` (float16, version 1) that this module was measured with."""

MESH_NETWORK, BLENDSHAPE_NETWORK = "face_landmarks_detector.tflite", "face_blendshapes.tflite"

INPUT_SIZE = 256
FIVE_IN_INPUT = np.array([(96, 96), (159, 96), (127.5, 138), (98, 161.5), (157, 161.5)]) - 0.5
"""(5, 2): where the detector's points lie in the mesh network's input.

MediaPipe gives it a square 1.5 times as long as the mesh, turned until the outer eye corners are level. These are the
mean places in such squares of 300 faces (CelebA, SFHQ, portraits). Aligning by them and not by the square itself, which
needs a first mesh, moves the mesh by .2% of the square's side at the median and .8% at the 95th percentile.
"""

PRESENCE = 0.0
"""Logit above which the mesh network sees a face."""

BLENDSHAPE_POINTS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251,
    263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318,
    321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386,
    387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip
"""The 146 mesh points that the blendshape network takes (mediapipe, `face_blendshapes_graph.cc`)."""

BLENDSHAPES = 52
ACTION_UNITS: Mapping[str, tuple[int, ...]] = {
    "AU1": (3,),  # browInnerUp
    "AU2": (4, 5),  # browOuterUp
    "AU4": (1, 2),  # browDown
    "AU5": (21, 22),  # eyeWide
    "AU6": (7, 8),  # cheekSquint
    "AU7": (19, 20),  # eyeSquint
    "AU9": (50, 51),  # noseSneer
    "AU10": (48, 49),  # mouthUpperUp
    "AU12": (44, 45),  # mouthSmile
    "AU14": (28, 29),  # mouthDimple
    "AU15": (30, 31),  # mouthFrown
    "AU16": (34, 35),  # mouthLowerDown
    "AU17": (42,),  # mouthShrugLower
    "AU20": (46, 47),  # mouthStretch
    "AU24": (36, 37),  # mouthPress
    "AU26": (25,),  # jawOpen
}
"""Blendshapes that stand in for FACS action units; of left and right the mean is taken.

The network never shows AU6 and AU9: below .0005 on each of 15,098 CelebA faces. They are no labels to learn from.
"""


@dataclass(frozen=True, eq=False)
class Mesh:
    """What the landmarker sees in one face."""

    points: NDArray[np.float64]
    """(478, 2): x and y in pixels of the picture; `mesh` says which point is where."""
    action_units: NDArray[np.float32]
    """(16,) in [0, 1], in the order of `ACTION_UNITS`."""
    present: bool
    """The network thinks that this is a face at all."""


class Landmarker:
    """`landmarker(image, landmarks)` returns the mesh of the face with these five points."""

    def __init__(self, mesh: bytes, blendshapes: bytes) -> None:
        """Open two TFLite networks.

        Raises:
            EngineUnavailableError: LiteRT is missing.
            ValueError: not the networks expected.
        """
        self._mesh = _Network(mesh, (1, INPUT_SIZE, INPUT_SIZE, 3))
        self._blendshapes = _Network(blendshapes, (1, len(BLENDSHAPE_POINTS), 2))
        self._mesh.expect({MESH_POINTS * 3: "points", 1: "presence"})
        self._blendshapes.expect({BLENDSHAPES: "blendshapes"})

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a `face_landmarker.task`.

        Raises:
            EngineUnavailableError: LiteRT is missing.
            InputError: no such file, or no landmarker.
        """
        try:
            with zipfile.ZipFile(BytesIO(_read(path))) as parts:
                return cls(parts.read(MESH_NETWORK), parts.read(BLENDSHAPE_NETWORK))
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise InputError(
                f"--landmarker {path}: got a file that is not MediaPipe's face_landmarker.task "
                f"({str(error).strip() or 'damaged'}); get that file again"
            ) from error

    def __call__(self, image: RgbImage, landmarks: Landmarks) -> Mesh:
        """The mesh of one face; landmarks: (5, 2), x and y in pixels of `image`."""
        input_from_image = similarity_transform(landmarks, FIVE_IN_INPUT)
        face = warp(image, input_from_image, (INPUT_SIZE, INPUT_SIZE))
        outputs = self._mesh(face[None].astype(np.float32) / 255)
        # The network counts from the edge of its input: mirrored faces have x and 256 - x.
        points = outputs["points"].reshape(MESH_POINTS, 3)[:, :2] - 0.5
        return Mesh(
            transform_points(invert(input_from_image), points),
            self._action_units(points),
            float(outputs["presence"][0]) > PRESENCE,
        )

    def _action_units(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        values = self._blendshapes(points[None, BLENDSHAPE_POINTS, :])["blendshapes"]
        return np.array([values[list(indices)].mean() for indices in ACTION_UNITS.values()], np.float32)


def landmarker_sha256(path: Path) -> str:
    """What identifies a landmarker file."""
    return hashlib.sha256(_read(path)).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"--landmarker {path}: {error.strerror or error}; expected MediaPipe's face_landmarker.task"
        ) from error


class _Network:
    """One TFLite network with one input; its outputs are told apart by their number of values."""

    def __init__(self, model: bytes, input_shape: tuple[int, ...]) -> None:
        self._interpreter = _interpreter(model)
        self._interpreter.allocate_tensors()
        (entry,) = self._interpreter.get_input_details()
        if (shape := tuple(entry["shape"].tolist())) != input_shape:
            raise ValueError(f"a network takes {shape}, expected {input_shape}")
        self._input = entry["index"]
        self._outputs: dict[str, int] = {}

    def expect(self, names: Mapping[int, str]) -> None:
        """Name the first output with each number of values."""
        details = self._interpreter.get_output_details()
        for values, name in names.items():
            found = [entry["index"] for entry in details if int(np.prod(entry["shape"])) == values]
            if not found:
                raise ValueError(f"a network has no output of {values} values")
            self._outputs[name] = found[0]

    def __call__(self, values: NDArray[np.floating]) -> dict[str, NDArray[np.float32]]:
        self._interpreter.set_tensor(self._input, values.astype(np.float32))
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index).ravel() for name, index in self._outputs.items()}


def _interpreter(model: bytes) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise EngineUnavailableError(
            f'ai-edge-litert cannot be imported ({error}); install it with: pip install "fsr-edge[priors]"'
        ) from error
    return Interpreter(model_content=model, num_threads=1)
