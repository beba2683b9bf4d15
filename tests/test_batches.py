"""Batches depend on seed and step alone, show every face once an epoch, and keep pairs pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_data import crops
from torch import Tensor

from fsr.runtime.errors import PackError, UsageError
from fsr.train.batches import FaceBatches, faces_of
from fsr.train.degrade import shrink
from fsr.train.processes import Crew


class OneOf(Crew):
    """One of several processes that need not speak to each other."""

    def __init__(self, rank: int, count: int) -> None:
        super().__init__()
        self.rank, self.count = rank, count


def numbered(count: int, batch: int, seed: int = 0, crew: Crew | None = None) -> FaceBatches:
    """Faces that say which they are: every pixel of face n is n, but the left column of its high face is 255."""
    low = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 3)).copy()
    high = low.repeat(2, 1).repeat(2, 2)
    high[:, :, 0] = 255
    return FaceBatches(low, high, batch, seed, crew or Crew())


def numbers(low: Tensor) -> list[int]:
    return (low[:, 0, 0, 0] * 255).round().int().tolist()


def test_a_step_is_the_same_whenever_it_is_asked_for() -> None:
    forward, backward = numbered(10, 3), numbered(10, 3)
    steps = [forward(step) for step in range(12)]
    for step in reversed(range(12)):
        for one, other in zip(steps[step], backward(step), strict=True):
            assert torch.equal(one, other)


def test_seeds_and_epochs_differ() -> None:
    one, other = numbered(32, 8, seed=0), numbered(32, 8, seed=1)
    assert numbers(one(0)[0]) != numbers(other(0)[0])
    assert numbers(one(0)[0]) != numbers(one(4)[0])


@pytest.mark.parametrize("batch", [1, 4, 12])
def test_every_face_comes_once_an_epoch(batch: int) -> None:
    batches = numbered(12, batch)
    for epoch in range(3):
        steps = range(epoch * 12 // batch, (epoch + 1) * 12 // batch)
        assert sorted(number for step in steps for number in numbers(batches(step)[0])) == list(range(12))


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    batches = numbered(5, 32)
    assert sorted(numbers(batches(0)[0])) == list(range(5))
    assert sorted(numbers(batches(1)[0])) == list(range(5))


def test_several_processes_share_the_batch_that_one_would_draw() -> None:
    alone, parts = numbered(32, 12), [numbered(32, 12, crew=OneOf(rank, 3)) for rank in range(3)]
    for step in range(4):
        whole, shares = alone(step), [part(step) for part in parts]
        for kind in range(2):
            assert torch.equal(whole[kind], torch.cat([share[kind] for share in shares]))


def test_a_batch_that_cannot_be_shared_is_an_error() -> None:
    with pytest.raises(UsageError, match="--batch: got 8 faces for 3 processes, expected a multiple of 3"):
        numbered(32, 8, crew=OneOf(0, 3))
    with pytest.raises(PackError, match="got 2 faces for 3 processes"):
        numbered(2, 3, crew=OneOf(0, 3))
    few = numbered(7, 9, crew=OneOf(0, 3))
    assert few.batch == 6 and few.remarks == ["a batch is 6 faces, not 9: there are no more"]


def test_faces_in_a_gpus_memory_are_drawn_as_from_the_computers() -> None:
    """On the CPU, where tensors are as good as on a GPU."""
    batches = numbered(32, 12)
    draw = batches.draw(0)
    there = faces_of(torch.from_numpy(batches.high), draw)
    assert draw.mirrored.any() and torch.equal(there, faces_of(batches.high, draw))
    assert there.is_contiguous(memory_format=torch.channels_last)


def test_about_half_are_mirrored_and_never_the_data_itself() -> None:
    batches = numbered(100, 100)
    before = batches.high.copy()
    left_column = batches(0)[1][:, 0, 0, 0]
    assert 30 < int((left_column < 1).sum()) < 70
    np.testing.assert_array_equal(batches.high, before)


def test_low_and_high_are_mirrored_together() -> None:
    high = np.array(crops(size=64))
    batches = FaceBatches(shrink(high, 16), high, 8, seed=3)
    for step in range(3):
        low_step, high_step = batches(step)
        faces = (high_step.permute(0, 2, 3, 1) * 255).round().byte().numpy()
        # Mirroring first and shrinking then may round a pixel the other way.
        np.testing.assert_allclose(
            (low_step.permute(0, 2, 3, 1) * 255).round().numpy(), shrink(faces, 16).astype(float), atol=1
        )


def test_batches_are_floats_of_colours_first_and_channels_last_in_memory() -> None:
    high = np.array(crops(size=64))
    low, restored = FaceBatches(shrink(high, 16), high, 8, seed=0)(0)
    assert (low.shape, restored.shape) == ((8, 3, 16, 16), (8, 3, 64, 64))
    assert low.dtype == restored.dtype == torch.float32
    assert 0 <= float(restored.min()) < 0.2
    assert 0.8 < float(restored.max()) <= 1
    assert restored.is_contiguous(memory_format=torch.channels_last)


def test_no_face_and_half_pairs_are_errors() -> None:
    none, one = np.empty((0, 4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3), np.uint8)
    with pytest.raises(PackError, match="no face to train on"):
        FaceBatches(none, none, 4, 0)
    with pytest.raises(PackError, match="got 0 low- and 1 high-resolution faces"):
        FaceBatches(none, one, 4, 0)
