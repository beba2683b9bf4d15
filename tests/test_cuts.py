"""A cut is seen; motion, a lamp and noise are none."""

from __future__ import annotations

import numpy as np
import pytest

from fsr.runtime.cuts import CutDetector
from fsr.runtime.media.test_scene import TestScene
from fsr.runtime.pixels import RgbImage


def cuts(frames: list[RgbImage]) -> list[int]:
    is_cut = CutDetector()
    return [number for number, frame in enumerate(frames) if is_cut(frame)]


@pytest.fixture(scope="module")
def frames() -> list[RgbImage]:
    return list(TestScene(faces=2, size_wh=(320, 180), seconds=24 / 30, cuts=12 / 30, crf=0).frames())


def test_the_cut_of_a_scene_is_found_and_nothing_else(frames: list[RgbImage]) -> None:
    assert cuts(frames) == [0, 12]


def test_a_pan_and_a_lamp_are_no_cuts(frames: list[RgbImage]) -> None:
    panned = [np.roll(frames[0], 8 * time, 1) for time in range(10)]
    lit = [np.clip(frames[0].astype(int) + (40 if time > 4 else 0), 0, 255).astype(np.uint8) for time in range(10)]
    assert cuts(panned) == [0] and cuts(lit) == [0]


def test_another_size_is_another_shot(frames: list[RgbImage]) -> None:
    assert cuts([frames[0], frames[1][:90], frames[2][:90]]) in ([0], [0, 1])
    assert cuts([]) == []
