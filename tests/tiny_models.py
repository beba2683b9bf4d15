"""Tiny networks and packs for tests, made from seeds and the two portraits: nothing is downloaded."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from fsr.calibration.parity_set import parity_faces
from fsr.export.to_onnx import to_onnx
from fsr.runtime.pixels import RgbBatch, to_float_nchw
from fsr.train.checkpoint import Checkpoint, save_checkpoint
from fsr.train.degrade import shrink
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.pack import SPLITS, Face, PackInfo, write_pack

FRAMING = "runtime"
SOURCE, LICENCE = "two portraits", "public domain"
TRAINING: dict[str, Any] = {
    "recipe": "edge",
    "data": [{"source": SOURCE, "licence": LICENCE, "faces": 64, "sha256": "0" * 64, "pictures": ["1" * 16]}],
    "steps": 2,
    "faces_seen": 64,
    "minutes": 0.1,
    "init": None,
    "validation": {"protocol": "sparnet", "psnr": 20.0, "gain": 0.5},
}
"""What `train.recipes.edge` writes, with the data of `write_portrait_pack`."""


@functools.cache
def tiny_checkpoint(input_size: int, scale: int) -> Checkpoint:
    """Tier S: fitted to the portraits where that is 16 px x 8, else loud random weights."""
    torch.manual_seed(0)
    network = EdgeNet(EdgeConfig("S", input_size, scale, tail=1 if input_size == 64 else 3))
    with torch.no_grad():
        for layer in (network.head, *network.body, network.tail):
            assert isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
            layer.bias.normal_(std=0.02)  # a bias of zeros is left out of the export, and so is any mistake in it
        if (input_size, scale) == (16, 8):
            _fit(network)
        else:
            network.tail.weight *= 20  # a good part of what comes out is below 0 or above 1
    return Checkpoint("edge", network.config.to_json(), network.state_dict(), FRAMING, TRAINING)


def _fit(network: EdgeNet) -> None:
    """Beat bicubic on the portraits: random features, and the tail that makes most of them.

    The tail is linear in its weights, so least squares with a little ridge takes the place of training.
    """
    high = parity_faces(FRAMING, network.config.input_size, network.config.output_size, seed=1).high
    low = torch.from_numpy(to_float_nchw(shrink(high, network.config.input_size)))
    network.tail.weight.zero_()
    bilinear, features = network.with_features(low)
    residual = torch.from_numpy(to_float_nchw(high)) - bilinear  # (N, 3, 128, 128)
    patches = F.unfold(features[-1], 3, padding=1).transpose(1, 2).flatten(0, 1).double()  # (N 256, 288)
    target = (
        F.pixel_unshuffle(residual, network.config.shuffle).flatten(2).transpose(1, 2).flatten(0, 1).double()
    )  # (N 256, 192)
    ridge = 1e-2 * torch.eye(patches.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(patches.T @ patches + ridge, patches.T @ target)  # (288, 192)
    network.tail.weight.copy_(solved.T.reshape(network.tail.weight.shape))


@functools.cache
def tiny_onnx(input_size: int, scale: int) -> bytes:
    """The export of `tiny_checkpoint`: it takes seconds, so once a session."""
    return to_onnx(tiny_checkpoint(input_size, scale))


def exported_before(checkpoint: Checkpoint) -> bytes:
    """Stands in for `to_onnx` where the export itself is not what is tested; refuses what cannot be built."""
    checkpoint.build()
    return tiny_onnx(checkpoint.config["input_size"], checkpoint.config["scale"])


def saved(checkpoint: Checkpoint, folder: Path) -> Path:
    """The checkpoint as a run of the recipe leaves it in `folder`."""
    save_checkpoint(folder / "model.safetensors", checkpoint)
    return folder / "model.safetensors"


def write_portrait_pack(path: Path, framing: str = FRAMING, size: int = 128) -> PackInfo:
    """Faces of the two portraits: 4 to train on, 4 to validate and 6 to test."""
    high = parity_faces(framing, 16, size, count=14, seed=2).high
    crops: dict[str, RgbBatch] = dict(zip(SPLITS, np.split(high, [4, 8]), strict=True))
    faces: dict[str, list[Face]] = {
        split: [Face(f"{split}/{n}.png", f"{split}{n}") for n in range(len(crops[split]))] for split in SPLITS
    }
    return write_pack(path, crops, faces, framing=framing, source=SOURCE, licence=LICENCE)
