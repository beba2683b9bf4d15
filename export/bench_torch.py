"""PyTorch among the contestants of `fsr-export bench`: what people run before they export anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..runtime.bundle import ModelEntry
from ..runtime.errors import UsageError
from ..runtime.pixels import RgbBatch

EAGER, COMPILED = "torch eager", "torch compiled"

BATCHES = (1, 4, 16)
"""Faces at once, of every contestant."""


def torch_runners(
    models: Sequence[ModelEntry], checkpoints: Sequence[Path], skipped: list[str], console: Console
) -> Iterator[tuple[str, str, str, str, Callable[[RgbBatch], object]]]:
    """Model, engine, precision, device and call of the checkpoints' networks, in float32 on one thread of the CPU.

    Raises:
        UsageError: a checkpoint of none of `models`.
        CheckpointError: it is damaged.
    """
    if not checkpoints or find_spec("torch") is None:
        missing = "a network cannot be made from its ONNX file; pass --checkpoint"
        skipped.append(f"torch: {missing if find_spec('torch') else 'it is not installed'}")
        return
    import torch

    from ..train.checkpoint import load_checkpoint
    from ..train.restore import restore
    from .write_bundle import network_name

    torch.set_num_threads(1)
    names = [model.name for model in models]
    for path in checkpoints:
        checkpoint = load_checkpoint(path)
        name = network_name(checkpoint)
        if name not in names:
            raise UsageError(f"--checkpoint: got one of {name}, expected one of {', '.join(names)}")
        network = checkpoint.build()
        yield name, EAGER, "fp32", "cpu", lambda batch, network=network: restore(network, batch)
        console.print(f"{name}: torch.compile", highlight=False)
        side = checkpoint.config["input_size"]
        try:
            compiled: Any = torch.compile(network)
            for count in BATCHES:  # each size is compiled when it first comes
                restore(compiled, np.zeros((count, side, side, 3), np.uint8))
        except Exception as error:  # whatever a missing compiler raises is what is to be said
            skipped.append(f"{name} {COMPILED}: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
            continue
        yield name, COMPILED, "fp32", "cpu", lambda batch, network=compiled: restore(network, batch)
