"""A checkpoint to ONNX: uint8 NHWC in and out, so that no caller can get layout, range or rounding wrong."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
import onnxsim
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.engines import open_engine
from ..runtime.errors import CheckpointError, ParityError
from ..runtime.pixels import RgbBatch
from ..train.checkpoint import Checkpoint
from ..train.networks.edge import EdgeNet
from ..train.restore import restore
from .picture_path import MIDDLE

OPSET = 17
"""The newest that TensorRT 8.6 reads."""

IR_VERSION = 8
"""The newest that parsers of that age read; nothing of a newer one is used."""

MAX_BATCH = 1024


class Deployed(nn.Module):
    """uint8 (N, h, h, 3) RGB -> uint8 (N, H, H, 3): everything around the network, inside the graph.

    The casts come first and last, and Round and Clip before the last: TensorRT takes uint8 only as a network's
    input and output, and its cast to uint8 truncates. The bilinear skip is a convolution of the pixels on to
    the grid of the tail: ONNX Runtime's Resize took a third of a small network's time. Pixels are brought into blocks
    and out of them in rows whose colours stay together, which engines copy as they are; PixelShuffle took twice as
    long.
    """

    replicated: Tensor

    def __init__(self, network: EdgeNet) -> None:
        super().__init__()
        self.network = network
        self.head, self.tail = copy.deepcopy(network.head), copy.deepcopy(network.tail)
        with torch.no_grad():
            self.head.weight.copy_(colours_last(self.head.weight, dim=1))
            for parameter in self.tail.parameters():  # grey levels come out of it
                parameter.copy_(255 * colours_last(parameter))
        self.skip = bilinear_convolution(network.config.scale, network.config.unshuffle)
        size = network.config.input_size
        # The outermost pixels twice; Pad would need opset 18.
        self.register_buffer("replicated", torch.arange(-1, size + 1).clamp(0, size - 1))

    def forward(self, low: Tensor) -> Tensor:
        levels, config = low.to(torch.float32), self.network.config
        features = self.network.through_body(self.head(to_blocks(levels * (1 / 255), config.unshuffle)))
        residual = self.tail(features[-1])
        centred = (levels - MIDDLE).index_select(1, self.replicated).index_select(2, self.replicated)
        enlarged = self.skip(centred.permute(0, 3, 1, 2))
        restored = from_blocks(residual + enlarged, config.shuffle) + MIDDLE
        return restored.clamp(0, 255).round().to(torch.uint8)


def to_blocks(pixels: Tensor, side: int) -> Tensor:
    """(N, side g, side g, 3) -> (N, 3 side side, g, g): of every pixel of a block its colours."""
    _, height, width, colours = pixels.shape
    rows = pixels.reshape(-1, height // side, side, width // side, side * colours).permute(0, 1, 3, 2, 4)
    return rows.reshape(-1, height // side, width // side, side**2 * colours).permute(0, 3, 1, 2)


def from_blocks(blocks: Tensor, side: int) -> Tensor:
    """(N, 3 side side, g, g) -> (N, side g, side g, 3): the inverse of `to_blocks`."""
    grid = blocks.shape[-1]
    rows = blocks.permute(0, 2, 3, 1).reshape(-1, grid, grid, side, 3 * side).permute(0, 1, 3, 2, 4)
    return rows.reshape(-1, side * grid, side * grid, 3)


def colours_last(by_colour: Tensor, dim: int = 0) -> Tensor:
    """Channels in the order of PixelShuffle, along `dim`, in that of `to_blocks`."""
    return by_colour.unflatten(dim, (3, -1)).transpose(dim, dim + 1).flatten(dim, dim + 1)


def bilinear_convolution(scale: int, unshuffle: int) -> nn.Conv2d:
    """Bilinear enlargement by `scale` into blocks, as a convolution with a stride of `unshuffle`, u.

    (N, 3, u g + 2, u g + 2), of which the outermost pixels are there twice -> (N, 3 s s, g, g), s = scale u, for
    `from_blocks`. Its weights are what `interpolate` makes of each single one of the u + 2 x u + 2 pixels that a block
    is made of.
    """
    shuffle, side = scale * unshuffle, unshuffle + 2
    impulses = torch.eye(side**2).reshape(side**2, 1, side, side)
    seen = F.interpolate(impulses, scale_factor=float(scale), mode="bilinear")[:, 0, scale:-scale, scale:-scale]
    skip = nn.Conv2d(3, 3 * shuffle**2, side, stride=unshuffle, bias=False)
    with torch.no_grad():
        skip.weight.zero_()
        for colour in range(3):
            skip.weight[colour::3, colour] = seen.reshape(side, side, shuffle**2).permute(2, 0, 1)
    return skip


def to_onnx(checkpoint: Checkpoint) -> bytes:
    """Export in float32 with a free batch size, checked by onnx and simplified by onnxsim.

    Raises:
        CheckpointError: not a network that is deployed alone.
        ParityError: the exporter did not keep the opset or the layout asked for.
    """
    network = checkpoint.build()
    if not isinstance(network, EdgeNet):
        raise CheckpointError(f"got network {checkpoint.network!r}, expected edge: only edge students are deployed")
    size = network.config.input_size
    low = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with _quiet_exporter():
        program = torch.onnx.export(
            Deployed(network).eval(),
            (low,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["low"],
            output_names=["restored"],
            dynamic_shapes={"low": {0: batch}},
            verbose=False,
        )
        assert program is not None
    # Unchecked here: `compare` holds the result against PyTorch on real faces.
    simplified, _ = onnxsim.simplify(program.model_proto, check_n=0)
    model = _tidy(simplified, checkpoint)
    check_graph(model)
    return model.SerializeToString()


def check_graph(model: onnx.ModelProto) -> None:
    """Refuse a graph that an engine could not take as it stands; see `Deployed`."""
    onnx.checker.check_model(model, full_check=True)
    opset = {entry.domain: entry.version for entry in model.opset_import}
    if opset.get("") != OPSET:  # the exporter can leave another one with no more than a log line
        raise ParityError(f"got an ONNX file of opset {opset.get('')}, expected {OPSET}")
    operators = [node.op_type for node in model.graph.node if node.op_type != "Constant"]
    if operators[0] != "Cast" or operators[-1] != "Cast" or not {"Round", "Clip"} <= set(operators[-5:]):
        raise ParityError(f"got operators {operators[:2]} ... {operators[-5:]}, expected Cast ... Clip, Round, Cast")


def _tidy(model: onnx.ModelProto, checkpoint: Checkpoint) -> onnx.ModelProto:
    """Drop the exporter's notes on every node (they name local paths) and say what the model is."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    del model.functions[:]
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "fsr-edge", ""
    onnx.helper.set_model_props(
        model,
        {"network": checkpoint.network, "framing": checkpoint.framing, "layout": "uint8 NHWC RGB"},
    )
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns of its own internals and of torchvision, none of which a user can act on."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@dataclass(frozen=True)
class Difference:
    """How far two engines' pictures are apart, in grey levels of 255."""

    faces: int
    max: int
    mean: float


def compare(checkpoint: Checkpoint, model: bytes, low: RgbBatch, batch: int = 50) -> Difference:
    """ONNX Runtime against PyTorch in float32 on low-resolution faces, uint8 (N, h, h, 3) RGB."""
    network = checkpoint.build()
    largest, total = 0, 0.0
    with open_engine("onnxruntime", model) as engine:
        for start in range(0, len(low), batch):
            faces = low[start : start + batch]
            apart = np.abs(engine(faces).astype(np.int16) - restore(network, faces))
            largest, total = max(largest, int(apart.max())), total + float(apart.mean()) * len(faces)
    return Difference(len(low), largest, total / len(low))


def require_parity(difference: Difference, limit: int = 1) -> None:
    """Raise `ParityError` if any pixel is more than `limit` grey levels off."""
    if difference.max > limit:
        raise ParityError(
            f"ONNX differs from PyTorch by up to {difference.max} grey levels on {difference.faces} faces, "
            f"expected at most {limit}; nothing was written"
        )
