"""What a camera and its encoder do to the test scene: noise, and H.264 there and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import cv2
import numpy as np

from ..pixels import RgbImage
from .colours import Colours
from .pyav import require_pyav

_SPARE = 64
"""Pixels by which the noise is larger than a frame, so that it lies elsewhere in each."""


def worn(frames: Iterable[RgbImage], rate: Fraction, noise: float, crf: int, seed: int) -> Iterator[RgbImage]:
    """Each frame with noise of `noise` grey levels, after H.264 of quality `crf`; 0 leaves either out."""
    codec, rng, grain = None, np.random.default_rng([seed, 4]), None
    for pixels in frames:
        height, width = pixels.shape[:2]
        if noise:
            grain = _grain(rng, noise, (width, height)) if grain is None else grain
            top, left = rng.integers(0, _SPARE, 2).tolist()
            brighter, darker = (half[top : top + height, left : left + width] for half in grain)
            pixels = np.asarray(cv2.subtract(cv2.add(pixels, brighter), darker), np.uint8)
        if crf:
            codec = codec or _codec((width, height), rate, crf)
            pixels = codec(pixels)
        yield pixels


def _grain(rng: np.random.Generator, noise: float, size_wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """What a sensor adds and what it takes away, uint8 (H + spare, W + spare, 3), one of them 0 everywhere: mostly
    grey, a third of it coloured. In two, since OpenCV adds bytes to bytes three times as fast as signed ones.
    """
    height, width = size_wh[1] + _SPARE, size_wh[0] + _SPARE
    grey = rng.standard_normal((height, width, 1), np.float32)
    colour = rng.standard_normal((height, width, 3), np.float32)
    grain = np.clip(np.rint(noise * (0.94 * grey + 0.33 * colour)), -127, 127)
    return np.maximum(grain, 0).astype(np.uint8), np.maximum(-grain, 0).astype(np.uint8)


def _codec(size_wh: tuple[int, int], rate: Fraction, crf: int) -> Callable[[RgbImage], RgbImage]:
    """A frame in, the same frame out: without frames that wait for later ones."""
    require_pyav()
    from av import CodecContext
    from av.video.codeccontext import VideoCodecContext
    from av.video.reformatter import VideoReformatter

    encoder, decoder = CodecContext.create("libx264", "w"), CodecContext.create("h264", "r")
    assert isinstance(encoder, VideoCodecContext) and isinstance(decoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = *size_wh, "yuv420p"
    encoder.framerate, encoder.time_base = rate, 1 / rate
    encoder.thread_count = decoder.thread_count = 1
    encoder.options = {"preset": "superfast", "tune": "zerolatency", "crf": str(crf), "g": str(round(2 * rate))}
    colours, to_rgb = Colours.of_size(size_wh), VideoReformatter()
    number = 0

    def there_and_back(pixels: RgbImage) -> RgbImage:
        nonlocal number
        frame = colours.from_rgb(pixels)
        frame.pts, frame.time_base = number, 1 / rate
        number += 1
        (decoded,) = [decoded for packet in encoder.encode(frame) for decoded in decoder.decode(packet)]
        return colours.to_rgb(decoded, to_rgb, size_wh)

    return there_and_back
