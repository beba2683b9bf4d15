"""A pack: prepared faces of one framing and size in one safetensors file, whole splits in memory at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import PackError
from ..runtime.pixels import RgbBatch
from .tensor_file import open_tensors, save_tensors

SPLITS = ("train", "val", "test")
FORMAT = "fsr-pack"
VERSION = 1
ADVICE = "make it with fsr-train prepare"
PRIORS = ("landmarks", "part_map", "blendshapes", "reliable")
"""Further tensors of a split, by face, in a pack with priors; `priors.Priors` says what they hold."""


@dataclass(frozen=True)
class Face:
    """Where one face of a pack came from."""

    name: str
    """Path of the picture below the folder it was read from, with forward slashes."""
    identity: str
    """Who it is, as far as the source tells; no identity is in two splits."""
    picture: str = ""
    """The first `moments.DIGITS` of the SHA-256 of the picture's file; empty in packs that were made without."""


@dataclass(frozen=True)
class PriorsInfo:
    """What a pack says of its priors."""

    landmarker: str
    """sha256 of the landmarker that made them."""
    sha256: Mapping[str, Mapping[str, str]]
    """Of each of `PRIORS`, by split."""


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
    priors: PriorsInfo | None = None
    """None for a pack prepared without priors."""

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
    priors: Mapping[str, Mapping[str, NDArray]] | None = None,
    landmarker: str = "",
) -> PackInfo:
    """Write splits of crops, uint8 (N, S, S, 3) RGB, with what they are; whole or not at all.

    priors: every one of `PRIORS` by split, N faces each; landmarker: sha256 of the file that they were made with.
    """
    size = next(iter(crops.values())).shape[1]
    sha256 = {split: _sha256(crops[split]) for split in SPLITS}
    info = None
    if priors is not None:
        hashes = {split: {name: _sha256(priors[split][name]) for name in PRIORS} for split in SPLITS}
        info = PriorsInfo(landmarker, hashes)
        crops = {**crops, **{f"{split}/{name}": priors[split][name] for split in SPLITS for name in PRIORS}}
    header = {
        "version": VERSION,
        "framing": framing,
        "size": size,
        "source": source,
        "licence": licence,
        "sha256": sha256,
        "faces": {split: [list(astuple(face)) for face in faces[split]] for split in SPLITS},
    }
    if info is not None:
        header["priors"] = asdict(info)
    save_tensors(path, crops, {FORMAT: json.dumps(header)})
    return PackInfo(path, framing, size, source, licence, faces, sha256, info)


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
    described = {key: header[key] for key in ("framing", "size", "source", "licence", "sha256")}
    priors = PriorsInfo(**header["priors"]) if "priors" in header else None
    return PackInfo(path, faces=faces, priors=priors, **described)


def read_split(pack: PackInfo, split: str) -> RgbBatch:
    """The pixels of one split, uint8 (N, S, S, 3) RGB, checked against the pack's hash."""
    return _read(pack, split, pack.sha256[split], "pixels")


def read_prior(pack: PackInfo, split: str, name: str) -> NDArray:
    """One of `PRIORS` of one split, checked against the pack's hash; the pack must have priors."""
    assert pack.priors is not None
    return _read(pack, f"{split}/{name}", pack.priors.sha256[split][name], "priors")


def _read(pack: PackInfo, tensor: str, sha256: str, what: str) -> NDArray:
    with open_tensors(pack.path, "numpy", PackError, ADVICE) as (file, _):
        values = file.get_tensor(tensor)
    if _sha256(values) != sha256:
        raise PackError(f"{pack.path}: the {what} of split {tensor.split('/')[0]!r} are damaged; make the pack again")
    return values


def _sha256(values: NDArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


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
    """Refuse a pack that is given twice, and people and pictures that one trains on and another validates or tests on.

    A person is known by the source's name for them, a picture by its SHA-256, whatever it is called.
    """
    if len({tuple(sorted(pack.sha256.items())) for pack in packs}) < len(packs):
        raise PackError("--pack: got the same faces twice, expected every pack once")
    trained = [(pack.source, face) for pack in packs for face in pack.faces["train"]]
    held_out = [(pack.source, face) for pack in packs for split in ("val", "test") for face in pack.faces[split]]
    people, others = ({(source, face.identity) for source, face in some} for some in (trained, held_out))
    if both := sorted(people & others):
        raise PackError(f"--pack: {len(both)} identities are trained on and held out, such as {both[0][1]!r}")
    seen = {face.picture for _, face in trained} - {""}
    if names := sorted({face.name for _, face in held_out if face.picture in seen}):
        raise PackError(f"--pack: {len(names)} pictures are trained on and held out, such as {names[0]!r}")
