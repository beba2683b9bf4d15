"""Quantisation-aware training: the network computes as its exported int8 file will, and its float weights learn.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference".
Values are rounded where and as export's `qdq` does it in the layout that ONNX Runtime runs: weights to 127 steps either
way, a scale a channel; what a layer reads and what the tail makes to steps of one scale a tensor, of which 255 reach
above 0 where nothing is negative. Gradients pass the rounding
unchanged and stop at what is clipped. What still differs: a sum near the middle of two steps may be rounded to the
other one, for here it is added up in float.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..calibration.int8 import first_is_cheap, weight_scales
from ..calibration.ranges import LEVELS, Histogram, threshold
from ..runtime.pixels import RgbBatch, to_float_nchw
from .networks.edge import EdgeNet

FACES, BATCH = 256, 32
"""Training faces that thresholds are measured on, and how many at once."""

RATE = 1e-3
"""Highest learning rate unless another is asked for. Measured on edge S, 16 -> 128, a fourth of one layer's channels
made 60 times as loud (25.94 dB in float, 24.75 in int8): after 150 steps int8 was at 25.38 dB with 1e-4, 25.48 with
3e-4, 25.63 with 1e-3, 25.64 with 2e-3. As it is, 100 steps of 1e-4, 3e-4 or 2e-3 moved it by less than .02 dB."""

SKIP_STEPS = 128
"""Steps in 1 of the bilinear weights that enlarge the picture; `calibration.int8.fits_steps`."""


class Steps(nn.Module):
    """Activations of any shape to the nearest of int8's steps. The scale is kept with a run's state."""

    scale: Tensor
    zero: Tensor

    def __init__(self, scale: float, *, signed: bool) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.register_buffer("zero", torch.tensor(0, dtype=torch.int32), persistent=False)
        self._limits = (-LEVELS - 1, LEVELS) if signed else (0, 2 * LEVELS + 1)

    def forward(self, values: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(values, self.scale, self.zero, *self._limits)


class Int8Conv(nn.Conv2d):
    """A convolution of odd sides that computes in int8, with the weights of a float one."""

    def __init__(self, plain: nn.Conv2d, reads: Steps, makes: Steps | None) -> None:
        side, _ = plain.kernel_size
        super().__init__(plain.in_channels, plain.out_channels, side, padding=side // 2)
        self.weight, self.bias = plain.weight, plain.bias
        self.reads = reads
        self.unshuffled = 1
        """By how much what it reads was unshuffled."""
        self.makes = makes
        """None where the next layer's `reads` does it, behind the ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        made = self._conv_forward(self.reads(input), *self._rounded())
        return made if self.makes is None else self.makes(made)

    def _rounded(self) -> tuple[Tensor, Tensor]:
        weight, bias = self.weight, self.bias  # once: mirrored ones are made anew at every look
        assert bias is not None
        scales = _scales(_pixel_by_pixel(weight, self.unshuffled), bias, self.reads)
        zeros = torch.zeros(len(scales), dtype=torch.int32, device=weight.device)
        rounded = torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -LEVELS, LEVELS)
        # ONNX Runtime brings biases to the steps of its int32 sums.
        steps = scales * self.reads.scale
        return rounded, bias + ((bias / steps).round() * steps - bias).detach()


