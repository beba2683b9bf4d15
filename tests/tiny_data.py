"""Tiny training data: shaken, lit copies of two public-domain portraits, as pictures and as packs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_landmarker import synthetic_priors

from fsr.calibration.parity_set import parity_faces
from fsr.runtime.pixels import RgbBatch, RgbImage
from fsr.train.pack import SPLITS, Face, PackInfo, write_pack

FACES = 24


@cache
def crops(framing: str = "runtime", size: int = 128) -> RgbBatch:
    """(24, size, size, 3), Eileen Collins at even indices and Grace Hopper at odd ones; read-only."""
    faces = parity_faces(framing, 16, size, FACES).high
    faces.setflags(write=False)
    return faces


def portrait(index: int) -> RgbImage:
    """(218, 178, 3): one face placed as CelebA's aligned pictures have it; every index another picture."""
    return np.pad(crops("celeba178", 178)[index], ((20, 20), (0, 0), (0, 0)), mode="edge")


def save(path: Path, image: RgbImage, quality: int = 95) -> Path:
    """Write a JPEG or PNG, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=quality)  # PNG has no quality and ignores it
    return path


def save_portraits(folder: Path, names: Sequence[str]) -> Path:
    """One portrait a name, the first name getting the first portrait; returns `folder`."""
    for index, name in enumerate(names):
        save(folder / name, portrait(index))
    return folder


def touch(folder: Path, names: Sequence[str]) -> Path:
    """Empty files, for what reads names alone; returns `folder`."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def make_pack(
    path: Path,
    *,
    train: int = 16,
    val: int = 4,
    test: int = 4,
    framing: str = "runtime",
    size: int = 128,
    source: str = "portraits",
    prefix: str = "",
    priors: bool = False,
) -> PackInfo:
    """Write a pack of up to 24 faces, the first ones trained on; with the priors of a synthetic mesh if asked to."""
    ends = np.cumsum([train, val, test])
    parts: dict[str, RgbBatch] = dict(zip(SPLITS, np.split(np.array(crops(framing, size)), ends)[:3], strict=True))
    faces = {
        split: [Face(f"{prefix}{split}/{index}.png", f"{prefix}{split}/{index}") for index in range(len(part))]
        for split, part in parts.items()
    }
    return write_pack(
        path,
        parts,
        faces,
        framing=framing,
        source=source,
        licence="public domain",
        priors={split: synthetic_priors(len(part), framing, size) for split, part in parts.items()} if priors else None,
        landmarker="synthetic" if priors else "",
    )
