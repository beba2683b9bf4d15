"""PSNR and SSIM as four parts of the field compute them; a number without its protocol says nothing.

The same bicubic faces score 1.4 dB apart under these rules. Both measures compare uint8 RGB pictures on
the scale 0..255: PSNR = 10 log10(255^2 / MSE), over every plane of a face at once, and

    SSIM = mean of (2 ux uy + C1)(2 vxy + C2) / ((ux^2 + uy^2 + C1)(vx + vy + C2))

with C1 = (.01 * 255)^2 and C2 = (.03 * 255)^2 (Wang et al., IEEE TIP 13(4), 2004), where u and v are the
weighted mean and (co)variance in a window, and the mean runs over the windows that lie wholly inside.

Identical pictures score inf dB and SSIM 1. Nothing is capped: as in the released evaluation codes, a set
with one identical face has a mean of inf, which tells that HR reached the restorer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError, UsageError
from ..runtime.pixels import RgbBatch, RgbImage, check_rgb

FloatArray = NDArray[np.float64]

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True, eq=False)
class Protocol:
    """One set of evaluation rules."""

    name: str
    rule: str
    """One line to print beside every number."""
    border: int
    """Pixels cut from every side before anything is compared."""
    planes: Literal["luma truncated", "luma rounded", "luma", "rgb"]
    """What is compared: Y quantised down or to the nearest, Y as computed, or R, G and B."""
    window: FloatArray
    """(K,) weights summing to 1; the SSIM window is their outer product."""
    sample_covariance: bool
    """Whether SSIM's (co)variances are multiplied by K^2 / (K^2 - 1)."""


def gaussian_window() -> FloatArray:
    """(11,) Gaussian of sigma 1.5 cut at 3.5 sigma, sum 1: Wang et al. 2004, also scikit-image's."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    return weights / weights.sum()


def uniform_window() -> FloatArray:
    """(7,) equal weights: scikit-image's default."""
    return np.full(7, 1 / 7)


SPARNET = Protocol(
    "sparnet",
    "Y truncated to uint8, no border cut, SSIM Gaussian 11x11",
    border=0,
    planes="luma truncated",
    window=gaussian_window(),
    sample_covariance=False,
)
"""The published CelebA and Helen x8 tables: `psnr_ssim.py` of chaofengc/Face-SPARNet, kept by WFEN.

Y = floor((65.481 R + 128.553 G + 24.966 B) / 255 + 16); SSIM as scikit-image's with gaussian_weights=True,
sigma=1.5, use_sample_covariance=False: its borders are reflected, then the 5 px they reach are left out of
the mean, so only whole windows count.
"""

DIC = Protocol(
    "dic",
    "Y rounded to uint8, 8 px border cut, SSIM Gaussian 11x11",
    border=8,
    planes="luma rounded",
    window=gaussian_window(),
    sample_covariance=False,
)
"""`code/utils/util.py` of Maclory/Deep-Iterative-Collaboration (DIC, CVPR 2020), border = scale = 8.

Y = (65.481 R + 128.553 G + 24.966 B) / 255 + 16, rounded half to even; SSIM with the 11x11 Gaussian over
the valid region, as MATLAB's. That code multiplies its uint8 Y by 255 first, which wraps to 256 - Y: its PSNR
is unharmed, but the SSIM it prints is the negative's, about .002 higher on bicubic x8. Ours is of Y, as
its text and MATLAB have it.
"""

HIT = Protocol(
    "hit",
    "Y unquantised, 8 px border cut, SSIM uniform 7x7 with sample covariance",
    border=8,
    planes="luma",
    window=uniform_window(),
    sample_covariance=True,
)
"""PSNR of wcy-cs/KDFSRNet (`util.py`, border 8, Y never quantised) with SSIM of wcy-cs/SFMNet
(`utils/metric.py`: scikit-image's default, 7x7 uniform, sample covariance, data_range 255).

Y = (65.481 R + 128.553 G + 24.966 B) / 255 + 16. KDFSRNet compares float networks' outputs that were never
uint8 RGB; here the RGB is uint8, as a deployed network returns it. SFMNet rounds Y as `dic` does, which
lowers bicubic x8 by about .002 dB and .0006 SSIM.
"""

RGB = Protocol(
    "rgb",
    "R, G and B, no border cut, SSIM Gaussian 11x11, mean of channels",
    border=0,
    planes="rgb",
    window=gaussian_window(),
    sample_covariance=False,
)
"""One MSE over all three channels; SSIM is the mean of three. Its window is our choice: that of `sparnet`."""

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({rules.name: rules for rules in (SPARNET, DIC, HIT, RGB)})


@dataclass(frozen=True, eq=False)
class Scores:
    """Measures of N faces under one protocol."""

    psnr: FloatArray
    """(N,) dB, inf for identical faces."""
    ssim: FloatArray
    """(N,) in [-1, 1]."""

    @property
    def mean_psnr(self) -> float:
        """Mean of the faces' dB, as every table prints it (not the dB of the mean error)."""
        return float(self.psnr.mean())

    @property
    def mean_ssim(self) -> float:
        """Mean over the faces."""
        return float(self.ssim.mean())