class Int8Bilinear(nn.Module):
    """Bilinear enlargement of pictures (N, C, h, w), levels from 0 to 1, by `scale`, 4 or 8, to whole grey levels.

    All sums are of whole numbers that float32 holds, so that what lies between two levels is rounded as int8 does.
    """

    weights: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        impulses = torch.eye(9).reshape(9, 1, 3, 3)
        seen = F.interpolate(impulses, scale_factor=float(scale), mode="bilinear")[:, 0, scale:-scale, scale:-scale]
        exact = seen.reshape(3, 3, 1, scale**2).permute(3, 2, 0, 1)
        self.register_buffer("weights", (exact * SKIP_STEPS).round(), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        by_colour = (pictures * 255).round().reshape(-1, 1, *pictures.shape[2:])
        enlarged = F.conv2d(F.pad(by_colour, [1] * 4, mode="replicate"), self.weights)
        levels = (F.pixel_shuffle(enlarged, self.scale) / SKIP_STEPS).round()
        return levels.unflatten(0, pictures.shape[:2]).squeeze(2) / 255


def _pixel_by_pixel(weight: Tensor, unshuffled: int) -> Tensor:
    """Weights (K, C, h, w) of what was unshuffled by so much, with the input channels as they are deployed.

    There all colours of one pixel come before the next one's, and neighbours share a step (`calibration.int8.PAIR`).
    """
    return weight.unflatten(1, (-1, unshuffled**2)).transpose(1, 2).flatten(1, 2)


def _scales(weight: Tensor, bias: Tensor, reads: Steps) -> Tensor:
    """By NumPy, so that training and export compute them by the same lines; where the weight is."""
    weights, biases = (tensor.detach().cpu().numpy() for tensor in (weight, bias))
    return torch.from_numpy(weight_scales(weights, biases, float(reads.scale))).to(weight.device)


def to_int8(student: EdgeNet, low: RgbBatch, method: str) -> EdgeNet:
    """Let a trained network compute in int8 from now on, in place.

    low: the training faces, uint8 (N, h, h, 3) RGB; some at even distances measure the ranges. method: of
        `calibration.ranges.METHODS`.

    Raises:
        CalibrationError: what flows through the network is not finite.
    """
    read, made = histograms(student, low[:: max(1, len(low) // FACES)][:FACES])

    def layer(name: str) -> Int8Conv:
        plain = student.get_submodule(name)
        assert isinstance(plain, nn.Conv2d)
        return Int8Conv(plain, _steps(read[name], method), _steps(made, method) if name == "tail" else None)

    if not head_in_float(student):
        student.head = layer("head")
        student.head.unshuffled = student.config.unshuffle
    student.body = nn.ModuleList(layer(f"body.{index}") for index in range(len(student.body)))
    student.tail = layer("tail")
    student.skip = Int8Bilinear(student.config.scale)
    return student


def head_in_float(student: EdgeNet) -> bool:
    """Whether export leaves the head in float: it costs little, or a value a place is added to what it makes."""
    skip = 9 * 3 * student.config.shuffle**2 * 3 * student.config.unshuffle**2  # deployed as a convolution
    sizes = [layer.weight.numel() for layer in _convolutions(student).values()]
    return student.positions is not None or first_is_cheap([*sizes, skip])


@torch.inference_mode()
def histograms(student: EdgeNet, low: RgbBatch) -> tuple[Mapping[str, Histogram], Histogram]:
    """What each convolution of a float network reads, by name, and what the tail makes, on uint8 (N, h, h, 3) RGB."""
    read = {name: Histogram() for name in _convolutions(student)}
    made = Histogram()
    with _watched(student, read, made):
        for start in range(0, len(low), BATCH):
            student(torch.from_numpy(to_float_nchw(low[start : start + BATCH])))
    return read, made


@contextmanager
def _watched(student: EdgeNet, read: Mapping[str, Histogram], made: Histogram) -> Iterator[None]:
    def count(layer: nn.Module, seen: tuple[Tensor, ...], output: Tensor) -> None:
        layers[layer].add(seen[0].numpy())
        if layer is student.tail:
            made.add(output.numpy())

    layers: dict[nn.Module, Histogram] = {layer: read[name] for name, layer in _convolutions(student).items()}
    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(count))
        yield


def _convolutions(student: EdgeNet) -> dict[str, nn.Conv2d]:
    """By name, from the head to the tail."""
    return {name: layer for name, layer in student.named_modules() if isinstance(layer, nn.Conv2d)}


def _steps(histogram: Histogram, method: str) -> Steps:
    return Steps(float(np.float32(threshold(histogram, method) / LEVELS)), signed=histogram.signed)


def in_int8(network: EdgeNet) -> bool:
    """Whether a network computes in int8."""
    return isinstance(network.tail, Int8Conv)


def to_float(network: EdgeNet) -> EdgeNet:
    """A copy that computes in float with the same weights; itself if it does already."""
    if not in_int8(network):
        return network
    plain, weights = EdgeNet(network.config), network.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    return plain
