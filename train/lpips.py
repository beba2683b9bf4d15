"""LPIPS: how unlike two pictures are to a network that was trained to name what pictures show; lower is more alike.

Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
2018, with version 0.1 of its weights. The features after five ReLUs of a trunk are made unit vectors along their
channels; their squared differences are weighted by channel, averaged over places and summed over the five layers.

The trunk's weights are a file of the user's. Those of the channels are read out of the installed package lpips, which
is never imported: it would import torchvision, and fetch a trunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import Self

from ..calibration.moments import sha256_of
from ..runtime.errors import CheckpointError, EngineUnavailableError
from ..runtime.pixels import RgbBatch, to_float_nchw
from .foreign_weights import Shape, read_weights, require_tensors, shape_of

VERSION = "0.1"
BATCH = 50
TINY = 1e-10
"""Added to the length of a vector of features, which may be 0."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""By channel, of RGB in [-1, 1]: what the metric was published with."""

FIRST = "features.0.weight"
ADVICE = (
    "--lpips: give the weights that torchvision has for AlexNet (alexnet-owt-7be5be79.pth) or VGG16 "
    "(vgg16-397923af.pth), as they are or as .safetensors"
)
INSTALL = "pip install --no-deps lpips"


def _alex() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
    )  # fmt: skip


def _vgg() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        layers += [nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
        channels = width or channels
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Trunk:
    """A network whose features are compared."""

    name: str
    """As the package lpips calls it."""
    first: Shape
    """Of its first weights, by which its file is told."""
    layers: Callable[[], nn.Sequential]
    """Numbered as the `features` of torchvision's, whose weights they take."""
    seen: tuple[int, ...]
    """The ReLUs that are compared; a convolution stands before each."""


TRUNKS = (
    Trunk("alex", (64, 3, 11, 11), _alex, (1, 4, 7, 9, 11)),
    Trunk("vgg", (64, 3, 3, 3), _vgg, (3, 8, 15, 22, 29)),
)


class Lpips:
    """`lpips(first, second)` is the distance of every pair of pictures."""

    def __init__(self, trunk: Trunk, layers: nn.Sequential, weights: Sequence[Tensor], file: str) -> None:
        """weights: (C,) for each of `trunk.seen`; file: what to call the trunk's."""
        self.name = f"LPIPS {trunk.name} v{VERSION}"
        self.rule = f"{self.name}, trunk from {file}, mean of all faces; lower is more alike"
        """One line to print beside every number."""
        self._trunk, self._layers, self._weights = trunk, layers.eval(), weights

    @classmethod
    def open(cls, path: Path) -> Self:
        """With the trunk of a file, told from its tensors, and the channels' weights that belong to it.

        Raises:
            CheckpointError: a file is missing, damaged, or of another network.
            EngineUnavailableError: the package lpips is not installed.
        """
        tensors = read_weights(path, ADVICE)
        first = shape_of(tensors, FIRST)
        trunk = next((trunk for trunk in TRUNKS if trunk.first == first), None)
        if trunk is None:
            expected = " or ".join(f"{trunk.first} ({trunk.name})" for trunk in TRUNKS)
            raise CheckpointError(f"{path}: got {first or 'no tensor'} as {FIRST}, expected {expected}; {ADVICE}")
        layers = trunk.layers()
        wanted = {f"features.{name}": tuple(tensor.shape) for name, tensor in layers.state_dict().items()}
        found = require_tensors(path, tensors, wanted, ADVICE)
        layers.load_state_dict({name.removeprefix("features."): tensor for name, tensor in found.items()})
        return cls(trunk, layers, _channel_weights(trunk, layers), f"{path.name} (sha256 {sha256_of(path)[:8]})")

    @torch.inference_mode()
    def __call__(self, first: RgbBatch, second: RgbBatch) -> NDArray[np.float64]:
        """uint8 (N, H, W, 3) RGB twice -> (N,): 0 for equal pictures, else more."""
        pieces = [slice(start, start + BATCH) for start in range(0, len(first), BATCH)]
        return np.concatenate([self._distances(first[piece], second[piece]) for piece in pieces])

    def _distances(self, first: RgbBatch, second: RgbBatch) -> NDArray[np.float64]:
        pairs = zip(self._features(first), self._features(second), self._weights, strict=True)
        layers = [torch.einsum("nchw,c->nhw", (a - b) ** 2, weights).mean((1, 2)) for a, b, weights in pairs]
        return torch.stack(layers).sum(0).double().numpy()

    def _features(self, pictures: RgbBatch) -> list[Tensor]:
        """(N, C, h, w) after each ReLU that is compared, of length 1 along the channels, or 0."""
        shift, scale = (torch.tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        last = (torch.from_numpy(to_float_nchw(pictures)) * 2 - 1 - shift) / scale
        features: list[Tensor] = []
        for number, layer in enumerate(self._layers):
            last = layer(last)
            if number in self._trunk.seen:
                features.append(last / (last.square().sum(1, keepdim=True).sqrt() + TINY))
        return features


def _channel_weights(trunk: Trunk, layers: nn.Sequential) -> list[Tensor]:
    """(C,) for each of `trunk.seen`, out of the installed package lpips."""
    package = find_spec("lpips")
    if package is None or package.origin is None:
        raise EngineUnavailableError(f"--lpips: got no package lpips, expected it for its channel weights; {INSTALL}")
    path = Path(package.origin).parent / "weights" / f"v{VERSION}" / f"{trunk.name}.pth"
    convolutions = [layer for number in trunk.seen if isinstance(layer := layers[number - 1], nn.Conv2d)]
    wanted = {f"lin{place}.model.1.weight": (1, conv.out_channels, 1, 1) for place, conv in enumerate(convolutions)}
    advice = f"install the package lpips again: {INSTALL}"
    return [tensor.flatten() for tensor in require_tensors(path, read_weights(path, advice), wanted, advice).values()]
