"""The naive chain is a fair opponent: the same detector, a face put back where it was, in its colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from fsr.runtime.bench import naive
from fsr.runtime.bench.naive import NaiveChain, make_network, require_naive
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector
from fsr.runtime.errors import EngineUnavailableError, InputError
from fsr.runtime.geometry import resize
from fsr.runtime.media.images import read_image, write_image
from fsr.runtime.pixels import RgbImage


@pytest.fixture(scope="module")
def chain() -> NaiveChain:
    return NaiveChain(threads=1, quality=95)


@pytest.fixture
def picture(tmp_path: Path, grace_hopper: RgbImage) -> Path:
    write_image(tmp_path / "hopper.png", resize(grace_hopper, (128, 150)))  # her face is 42 px wide
    return tmp_path / "hopper.png"


def test_finds_the_faces_that_our_detector_finds(chain: NaiveChain, picture: Path, tmp_path: Path) -> None:
    faces = Detector.open(default_detector())(read_image(picture))
    outcome = chain(picture, tmp_path / "out.jpg")
    np.testing.assert_allclose(outcome.boxes_xyxy, [face.box_xyxy for face in faces], atol=0.1)
    assert outcome.restored == len(faces) == 1
    assert list(outcome.milliseconds) == ["read", "detect", "align", "super-resolve", "paste", "write"]


def test_puts_the_face_back_in_its_place_and_colours(chain: NaiveChain, picture: Path, tmp_path: Path) -> None:
    before = read_image(picture).astype(float)
    (x0, y0, x1, y1) = chain(picture, tmp_path / "random.jpg").boxes_xyxy[0].astype(int)
    inside = np.s_[y0:y1, x0:x1]
    random = read_image(tmp_path / "random.jpg").astype(float)
    trained, chain._network = chain._network, nn.Upsample(scale_factor=8, mode="bilinear")
    try:
        chain(picture, tmp_path / "same.jpg")
    finally:
        chain._network = trained
    same = read_image(tmp_path / "same.jpg").astype(float)

    def off(image: NDArray[np.float64]) -> float:
        return float(np.abs(image - before)[inside].mean())

    assert off(same) < 25 and off(random) > 60
    assert off(same[..., ::-1]) > 1.3 * off(same), "red and blue are where they were"
    assert off(np.roll(same, 4, axis=1)) > 1.3 * off(same), "the face is where it was"
    assert np.abs(random - before)[:10].mean() < 5, "far from the face only the codec shows"


def test_the_network_is_the_one_that_is_described() -> None:
    weights = sum(parameter.numel() for parameter in make_network().parameters())
    assert weights == 417_024


def test_a_picture_without_a_face(chain: NaiveChain, tmp_path: Path) -> None:
    write_image(tmp_path / "wall.png", np.full((64, 80, 3), 127, np.uint8))
    outcome = chain(tmp_path / "wall.png", tmp_path / "out.jpg")
    assert outcome.boxes_xyxy.shape == (0, 4) and outcome.restored == 0
    assert read_image(tmp_path / "out.jpg").shape == (64, 80, 3)


def test_a_picture_that_opencv_cannot_read(chain: NaiveChain, tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"torn\.jpg: OpenCV cannot read it"):
        chain(tmp_path / "torn.jpg", tmp_path / "out.jpg")


def test_without_torch_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naive, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(EngineUnavailableError, match=r'needs torch; install with: pip install "fsr-edge\[export\]"'):
        require_naive()
    monkeypatch.setattr(naive, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailableError, match="needs torch and onnx;"):
        NaiveChain()
