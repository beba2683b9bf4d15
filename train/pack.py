"""A pack: prepared faces of one framing and size in one safetensors file, whole splits in memory at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..runtime.errors import PackError
from ..runtime.pixels import RgbBatch
from .tensor_file import open_tensors, save_tensors

SPLITS = ("train", "val", "test")
FORMAT = "fsr-pack"
VERSION = 1
ADVICE = "make it with fsr-train prepare"


@dataclass(frozen=True)
class Face:
    """Where one face of a pack came from."""

    name: str
    """Path of the picture below the folder it was read from, with forward slashes."""
    identity: str
    """Who it is, as far as the source tells; no identity is in two splits."""


@dataclass(frozen=True)
class PackInfo:
    """Everything a pack says of itself, read without its pixels."""

    path: Path
    framing: str
    size: int
    """Side of the square crops in pixels."""
    source: str
    licence: str
    faces: Mapping[str, Sequence[Face]]
    """Faces of each split, in the order of its pixels."""
    sha256: Mapping[str, str]
    """Of the pixels of each split."""

    def count(self, split: str) -> int:
        return len(self.faces[split])


def write_pack(
    path: Path,
    crops: Mapping[str, RgbBatch],
    faces: Mapping[str, Sequence[Face]],
    *,
    framing: str,
    source: str,
    licence: str,
) -> PackInfo:
    """Write splits of crops, uint8 (N, S, S, 3) RGB, with what they are; whole or not at all."""
    size = next(iter(crops.values())).shape[1]
    sha256 = {split: hashlib.sha256(np.ascontiguousarray(crops[split]).data).hexdigest() for split in SPLITS}
    header = {
        "version": VERSION,
        "framing": framing,
        "size": size,
        "source": source,
        "licence": licence,
        "sha256": sha256,
        "faces": {split: [[face.name, face.identity] for face in faces[split]] for split in SPLITS},
    }
    save_tensors(path, crops, {FORMAT: json.dumps(header)})
    return PackInfo(path, framing, size, source, licence, faces, sha256)


def open_pack(path: Path) -> PackInfo:
    """Read what a pack says of itself.

    Raises:
        PackError: missing, truncated, not a pack, or written by a newer version.
    """
    with open_tensors(path, "numpy", PackError, ADVICE) as (_, metadata):
        if FORMAT not in metadata:
            raise PackError(f"{path}: got a safetensors file that is not a pack; {ADVICE}")
    header = json.loads(metadata[FORMAT])
    if header["version"] != VERSION:
        raise PackError(f"{path}: got pack version {header['version']}, expected {VERSION}; make it again")
    faces = {split: [Face(*entry) for entry in entries] for split, entries in header["faces"].items()}
    return PackInfo(
        path, header["framing"], header["size"], header["source"], header["licence"], faces, header["sha256"]
    )


def read_split(pack: PackInfo, split: str) -> RgbBatch:
    """The pixels of one split, uint8 (N, S, S, 3) RGB, checked against the pack's hash."""
    with open_tensors(pack.path, "numpy", PackError, ADVICE) as (file, _):
        crops = file.get_tensor(split)
    if hashlib.sha256(np.ascontiguousarray(crops).data).hexdigest() != pack.sha256[split]:
        raise PackError(f"{pack.path}: the pixels of split {split!r} are damaged; make the pack again")
    return crops


def open_packs(paths: Sequence[Path], *, output_size: int) -> list[PackInfo]:
    """Open packs that are trained on together.

    Raises:
        PackError: none given, different framings, another size than `output_size`, or a face that one pack
            trains on and another tests on.
    """
    if not paths:
        raise PackError("--pack: got none, expected at least one pack made by fsr-train prepare")
    packs = [open_pack(path) for path in paths]
    if len(framings := {pack.framing for pack in packs}) > 1:
        raise PackError(f"--pack: got framings {', '.join(sorted(framings))}, expected packs of one framing")
    for pack in packs:
        if pack.size != output_size:
            raise PackError(
                f"{pack.path}: got crops of {pack.size} px, expected {output_size} px; prepare it with --size"
            )
    check_splits(packs)
    return packs


def check_splits(packs: Sequence[PackInfo]) -> None:
    """Refuse identities that one pack trains on and another validates or tests on."""
    trained = {(pack.source, face.identity) for pack in packs for face in pack.faces["train"]}
    held_out = {
        (pack.source, face.identity) for pack in packs for split in ("val", "test") for face in pack.faces[split]
    }
    if both := sorted(trained & held_out):
        raise PackError(f"--pack: {len(both)} identities are trained on and held out, such as {both[0][1]!r}")
