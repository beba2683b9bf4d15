"""Run a PyTorch network as an engine would run: uint8 in, uint8 out, float32 between."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..runtime.pixels import RgbBatch, to_float_nchw, to_uint8_nhwc


@torch.inference_mode()
def restore(network: nn.Module, low: RgbBatch, batch: int = 50) -> RgbBatch:
    """Super-resolve uint8 (N, h, h, 3) RGB in float32, in pieces of `batch` faces."""
    pieces = [
        to_uint8_nhwc(network(torch.from_numpy(to_float_nchw(low[start : start + batch]))).float().numpy())
        for start in range(0, len(low), batch)
    ]
    return np.concatenate(pieces)
