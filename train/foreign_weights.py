"""Weights that others trained and saved: read without running any code, and checked by name and shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..runtime.errors import CheckpointError, EngineUnavailableError
from .tensor_file import open_tensors, read_all

Shape = tuple[int, ...]

SAFE = "2.6"
"""The PyTorch since which weights_only=True keeps its word: CVE-2025-32434."""


def read_weights(path: Path, advice: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of what PyTorch saved, by name; nothing else of it is kept.

    advice: what to do about a file that is not there or not such a one.

    Raises:
        CheckpointError: missing, damaged, or not of tensors alone.
        EngineUnavailableError: this PyTorch might run what a file says.
    """
    if path.suffix == ".safetensors":
        with open_tensors(path, "pt", CheckpointError, advice) as (file, _):
            return read_all(file)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; {advice}")
    if torch.__version__ < SAFE:
        raise EngineUnavailableError(
            f"{path}: got PyTorch {torch.__version__}, expected {SAFE} or newer, which runs no code of such files"
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # which ones it raises for a file of another kind is nowhere written
        raise CheckpointError(
            f"{path}: damaged, or not of tensors alone, and nothing else is loaded ({type(error).__name__}); {advice}"
        ) from error
    tensors = found.items() if isinstance(found, Mapping) else ()
    return {str(name): tensor for name, tensor in tensors if isinstance(tensor, Tensor)}


def require_tensors(
    path: Path, tensors: Mapping[str, Tensor], wanted: Mapping[str, Shape], advice: str
) -> dict[str, Tensor]:
    """Those that are wanted, as float32.

    Raises:
        CheckpointError: one is not there, or of another shape.
    """
    for name, shape in wanted.items():
        if (got := shape_of(tensors, name)) != tuple(shape):
            raise CheckpointError(f"{path}: got {got or 'no tensor'} as {name}, expected {tuple(shape)}; {advice}")
    return {name: tensors[name].float() for name in wanted}


def shape_of(tensors: Mapping[str, Tensor], name: str) -> Shape | None:
    return tuple(tensors[name].shape) if name in tensors else None
