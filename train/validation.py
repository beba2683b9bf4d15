"""What every recipe does at a validation: score the averaged network, keep it, and draw faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..runtime.errors import PackError
from ..runtime.pixels import RgbBatch
from .checkpoint import MODEL_FILE, Checkpoint, save_checkpoint
from .degrade import shrink
from .metrics import psnr_batch
from .networks import name_of
from .pack import PackInfo, read_split
from .pictures import SHEET_FILE, save_sheet
from .restore import restore
from .state import LoopState

VALIDATION_FACES = 300
SHEET_FACES = 6


@dataclass
class Validation:
    """A `loop.Observer`."""

    packs: Sequence[PackInfo]
    input_size: int
    output: Path
    """Folder of the run."""
    batch: int
    training: Mapping[str, Any]
    """What the checkpoint says of its training, beside what is counted here."""
    deployed: Callable[[nn.Module], nn.Module] = field(default=lambda network: network)
    """The network that is kept, without the parts that exist only in training."""
    prior: Callable[[range], Tensor] | None = None
    """Of the validation faces by their indices, for a network that sees it."""

    def __post_init__(self) -> None:
        every = np.concatenate([read_split(pack, "val") for pack in self.packs])
        if not len(every):
            raise PackError("got packs without validation faces, expected some; prepare with --val-share above 0")
        self.high = every[validated(len(every))]
        self.low = shrink(self.high, self.input_size)
        self.bicubic = shrink(self.low, self.high.shape[1])
        self._bicubic_psnr = self.psnr(self.bicubic)

    def psnr(self, restored: RgbBatch) -> float:
        """Of the validation faces, uint8 (N, H, H, 3), the mean."""
        return float(np.mean(psnr_batch("sparnet", restored, self.high)))

    def __call__(self, averaged: nn.Module, state: LoopState) -> Mapping[str, float]:
        network = self.deployed(averaged).to(next(averaged.parameters()).device).eval()
        restored = restore(network, self.low, prior=self.prior)
        psnr = self.psnr(restored)
        figures = {"psnr": psnr, "gain": psnr - self._bicubic_psnr}
        training = {
            **self.training,
            "steps": state.step,
            "faces_seen": state.step * self.batch,
            "minutes": round(state.seconds / 60, 1),
            "validation": {"protocol": "sparnet", **{k: round(v, 3) for k, v in figures.items()}},
        }
        name, config = name_of(network)
        checkpoint = Checkpoint(name, config, network.state_dict(), self.packs[0].framing, training)
        save_checkpoint(self.output / MODEL_FILE, checkpoint)
        columns = (self.low, self.bicubic, restored, self.high)
        save_sheet(self.output / SHEET_FILE, [column[:SHEET_FACES] for column in columns])
        return figures


def validated(count: int) -> NDArray[np.int64]:
    """Indices of the faces that are validated on: evenly over all packs'."""
    return np.linspace(0, count - 1, min(count, VALIDATION_FACES)).round().astype(np.int64)


def describe(packs: Sequence[PackInfo]) -> list[dict[str, Any]]:
    """What a checkpoint says of its data; `pictures` are `pack.Face.picture` of every picture."""
    return [
        {
            "source": p.source,
            "licence": p.licence,
            "faces": p.count("train"),
            "sha256": p.sha256["train"],
            "pictures": sorted({face.picture for face in p.faces["train"]} - {""}),
        }
        for p in packs
    ]
