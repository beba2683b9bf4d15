"""The only place for landmark templates, framings, similarity transforms, warps and boxes.

Pixel centres lie at integers: a picture of width w covers x from -0.5 to w - 0.5, and scaling it by s
maps x to (x + 0.5) s - 0.5. A transform is a 2x3 float64 matrix named *target_from_source*, so that
`target = A @ (x, y, 1)`. Landmarks are (5, 2) in x, y pixels, in the order of `LANDMARK_NAMES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import GeometryError
from .pixels import RgbImage, check_rgb

Transform: TypeAlias = NDArray[np.float64]
"""(2, 3) float64, named target_from_source."""

Landmarks: TypeAlias = NDArray[np.floating]
"""(5, 2), x and y in pixels, ordered as `LANDMARK_NAMES`."""

LANDMARK_NAMES = ("right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner")
"""Right and left as the person has them, so the right eye has the smaller x in an upright picture."""


@dataclass(frozen=True)
class Framing:
    """How a square crop frames a face: where the five landmarks of a mean face lie in it."""

    name: str
    template: NDArray[np.float64]
    """(5, 2) as shares of the crop: 0 is its left or top edge, 1 its right or bottom edge."""
    eye_distance: float
    """Share of the crop between the eyes."""
    face_width: float
    """Share of the crop that the face is wide, as the detector boxes it."""


def _framing(name: str, template: list[tuple[float, float]], face_width: float) -> Framing:
    points = np.array(template, np.float64)
    points.setflags(write=False)
    return Framing(name, points, float(np.hypot(*(points[1] - points[0]))), face_width)


FRAMINGS: Mapping[str, Framing] = MappingProxyType(
    {
        # Proportions: median of the detector's points on upright portraits, made symmetric; the eyes lie
        # .34 of the crop apart and high enough that hairline and chin are both inside.
        "runtime": _framing(
            "runtime",
            [(0.33, 0.385), (0.67, 0.385), (0.5, 0.58), (0.354, 0.722), (0.646, 0.722)],
            face_width=0.71,
        ),
        # CelebA's own alignment, rows 20..198 of 218 and all 178 columns: what published x8 tables use.
        "celeba178": _framing(
            "celeba178",
            [(0.3875, 0.520), (0.611, 0.520), (0.498, 0.647), (0.4055, 0.7415), (0.594, 0.7415)],
            face_width=0.49,
        ),
    }
)


def framing(name: str) -> Framing:
    """Return the framing called `name`; `GeometryError` names the known ones."""
    if name not in FRAMINGS:
        raise GeometryError(f"got framing {name!r}, expected one of {', '.join(FRAMINGS)}")
    return FRAMINGS[name]


def template_landmarks(framing_name: str, size: int) -> NDArray[np.float64]:
    """(5, 2) pixel positions of the mean face in a crop of `size` by `size` pixels."""
    return framing(framing_name).template * size - 0.5


def scaling(factor_x: float, factor_y: float | None = None) -> Transform:
    """The transform of a picture resized by `factor`, under the pixel-centre rule."""
    factor_y = factor_x if factor_y is None else factor_y
    return np.array([[factor_x, 0, (factor_x - 1) / 2], [0, factor_y, (factor_y - 1) / 2]], np.float64)


def compose(outer: Transform, inner: Transform) -> Transform:
    """a_from_b, b_from_c -> a_from_c."""
    composed: NDArray[np.float64] = outer[:, :2] @ inner
    composed[:, 2] += outer[:, 2]
    return composed


def invert(target_from_source: Transform) -> Transform:
    """target_from_source -> source_from_target."""
    (a, b, x), (c, d, y) = target_from_source.tolist()
    det = a * d - b * c  # by hand: a tenth of what the general inverse takes
    return np.array([[d, -b, b * y - d * x], [-c, a, c * x - a * y]]) / det


def transform_points(target_from_source: Transform, points: ArrayLike) -> NDArray[np.float64]:
    """Move (..., 2) points."""
    return np.asarray(points, np.float64) @ target_from_source[:, :2].T + target_from_source[:, 2]


def scale_of(target_from_source: Transform) -> float:
    """Target pixels per source pixel: the square root of the area ratio."""
    (a, b, _), (c, d, _) = target_from_source.tolist()
    return math.sqrt(abs(a * d - b * c))


def similarity_transforms(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Least-squares rotation, uniform scale and shift that take `source` points to `target` points.

    source: (N, K, 2); target: (K, 2) or (N, K, 2). Returns (N, 2, 3) target_from_source. Closed form: with
    points as complex numbers z -> w and means removed, the best factor is sum(conj(z) w) / sum(|z|^2)
    (Umeyama 1991, two dimensions, no reflection).

    Raises:
        GeometryError: a set of points is not finite or coincides in one place, or the best scale is zero, as it
            may be for mirrored points.
    """
    source_xy = np.asarray(source, np.float64)
    target_xy = np.broadcast_to(np.asarray(target, np.float64), source_xy.shape)
    if not np.isfinite(source_xy).all() or not np.isfinite(target_xy).all():
        raise GeometryError("got landmarks that are not finite, expected positions in pixels")
    z = source_xy[..., 0] + 1j * source_xy[..., 1]
    w = target_xy[..., 0] + 1j * target_xy[..., 1]
    z_mean, w_mean = z.mean(-1), w.mean(-1)
    z0, w0 = z - z_mean[..., None], w - w_mean[..., None]
    spread = (np.abs(z0) ** 2).sum(-1)
    if (spread < 1e-12).any():
        raise GeometryError("got landmarks that coincide, expected five distinct points")
    factor = (z0.conj() * w0).sum(-1) / spread
    if (np.abs(factor) ** 2 * spread < 1e-12).any():
        raise GeometryError("got landmarks that coincide once aligned, expected five distinct points of a face")
    shift = w_mean - factor * z_mean
    rows = [factor.real, -factor.imag, shift.real, factor.imag, factor.real, shift.imag]
    return np.stack(rows, -1).reshape(*factor.shape, 2, 3)


