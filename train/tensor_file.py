"""Safetensors files: the one way that packs, checkpoints and states reach the disk and come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from ..runtime.errors import FsrError, OutputError
from ..runtime.files import atomic_path


def save_tensors(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write NumPy arrays or PyTorch tensors, all of one kind, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    import numpy as np

    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        from safetensors.numpy import save_file
    else:
        from safetensors.torch import save_file
    with atomic_path(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=dict(metadata))
        except SafetensorError as error:  # what it raises for a full disk too
            raise OutputError(f"{path}: cannot be written: {error}; nothing was left under that name") from error


@contextmanager
def open_tensors(
    path: Path, framework: Literal["numpy", "pt"], error: type[FsrError], advice: str
) -> Iterator[tuple[Any, dict[str, str]]]:
    """Yield the open file and its metadata; damage raises `error` with `advice`."""
    if path.is_dir():
        raise error(f"{path}: got a folder, expected a .safetensors file; {advice}")
    if not path.is_file():
        raise error(f"{path}: no such file; {advice}")
    try:
        with safe_open(path, framework=framework) as file:
            yield file, file.metadata() or {}
    except SafetensorError as damage:
        raise error(f"{path}: damaged, truncated or of another kind ({damage}); {advice}") from damage


def read_all(file: Any) -> dict[str, Any]:
    """Every tensor of an open file by name."""
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
