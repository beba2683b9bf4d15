"""TensorBoard's files say what the log says and more, and what a killed run wrote too much is dropped."""

from __future__ import annotations

import io
import itertools
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console
from test_loop import TinyNet, killed_at, loss_of
from torch import nn

from fsr.runtime.command_line import error_sentences
from fsr.runtime.media.images import write_image
from fsr.train import loop
from fsr.train.board import FOLDER
from fsr.train.loop import LOG_FILE, LoopConfig, read_log, train
from fsr.train.pictures import SHEET_FILE
from fsr.train.state import LoopState

proto = pytest.importorskip("tensorboardX.proto.event_pb2", reason="needs tensorboardX: fsr-edge[tensorboard]")
SHEET = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
STEPS_A_SECOND = 20
CONFIG = LoopConfig(steps=200, precision="fp32", tensorboard=True)


def events(run: Path) -> Iterator[tuple[int, str, Any]]:
    """Step, name and value of everything that the files hold, in their order; None for where a run went on.

    A file is records of length (8 bytes), its checksum (4), an event and its checksum (4).
    """
    for path in sorted((run / FOLDER).iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = proto.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            if event.HasField("session_log"):
                yield event.step, "start", None
            for value in event.summary.value:
                picture = value.image.encoded_image_string
                yield event.step, value.tag, picture or value.simple_value


def observe_in(folder: Path):
    def observe(averaged: nn.Module, state: LoopState) -> Mapping[str, float]:
        write_image(folder / SHEET_FILE, SHEET)
        return {"gain": state.step / 2}

    return observe


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on by a twentieth of a second whenever the loop looks at it."""
    ticks = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(ticks) / STEPS_A_SECOND))


def run(folder: Path, loss=loss_of, config: LoopConfig = CONFIG, *, resume: bool = False) -> None:
    torch.set_num_threads(1)
    console = Console(file=io.StringIO())
    train(TinyNet(), loss, observe_in(folder), folder, config, identity={}, resume=resume, console=console, batch=4)


def test_curves_figures_and_faces_are_there(tmp_path: Path) -> None:
    run(tmp_path)
    found = {(name, step): value for step, name, value in events(tmp_path)}
    for row in read_log(tmp_path / LOG_FILE):
        for name in ("loss", "gain"):
            assert found[f"validation/{name}", int(row["step"])] == pytest.approx(row[name], rel=1e-5)
    steps = {name: [step for other, step in found if other == name] for name, _ in found}
    assert steps["loss"] == steps["learning_rate"] == steps["faces_per_second"] == [50, 100, 150, 200]
    assert found["learning_rate", 50] == pytest.approx(CONFIG.rate(49, 49 / 200))
    assert found["faces_per_second", 200] == pytest.approx(4 * STEPS_A_SECOND, rel=1e-3)
    picture = cv2.imdecode(np.frombuffer(found["samples", 200], np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(picture, SHEET)


def test_a_resumed_run_marks_where_it_went_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, killed_at(90))
    run(tmp_path, resume=True)
    starts = [step for step, name, _ in events(tmp_path) if name == "start"]
    assert starts == [81], "and drops from there on what was written before"


def test_looking_at_a_run_is_no_part_of_it(tmp_path: Path) -> None:
    run(tmp_path, config=LoopConfig(steps=10, precision="fp32"))
    assert not (tmp_path / FOLDER).exists()
    run(tmp_path, config=LoopConfig(steps=10, precision="fp32", tensorboard=True), resume=True)
    assert (tmp_path / FOLDER).is_dir()


def test_without_the_package_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(SystemExit), error_sentences():
        LoopConfig(steps=1, tensorboard=True)
    said = 'error: this needs tensorboardX; install it with: pip install "fsr-edge[tensorboard]"\n'
    assert capsys.readouterr().err == said