def protocol_named(name: str) -> Protocol:
    """Return the protocol called `name`; `UsageError` names the known ones."""
    if name not in PROTOCOLS:
        raise UsageError(f"got protocol {name!r}, expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def psnr(protocol: str, sr: RgbImage, hr: RgbImage) -> float:
    """PSNR in dB of one uint8 (H, W, 3) RGB picture; raises as `score` does."""
    return float(psnr_batch(protocol, check_rgb(sr, "sr")[None], check_rgb(hr, "hr")[None])[0])


def ssim(protocol: str, sr: RgbImage, hr: RgbImage) -> float:
    """SSIM of one uint8 (H, W, 3) RGB picture; raises as `score` does."""
    return float(ssim_batch(protocol, check_rgb(sr, "sr")[None], check_rgb(hr, "hr")[None])[0])


def score(protocol: str, sr: RgbBatch, hr: RgbBatch) -> Scores:
    """PSNR and SSIM of every face of uint8 (N, H, W, 3) RGB batches.

    Raises:
        UsageError: no protocol of that name.
        TypeError: not uint8 (N, H, W, 3).
        InputError: sizes differ, no face, or faces too small for the protocol's border and window.
    """
    rules = protocol_named(protocol)
    pairs = [(_psnr(x, y), _ssim(rules, x, y)) for x, y in _planes_by_chunk(rules, sr, hr)]
    return Scores(np.concatenate([p for p, _ in pairs]), np.concatenate([s for _, s in pairs]))


def psnr_batch(protocol: str, sr: RgbBatch, hr: RgbBatch) -> FloatArray:
    """The (N,) PSNR of `score` alone, several times as fast."""
    return np.concatenate([_psnr(x, y) for x, y in _planes_by_chunk(protocol_named(protocol), sr, hr)])


def ssim_batch(protocol: str, sr: RgbBatch, hr: RgbBatch) -> FloatArray:
    """The (N,) SSIM of `score` alone."""
    rules = protocol_named(protocol)
    return np.concatenate([_ssim(rules, x, y) for x, y in _planes_by_chunk(rules, sr, hr)])


CHUNK = 4
"""Faces handled at once, so that their float64 planes stay inside a core's cache."""


def _planes_by_chunk(rules: Protocol, sr: RgbBatch, hr: RgbBatch) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Check the batches, then yield the compared planes of `CHUNK` faces at a time."""
    _check(rules, sr, hr)
    for start in range(0, len(hr), CHUNK):
        yield _planes(rules, sr[start : start + CHUNK]), _planes(rules, hr[start : start + CHUNK])


def _check(rules: Protocol, sr: RgbBatch, hr: RgbBatch) -> None:
    for name, batch in (("sr", sr), ("hr", hr)):
        if not isinstance(batch, np.ndarray) or batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3:
            got = f"{batch.dtype} {batch.shape}" if isinstance(batch, np.ndarray) else type(batch).__name__
            raise TypeError(f"{name}: got {got}, expected uint8 (N, H, W, 3) in RGB order")
    if sr.shape != hr.shape:
        raise InputError(f"got sr {sr.shape} and hr {hr.shape}, expected equal shapes; resize sr to hr first")
    smallest = len(rules.window) + 2 * rules.border
    if len(hr) == 0 or min(hr.shape[1:3]) < smallest:
        raise InputError(f"got faces {hr.shape}, expected at least one of {smallest} px for {rules.name!r}")


def _planes(rules: Protocol, batch: RgbBatch) -> FloatArray:
    """uint8 (N, H, W, 3) RGB -> float64 (N, C, H', W') on 0..255, border cut, C = 1 for Y and 3 for RGB."""
    _, height, width, _ = batch.shape
    inner = batch[:, rules.border : height - rules.border, rules.border : width - rules.border]
    if rules.planes == "rgb":
        return np.ascontiguousarray(inner.transpose(0, 3, 1, 2), np.float64)
    y = _luma(inner)[:, None]
    quantise = {"luma truncated": np.floor, "luma rounded": np.rint, "luma": np.asarray}
    return quantise[rules.planes](y)


def _luma(rgb: NDArray[np.uint8]) -> FloatArray:
    """(..., 3) -> (...), 16..235: Y of ITU-R BT.601 as MATLAB's rgb2ycbcr has it, not quantised.

    Weights are whole numbers, so that sums are exact and the quantised Y is the same on every machine.
    """
    weighted = rgb.reshape(-1, 3).astype(np.float64) @ np.array([65481.0, 128553.0, 24966.0])
    return weighted.reshape(rgb.shape[:-1]) / 255_000 + 16


def _psnr(x: FloatArray, y: FloatArray) -> FloatArray:
    """(N, C, H, W) twice -> (N,) dB."""
    squared_error = np.square(x - y).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):  # identical faces: inf is the documented answer
        return 10 * (2 * math.log10(255) - np.log10(squared_error))


def _ssim(rules: Protocol, x: FloatArray, y: FloatArray) -> FloatArray:
    """(N, C, H, W) twice -> (N,), the formula of this file's docstring."""
    taps = rules.window.size**2
    unbiased = taps / (taps - 1) if rules.sample_covariance else 1.0
    ux, uy = _window_mean(rules.window, x), _window_mean(rules.window, y)
    uxy, uxx_uyy = ux * uy, ux * ux + uy * uy
    variances = unbiased * (_window_mean(rules.window, x * x + y * y) - uxx_uyy)
    covariance = unbiased * (_window_mean(rules.window, x * y) - uxy)
    similarity = (2 * uxy + C1) * (2 * covariance + C2) / ((uxx_uyy + C1) * (variances + C2))
    return similarity.mean(axis=(1, 2, 3))


def _window_mean(window: FloatArray, planes: FloatArray) -> FloatArray:
    """Weighted mean in every window wholly inside its plane: (N, C, H, W) -> (N, C, H-K+1, W-K+1).

    All planes are filtered as one tall picture; rows where neighbours mix are just those cut off.
    """
    number, channels, height, width = planes.shape
    tall = cv2.sepFilter2D(planes.reshape(-1, width), cv2.CV_64F, window, window)
    radius = window.size // 2
    filtered = np.asarray(tall, np.float64).reshape(number, channels, height, width)
    return filtered[..., radius : height - radius, radius : width - radius]
