"""Which H.264 encoder works on this machine: the graphics chip's where there is one, else x264."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache

import numpy as np

SOFTWARE = "libx264"
HARDWARE: Mapping[str, Mapping[str, str]] = {
    "h264_nvenc": {"preset": "p4", "rc": "vbr", "cq": "21"},
    "h264_qsv": {"global_quality": "21"},
    "h264_amf": {"rc": "cqp", "qp_i": "21", "qp_p": "23"},
    "h264_videotoolbox": {},
    "h264_v4l2m2m": {},
}
"""Options by encoder, best first. None of them has run where this was written: there is no such chip."""
BITS_A_PIXEL = 0.15
"""For encoders that know no quality, only a rate."""

_PROBE_FRAMES = 5


@cache
def best_encoder(size_wh: tuple[int, int], rate: Fraction) -> str:
    """The first of `HARDWARE` that encodes a few frames here, each of which can be decoded, else `SOFTWARE`.

    size_wh, rate: as of `works`; a chip has a largest size, of 1080p to 4096 px a side.
    """
    return next((name for name in HARDWARE if works(name, size_wh, rate)), SOFTWARE)


def works(encoder: str, size_wh: tuple[int, int], rate: Fraction) -> bool:
    """Whether a few frames of that size, with even sides, can be encoded with it, and decoded again.

    rate: frames a second.
    """
    import av
    from av.error import FFmpegError

    if encoder not in av.codecs_available:
        return False
    try:
        return _decoded(encoder, size_wh, rate) == _PROBE_FRAMES
    except (FFmpegError, ValueError, OSError):  # no such chip, no driver, or taken by another program
        return False


def options(encoder: str, preset: str, crf: int) -> dict[str, str]:
    """For that encoder; preset, crf: of x264 and x265."""
    if encoder in ("libx264", "libx265"):
        return {"preset": preset, "crf": str(crf)}
    return dict(HARDWARE.get(encoder, {}))


def bit_rate(encoder: str, size_wh: tuple[int, int], rate: Fraction) -> int | None:
    """Bits a second where the encoder needs to be told; None where its options say the quality."""
    needs = encoder in HARDWARE and not HARDWARE[encoder]
    return round(BITS_A_PIXEL * size_wh[0] * size_wh[1] * float(rate)) if needs else None


def _decoded(encoder: str, size_wh: tuple[int, int], rate: Fraction) -> int:
    """How many of the frames come back."""
    from av import CodecContext
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

    there, back = CodecContext.create(encoder, "w"), CodecContext.create("h264", "r")
    assert isinstance(there, VideoCodecContext) and isinstance(back, VideoCodecContext)
    there.width, there.height, there.pix_fmt = *size_wh, "yuv420p"
    there.framerate, there.time_base = rate, 1 / rate
    there.options = options(encoder, "ultrafast", 23)
    packets = []
    for number in range(_PROBE_FRAMES):
        grey = np.full((size_wh[1] * 3 // 2, size_wh[0]), 60 + 20 * number, np.uint8)
        frame = VideoFrame.from_ndarray(grey, "yuv420p")
        frame.pts, frame.time_base = number, 1 / rate
        packets += there.encode(frame)
    packets += there.encode(None)
    return sum(len(back.decode(packet)) for packet in [*packets, None])
