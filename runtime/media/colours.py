"""How the numbers in a video stand for colours: the only place that knows YUV.

Numbers are those of ITU-T H.273 (matrix coefficients, primaries, transfer), which FFmpeg uses too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ..pixels import RgbImage

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.plane import VideoPlane
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

BT709, UNSPECIFIED, BT601 = 1, 2, 6
LIMITED, FULL = 1, 2

_BILINEAR, _ACCURATE_RND = 0x2, 0x40000  # SWS_* of libswscale; older PyAV lacks some names

_SWSCALE_FROM_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""FFmpeg's scaler numbers the matrices in its own way; those missing here are read as BT.709."""

_LUMA_OF_RED_BLUE = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""Of each matrix: what red and blue weigh in luma; H.273, table 4."""

_HALF_UP = 1 / 8
"""By which the mean of four whole numbers comes too high, rounded half up."""


@dataclass(frozen=True)
class Colours:
    """Of one video; pictures keep its primaries and transfer, and are RGB in full range in between."""

    matrix: int
    is_full: bool
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    @classmethod
    def of_size(cls, size_wh: tuple[int, int]) -> Colours:
        """For what says nothing of itself, a camera's pictures: limited range, matrix by size."""
        return cls(_usual_matrix(size_wh), False, BT709, BT709)

    @classmethod
    def of(cls, frame: VideoFrame) -> Colours:
        """As the frame says; where it does not, as players take it."""
        known = frame.colorspace in _SWSCALE_FROM_MATRIX
        matrix = frame.colorspace if known else _usual_matrix((frame.width, frame.height))
        return cls(matrix, frame.color_range == FULL, frame.color_primaries, frame.color_trc)

    def to_rgb(self, frame: VideoFrame, reformatter: VideoReformatter, size_wh: tuple[int, int]) -> RgbImage:
        """uint8 (H, W, 3) RGB of a decoded frame of any depth and layout, brought to `size_wh`."""
        matrix = _SWSCALE_FROM_MATRIX[self.matrix]
        planar = reformatter.reformat(
            frame,
            *size_wh,
            # Straight to rgb24 takes a fifth of the time, but every channel comes 1.3 too dark on average.
            format="gbrp",
            interpolation=_BILINEAR | _ACCURATE_RND,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=FULL if self.is_full else LIMITED,
            dst_color_range=FULL,
            threads=1,
        )
        green, blue, red = (_array(plane) for plane in planar.planes)
        return np.asarray(cv2.merge((red, green, blue)), np.uint8)

    def from_rgb(self, pixels: RgbImage) -> VideoFrame:
        """yuv420p in limited range, which every player shows; pixels: uint8 (H, W, 3), sides even.

        To .3 grey levels, in a third of the time of FFmpeg's scaler, which where it is fast is off by 2.
        """
        from av.video.frame import VideoFrame

        height, width = pixels.shape[:2]
        frame = VideoFrame(width, height, "yuv420p")
        luma, *chroma = cv2.split(cv2.transform(pixels, _limited_from_rgb(self.matrix)))
        whole, *halves = (_array(plane) for plane in frame.planes)
        whole[:] = luma
        for half, large in zip(halves, chroma, strict=True):
            cv2.resize(large, (width // 2, height // 2), half, interpolation=cv2.INTER_AREA)
        return frame

    def tag(self, stream: VideoStream) -> None:
        """Say in the file what `from_rgb` made."""
        context = stream.codec_context
        context.colorspace, context.color_range = self.matrix, LIMITED
        context.color_primaries, context.color_trc = self.primaries, self.transfer


@cache
def _limited_from_rgb(matrix: int) -> NDArray[np.float32]:
    """(3, 4): Y, Cb and Cr of full-range RGB and 1; ITU-T H.273, equations 36 to 41 and table 4."""
    red, blue = _LUMA_OF_RED_BLUE[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    rows = (
        (*(219 / 255 * luma), 16),
        (*(112 / 255 / (1 - blue) * (np.array([0, 0, 1]) - luma)), 128 - _HALF_UP),
        (*(112 / 255 / (1 - red) * (np.array([1, 0, 0]) - luma)), 128 - _HALF_UP),
    )
    return np.array(rows, np.float32)


def _array(plane: VideoPlane) -> NDArray[np.uint8]:
    """(H, W) of a plane, whose rows may be padded; what is written there is in the frame."""
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return rows[:, : plane.width]


def _usual_matrix(size_wh: tuple[int, int]) -> int:
    """BT.709 in high definition, BT.601 below, with the border that mpv draws."""
    width, height = size_wh
    return BT709 if width >= 1280 or height > 576 else BT601
