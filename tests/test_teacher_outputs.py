"""Lessons from a file are those of the teacher itself, mirrored faces too, and belong to their teachers and faces."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tiny_data import crops

from fsr.runtime.errors import CheckpointError, OutputError
from fsr.train import teacher_outputs
from fsr.train.batches import FaceBatches
from fsr.train.checkpoint import Checkpoint, save_checkpoint
from fsr.train.degrade import shrink
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.teacher_outputs import CachedTutor, cache_lessons
from fsr.train.teachers import open_teacher
from fsr.train.tutors import Faculty

HIGH = np.array(crops()[:9])
LOW = shrink(HIGH, 16)
ABOUT = {"teachers": ["a"]}


def checkpoint(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    network = EdgeNet(EdgeConfig("S", 16, 8))
    torch.nn.init.normal_(network.tail.weight, std=0.05)
    save_checkpoint(path, Checkpoint("edge", network.config.to_json(), network.state_dict(), "runtime"))
    return path


@pytest.fixture
def faculty(tmp_path: Path) -> Faculty:
    """Two teachers whose outputs are averaged; features of the second."""
    teachers = [open_teacher(checkpoint(tmp_path / f"{seed}.safetensors", seed)) for seed in (1, 2)]
    return Faculty(teachers, teachers[1], layers=(2, 7))


def cached(path: Path, faculty: Faculty, low: np.ndarray = LOW, about: dict[str, list[str]] = ABOUT) -> CachedTutor:
    return cache_lessons(path, faculty, low, about, Console(file=io.StringIO()))


def test_a_file_says_what_the_teachers_say(tmp_path: Path, faculty: Faculty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_outputs, "CHUNK", 4)  # the last piece is smaller
    tutor = cached(tmp_path / "lessons.safetensors", faculty)
    batches = FaceBatches(LOW, HIGH, 9, seed=0)
    draw = batches.draw(0)
    assert 0 < draw.mirrored.sum() < 9
    low, _ = batches.take(draw)
    live, kept = faculty(draw, low), tutor(draw, low)
    assert live.output is not None and kept.output is not None
    # Half a grey level, and what is clipped.
    torch.testing.assert_close(kept.output, live.output.clamp(0, 1), atol=0.51 / 255, rtol=0)
    assert [f.shape for f in kept.features] == [(9, 32, 16, 16)] * 2
    for one, other in zip(kept.features, live.features, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    assert tutor(draw, low, features=False).features == []


def test_several_teachers_give_the_mean_of_their_outputs(faculty: Faculty) -> None:
    batches = FaceBatches(LOW, HIGH, 4, seed=0)
    draw = batches.draw(0)
    low, _ = batches.take(draw)
    lesson = faculty(draw, low)
    first, second = (teacher(low)[0] for teacher in faculty.output)
    assert lesson.output is not None
    torch.testing.assert_close(lesson.output, (first + second) / 2)
    assert not lesson.output.requires_grad


def test_a_file_is_read_again_only_for_the_same_teachers_and_faces(tmp_path: Path, faculty: Faculty) -> None:
    path = tmp_path / "lessons.safetensors"
    cached(path, faculty)
    written = path.stat().st_mtime_ns
    cached(path, faculty)
    assert path.stat().st_mtime_ns == written
    for low, about in ((LOW[::-1], ABOUT), (LOW, {"teachers": ["b"]})):
        with pytest.raises(CheckpointError, match=r"lessons of other teachers or other faces; remove it, or name"):
            cached(path, faculty, np.ascontiguousarray(low), about)


def test_no_room_is_said_before_anything_is_computed(
    tmp_path: Path, faculty: Faculty, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    with pytest.raises(OutputError, match=r"lessons take 0\.0 GB, and 0\.0 are free; .*--live-teacher"):
        cached(tmp_path / "new" / "lessons.safetensors", faculty)
    assert not (tmp_path / "new").exists()


def test_a_stopped_computation_leaves_nothing(tmp_path: Path, faculty: Faculty) -> None:
    class Broken:
        calls = 0

        def __call__(self, draw, low, *, features: bool = True):
            self.calls += 1
            if self.calls > 2:
                raise KeyboardInterrupt
            return faculty(draw, low)

    with pytest.raises(KeyboardInterrupt):
        cache_lessons(tmp_path / "new" / "lessons.safetensors", Broken(), LOW, ABOUT, Console(file=io.StringIO()))
    assert list((tmp_path / "new").iterdir()) == []
