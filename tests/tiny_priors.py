"""Packs with priors for tests: the parts are bands of brightness of the face itself, so that they tell something."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiny_data import crops

from fsr.runtime.pixels import RgbBatch
from fsr.train.pack import SPLITS, Face, PackInfo, write_pack
from fsr.train.part_map import PARTS

POINTS = 483


def priors_of(faces: RgbBatch, unreliable: int = 0) -> Mapping[str, NDArray]:
    """Tensors of `pack.PRIORS`; the first `unreliable` faces are not to be relied on."""
    count, size = faces.shape[:2]
    bands = (faces.mean(3) * len(PARTS) / 256).astype(np.uint8)
    points = np.random.default_rng(0).uniform(0, size - 1, (count, POINTS, 2)).astype(np.float16)
    return {
        "landmarks": points,
        "part_map": bands,
        "blendshapes": np.zeros((count, 16), np.float16),
        "reliable": np.arange(count) >= unreliable,
    }


def make_prior_pack(
    path: Path, *, train: int = 16, val: int = 4, size: int = 128, framing: str = "runtime", unreliable: int = 0
) -> PackInfo:
    """Like `tiny_data.make_pack`, with priors."""
    parts: dict[str, RgbBatch] = dict(
        zip(SPLITS, np.split(np.array(crops(framing, size)), [train, train + val])[:3], strict=True)
    )
    faces = {s: [Face(f"{s}/{n}.png", f"{s}/{n}") for n in range(len(part))] for s, part in parts.items()}
    priors = {split: priors_of(part, unreliable if split == "train" else 0) for split, part in parts.items()}
    return write_pack(
        path, parts, faces, framing=framing, source="portraits", licence="public domain",
        priors=priors, landmarker="0" * 64,
    )  # fmt: skip
