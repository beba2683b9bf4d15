"""Run a PyTorch network as an engine would run: uint8 in, uint8 out, float32 between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..runtime.pixels import RgbBatch, to_float_nchw, to_uint8_nhwc


@torch.inference_mode()
def restore(
    network: nn.Module, low: RgbBatch, batch: int = 50, *, prior: Callable[[range], Tensor] | None = None
) -> RgbBatch:
    """Super-resolve uint8 (N, h, h, 3) RGB in float32, in pieces of `batch` faces, where the network is.

    prior: of faces by their indices, float (B, C, S, S), for networks that see one.
    """
    pieces = []
    device = next(network.parameters()).device
    for start in range(0, len(low), batch):
        faces = torch.from_numpy(to_float_nchw(low[start : start + batch])).to(device)
        seen = (faces,) if prior is None else (faces, prior(range(start, start + len(faces))).to(device))
        pieces.append(to_uint8_nhwc(network(*seen).float().cpu().numpy()))
    return np.concatenate(pieces)
