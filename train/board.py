"""TensorBoard's files of a run, beside its log: figures every few steps, and what the recipe says at a validation.

tensorboardX writes them, which is a hundredth of TensorBoard; `tensorboard --logdir RUNS` shows them, wherever it is
installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..runtime.media.images import read_image
from .pictures import SHEET_FILE
from .state import LoopState

FOLDER = "tensorboard"
EVERY = 50
"""Steps between two points of the curves."""


class Board:
    """Writes nothing without a writer."""

    def __init__(self, folder: Path, writer: Any, state: LoopState) -> None:
        """folder: of the run; writer: of tensorboardX, or None; state: where the run goes on."""
        self._folder = folder
        self._writer = writer
        self._since = state.step, state.seconds

    def progress(self, state: LoopState, losses: Sequence[float], rate: float, batch: int) -> None:
        """Add a point to the curves, if one is due; losses: the last ones; rate: learning rate; batch: faces a step."""
        steps, seconds = state.step - self._since[0], state.seconds - self._since[1]
        if self._writer is None or steps < EVERY:
            return
        self._since = state.step, state.seconds
        recent = losses[-EVERY:]
        self._add("loss", sum(recent) / len(recent), state.step)
        self._add("learning_rate", rate, state.step)
        self._add("faces_per_second", batch * steps / seconds, state.step)

    def validation(self, state: LoopState, figures: Mapping[str, float]) -> None:
        """Add a validation's figures and its sheet of faces."""
        if self._writer is None:
            return
        for name, value in figures.items():
            self._add(f"validation/{name}", value, state.step)
        if (sheet := self._folder / SHEET_FILE).exists():
            self._writer.add_image(sheet.stem, read_image(sheet), state.step, dataformats="HWC")
        self._writer.flush()

    def _add(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)


@contextmanager
def open_board(folder: Path, wanted: bool, state: LoopState) -> Iterator[Board]:
    """Yield the board of the run in `folder`; what a killed run wrote after this state is no longer shown.

    Raises:
        ModuleNotFoundError: tensorboardX is not installed.
    """
    if not wanted:
        yield Board(folder, None, state)
        return
    from tensorboardX import SummaryWriter

    after = state.step + 1 if state.step else None
    with SummaryWriter(str(folder / FOLDER), purge_step=after) as writer:
        yield Board(folder, writer, state)
