"""Super-resolve all faces of a frame, in one batch for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .align import RestoredFace
from .engines import Engine


def super_resolve(faces: Sequence[RestoredFace], engines: Mapping[str, Engine]) -> list[RestoredFace]:
    """`faces` in their order, those with a model with `restored` filled in; `engines` by the model's name."""
    results = list(faces)
    for name, engine in engines.items():
        mine = [index for index, face in enumerate(faces) if face.model == name]
        if mine:
            lows = np.stack([low for index in mine if (low := faces[index].low) is not None])
            for index, restored in zip(mine, engine(lows), strict=True):
                results[index] = replace(results[index], restored=restored)
    return results
