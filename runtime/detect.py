"""Find faces and their five landmarks in a frame.

The network is YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023) as
`fsr-export bundle` prepares it. Boxes, landmarks, scores and their order are those of `cv2.FaceDetectorYN`.

YuNet counts from the picture's edge: 0 is the left edge of the first pixel, whose centre lies at 0.5. That is
half a pixel more than the rule of `geometry`, which everything returned here follows. Measured on 360 faces
shrunk to 12 to 32 px and enlarged 1 to 4 times, against the same faces in pictures of 320 px: unconverted,
the points lie 0.56 px too far right and 0.36 px too low on average.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from . import geometry
from .engines import Network, open_network
from .errors import BundleError
from .pixels import RgbBatch, RgbImage, check_rgb

STRIDES = (8, 16, 32)
"""Pixels of a cell on the network's three levels; a frame is padded to a multiple of the last."""

APART = 1e6
"""Pixels by which the frames of a batch are laid apart, so that no face of one is suppressed by one of another."""
HALF = np.float32(0.5)

HEADS = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a frame, in frame pixels whose centres lie at integers."""

    box_xyxy: NDArray[np.float32]
    """(4,): left, top, right, bottom; it may reach beyond the frame."""
    landmarks: NDArray[np.float32]
    """(5, 2): x and y in the order of `geometry.LANDMARK_NAMES`."""
    score: float
    """0 to 1."""

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        x0, y0, x1, y1 = self.box_xyxy.tolist()
        return (x1 - x0) * (y1 - y0)

    @property
    def centre(self) -> NDArray[np.float32]:
        """(2,): x and y of the middle of the box."""
        return np.asarray((self.box_xyxy[:2] + self.box_xyxy[2:]) / 2, np.float32)


def largest(faces: Sequence[Face]) -> Face | None:
    """The face with the largest box; the first of equals, None of none."""
    return max(faces, key=lambda face: face.area, default=None)


class Detector:
    """YuNet: `detector(frame)` returns the faces of a frame, best score first."""

    def __init__(
        self,
        network: Network,
        *,
        score_threshold: float = 0.6,
        max_iou: float = 0.3,
        top_k: int = 5000,
    ) -> None:
        """Detect with `network`; threads may share the detector.

        score_threshold: faces below it are dropped. max_iou: of two faces whose boxes overlap more, the worse
        is dropped. top_k: candidates considered at most, the best ones of the frames of a call.

        Raises:
            BundleError: the network is not a detector of this program.
        """
        self.score_threshold = score_threshold
        self.max_iou = max_iou
        self.top_k = top_k
        self._network = network
        _check_detector(network)

    @classmethod
    def open(
        cls,
        model: Path | bytes,
        engine: str = "onnxruntime",
        *,
        precision: str = "fp32",
        score_threshold: float = 0.6,
        max_iou: float = 0.3,
        top_k: int = 5000,
    ) -> Self:
        """Open the detector of a bundle with the engine of that name; for the rest see the constructor.

        Raises:
            EngineUnavailableError: the engine is missing or cannot read the model.
            BundleError: the model is not a detector of this program.
        """
        network = open_network(engine, model, precision)
        return cls(network, score_threshold=score_threshold, max_iou=max_iou, top_k=top_k)

    def __call__(self, frame: RgbImage, score_threshold: float | None = None) -> list[Face]:
        """Find the faces of a frame of any size.

        score_threshold: in place of the detector's own.

        Raises:
            TypeError: `frame` is not uint8 (H, W, 3).
        """
        (faces,) = self.in_batch(_pad(check_rgb(frame, "frame"))[None], score_threshold)
        return faces

    def in_batch(self, frames: RgbBatch, score_threshold: float | None = None) -> list[list[Face]]:
        """Find the faces of each of several frames of one size, whose sides are multiples of 32 pixels.

        frames: uint8 (N, H, W, 3) RGB.
        """
        least = self.score_threshold if score_threshold is None else score_threshold
        candidates = _decode(self._network(frames), frames.shape[2], least)
        found: list[list[Face]] = [[] for _ in frames]
        for index in self._best(candidates):
            found[candidates.frames[index]].append(candidates.face(index))
        return found

    def _best(self, candidates: _Candidates) -> Iterator[int]:
        """Non-maximum suppression over the `top_k` best, best score first."""
        best = np.argsort(-candidates.scores, kind="stable")[: self.top_k]
        # OpenCV suppresses boxes whose corner and size are cut to whole pixels; without that, other faces
        # would survive here than there.
        corner, size = np.trunc(candidates.corner[best]).astype(np.float64), np.trunc(candidates.size[best])
        corner[:, 0] += candidates.frames[best] * APART
        kept = geometry.suppress_overlaps(np.hstack([corner, corner + size]), candidates.scores[best], self.max_iou)
        yield from best[kept].tolist()


@dataclass(frozen=True, eq=False)
class _Candidates:
    """All cells of some frames above the score threshold."""

    frames: NDArray[np.intp]  # (K,)
    scores: NDArray[np.float32]  # (K,)
    corner: NDArray[np.float32]  # (K, 2) left, top
    size: NDArray[np.float32]  # (K, 2) width, height
    landmarks: NDArray[np.float32]  # (K, 5, 2)

    def face(self, index: int) -> Face:
        """Counted from the first pixel's centre in place of the picture's edge."""
        corner = self.corner[index] - HALF
        box = np.concatenate([corner, corner + self.size[index]])
        return Face(box, self.landmarks[index] - HALF, float(self.scores[index]))


def _decode(heads: dict[str, NDArray[np.float32]], width: int, score_threshold: float) -> _Candidates:
    """Heads, each (frames, cells, values), to candidates; `width` is that of the padded frames.

    In column c and row r of a level: score = sqrt(cls obj), box centre = ((c, r) + bbox[:2]) stride,
    box size = exp(bbox[2:]) stride, landmark k = ((c, r) + kps[k]) stride.
    """
    levels = []
    for stride in STRIDES:
        cls, obj = (np.clip(heads[f"{kind}_{stride}"][..., 0], 0, 1) for kind in ("cls", "obj"))
        scores = np.sqrt(cls * obj)
        # Only these cells are decoded: a handful of many thousand.
        frames, cells = seen = np.nonzero(scores >= score_threshold)
        rows, columns = np.divmod(cells, width // stride)
        origin = np.stack([columns, rows], 1).astype(np.float32)  # (K, 2)
        bbox, kps = heads[f"bbox_{stride}"][seen], heads[f"kps_{stride}"][seen].reshape(-1, 5, 2)
        size = np.exp(bbox[:, 2:]) * stride
        corner = (origin + bbox[:, :2]) * stride - size / 2
        levels.append((frames, scores[seen], corner, size, (origin[:, None] + kps) * stride))
    return _Candidates(*(np.concatenate(parts) for parts in zip(*levels, strict=True)))


def _pad(frame: RgbImage) -> RgbImage:
    """Zeros on the right and at the bottom up to a multiple of the largest stride, as OpenCV pads."""
    height, width = frame.shape[:2]
    bottom, right = -height % STRIDES[-1], -width % STRIDES[-1]
    if not bottom and not right:
        return np.ascontiguousarray(frame)
    return np.asarray(cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=0), np.uint8)


def _check_detector(network: Network) -> None:
    if network.input_shape[1:] != (None, None, 3) or set(network.outputs) != set(HEADS):
        raise BundleError(
            f"got a model that takes {network.input_shape} and returns {', '.join(network.outputs)}, expected a "
            "detector made by fsr-export bundle: uint8 (N, H, W, 3) of any size and YuNet's 12 heads"
        )