def similarity_transform(source: ArrayLike, target: ArrayLike) -> Transform:
    """One face of `similarity_transforms`: (K, 2) and (K, 2) -> (2, 3) target_from_source."""
    return similarity_transforms(np.asarray(source)[None], target)[0]


def crop_from_landmarks(landmarks: ArrayLike, framing_name: str, size: int) -> Transform:
    """crop_from_frame: aligns a face with the mean face of a framing in a square crop of `size` pixels."""
    return similarity_transform(landmarks, template_landmarks(framing_name, size))


def native_size(crop_from_frame: Transform, size: int) -> float:
    """Side of the square of frame pixels that a crop of `size` pixels was taken from."""
    return size / scale_of(crop_from_frame)


def resize(image: RgbImage, size_wh: tuple[int, int]) -> RgbImage:
    """Bicubic resize with antialiasing: Pillow's `Image.BICUBIC` on uint8, the kernel of the published tables."""
    from PIL import Image  # here, so that importing geometry stays fast

    check_rgb(image)
    if (image.shape[1], image.shape[0]) == tuple(size_wh):
        return image.copy()
    return np.asarray(Image.fromarray(image).resize(size_wh, Image.Resampling.BICUBIC))


def warp(image: RgbImage, target_from_source: Transform, size_wh: tuple[int, int]) -> RgbImage:
    """Sample `image` into a picture of `size_wh`, prefiltered where it shrinks; edges are replicated.

    Where the transform shrinks, the target is sampled k times as fine, about one sample a source pixel, and
    reduced with the antialiased kernel of `resize`: a bare warpAffine would alias.
    """
    check_rgb(image)
    width, height = size_wh
    scale = scale_of(target_from_source) if np.isfinite(target_from_source).all() else 0.0
    if scale <= 0:
        raise GeometryError(f"got a transform that cannot be inverted: {target_from_source.tolist()}")
    # 1e-6: a crop at exactly the native scale must not be sampled twice as fine because of a rounding error.
    fineness = min(max(1, math.ceil(1 / scale - 1e-6)), MAX_FINENESS)
    fine_from_source = compose(scaling(fineness), target_from_source) if fineness > 1 else target_from_source
    fine = cv2.warpAffine(
        image,
        fine_from_source,
        (width * fineness, height * fineness),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return resize(np.asarray(fine, np.uint8), size_wh) if fineness > 1 else np.asarray(fine, np.uint8)


MAX_FINENESS = 64
"""Bounds the memory of a warp: a 32 px crop of a face 2,048 px wide is still sampled fully."""


def iou(box_xyxy: ArrayLike, boxes_xyxy: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of one (4,) box with (N, 4) boxes, all x0, y0, x1, y1."""
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4).T
    intersection, union = _overlaps(np.asarray(box_xyxy, np.float64)[:, None], boxes)
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)[0]


AT_ONCE = 32
"""Boxes whose overlaps with all the others are taken together: one by one, calls would cost more than sums."""


def suppress_overlaps(boxes_xyxy: ArrayLike, scores: ArrayLike, max_iou: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices kept, best score first; ties keep the earlier box."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)[order].T
    kept: list[int] = []
    while order.size:
        intersection, union = _overlaps(boxes[:, :AT_ONCE], boxes)
        left = np.ones(order.size, bool)
        for n, apart in enumerate(intersection <= max_iou * union):
            if left[n]:
                kept.append(int(order[n]))
                left &= apart
        left[:AT_ONCE] = False
        order, boxes = order[left], boxes[:, left]
    return np.array(kept, np.intp)


def _overlaps(some: NDArray[np.float64], boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intersection and union of (4, M) with (4, N) boxes: (M, N) each."""
    x0, y0, x1, y1 = some[:, :, None]
    wide = np.minimum(x1, boxes[2]) - np.maximum(x0, boxes[0])
    high = np.minimum(y1, boxes[3]) - np.maximum(y0, boxes[1])
    intersection = np.maximum(wide, 0) * np.maximum(high, 0)
    return intersection, _areas(some)[:, None] + _areas(boxes) - intersection


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of (4, N) boxes; nothing of one that is turned inside out."""
    return np.maximum(boxes[2] - boxes[0], 0) * np.maximum(boxes[3] - boxes[1], 0)
