"""LPIPS is the published one, needs no torchvision, reads files without running them, and says which are wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from tiny_data import crops, make_pack
from torch import Tensor, nn

from fsr.runtime.errors import CheckpointError, EngineUnavailableError
from fsr.runtime.pixels import RgbBatch
from fsr.train import lpips as module
from fsr.train.cli import main
from fsr.train.degrade import shrink
from fsr.train.lpips import SCALE, SHIFT, TRUNKS, Lpips, Trunk

GOLDEN = {
    "alex": [0.07896705716848373, 0.22876636683940887, 0.3806653320789337],
    "vgg": [0.09790974855422974, 0.2528423070907593, 0.39099225401878357],
}
"""What the package lpips 0.1.4 says of `two_batches`, with torchvision's networks and the weights made here."""


def trunk_tensors(name: str) -> dict[str, Tensor]:
    """Random weights by torchvision's names, the classifier's first bias among them."""
    rng = np.random.default_rng(11)
    (layers,) = [trunk.layers() for trunk in TRUNKS if trunk.name == name]
    tensors: dict[str, Tensor] = {"classifier.1.bias": torch.zeros(4096)}
    for key, tensor in layers.state_dict().items():
        spread = (2 / tensor[0].numel()) ** 0.5 if key.endswith("weight") else 0.1
        values = spread * rng.standard_normal(tuple(tensor.shape), np.float32)
        tensors[f"features.{key}"] = torch.from_numpy(values.astype(np.float32))
    return tensors


def channel_weights(name: str) -> dict[str, Tensor]:
    """As the package lpips keeps them."""
    rng = np.random.default_rng(12)
    counts = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}[name]
    values = [rng.random((1, count, 1, 1), np.float32) for count in counts]
    return {f"lin{place}.model.1.weight": torch.from_numpy(each) for place, each in enumerate(values)}


def two_batches() -> tuple[RgbBatch, RgbBatch]:
    rng = np.random.default_rng(13)
    first = rng.integers(0, 256, (3, 64, 64, 3), np.uint8)
    noise = rng.integers(-40, 41, first.shape) * np.array([1, 2, 3])[:, None, None, None]
    return first, np.clip(first + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package lpips that cannot be imported, with weights of the channels."""
    folder = tmp_path_factory.mktemp("site")
    weights = folder / "lpips/weights/v0.1"
    weights.mkdir(parents=True)
    (folder / "lpips/__init__.py").write_text("raise ImportError('only its files matter')\n")
    for name in GOLDEN:
        torch.save(channel_weights(name), weights / f"{name}.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield weights


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trunk") / "alexnet.pth"
    torch.save(trunk_tensors("alex"), path)
    return path


@pytest.fixture(scope="module")
def lpips(alexnet: Path, package: Path) -> Lpips:
    return Lpips.open(alexnet)


@pytest.mark.parametrize("name", GOLDEN)
def test_it_is_the_published_one(name: str, tmp_path: Path) -> None:
    save_file(trunk_tensors(name), tmp_path / "trunk.safetensors")
    opened = Lpips.open(tmp_path / "trunk.safetensors")
    assert opened.name == f"LPIPS {name} v0.1"
    np.testing.assert_allclose(opened(*two_batches()), GOLDEN[name], rtol=1e-5)


def test_one_layer_is_what_the_paper_says() -> None:
    rng = np.random.default_rng(0)
    kernel, weights = rng.standard_normal((5, 3)), rng.random(5)
    layers = nn.Sequential(nn.Conv2d(3, 5, 1, bias=False), nn.ReLU())
    layers.load_state_dict({"0.weight": torch.tensor(kernel).float()[:, :, None, None]})
    ours = Lpips(Trunk("one", (5, 3, 1, 1), lambda: layers, (1,)), layers, [torch.tensor(weights).float()], "one")

    def unit(pictures: RgbBatch) -> np.ndarray:
        features = np.maximum(((pictures / 127.5 - 1 - SHIFT) / SCALE) @ kernel.T, 0)
        return features / (np.linalg.norm(features, axis=3, keepdims=True) + 1e-10)

    first, second = two_batches()
    expected = ((unit(first) - unit(second)) ** 2 @ weights).mean((1, 2))
    np.testing.assert_allclose(ours(first, second), expected, rtol=1e-5)


def test_equal_pictures_are_0_apart_and_sides_do_not_matter(lpips: Lpips) -> None:
    first, second = two_batches()
    assert lpips(first, first).tolist() == [0, 0, 0]
    np.testing.assert_allclose(lpips(first, second), lpips(second, first), rtol=1e-6)


def test_more_blur_and_more_noise_are_further_away(lpips: Lpips) -> None:
    high = np.array(crops()[:2])
    noise = np.random.default_rng(1).normal(size=high.shape)
    blurred = [lpips(shrink(shrink(high, size), 128), high) for size in (64, 32, 16)]
    noisy = [lpips(np.clip(high + sigma * noise, 0, 255).astype(np.uint8), high) for sigma in (4, 16, 64)]
    for distances in (blurred, noisy):
        assert (np.diff(distances, axis=0) > 0.1 * distances[0]).all()


def test_a_pair_is_as_far_apart_in_any_company(lpips: Lpips, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two_batches()
    together = lpips(first, second)
    monkeypatch.setattr(module, "BATCH", 2)
    np.testing.assert_allclose(lpips(first, second), together, rtol=1e-5)
    np.testing.assert_allclose(lpips(first[2:], second[2:]), together[2:], rtol=1e-5)


def test_old_files_of_pytorch_are_read_too(lpips: Lpips, tmp_path: Path) -> None:
    torch.save(trunk_tensors("alex"), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    opened = Lpips.open(tmp_path / "old.pth")
    np.testing.assert_array_equal(opened(*two_batches()), lpips(*two_batches()))
    assert opened.rule.startswith("LPIPS alex v0.1, trunk from old.pth (sha256 ")


class Trap:
    """Pickled, it makes a folder where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_a_file_that_would_run_something_is_refused_unrun(tmp_path: Path) -> None:
    torch.save({"features.0.weight": Trap(tmp_path / "caught")}, tmp_path / "trap.pth")
    with pytest.raises(CheckpointError, match="not of tensors alone, and nothing else is loaded"):
        Lpips.open(tmp_path / "trap.pth")
    assert not (tmp_path / "caught").exists()


def test_a_pytorch_that_may_run_something_reads_nothing(alexnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.5.1+cpu"))
    with pytest.raises(EngineUnavailableError, match=r"got PyTorch 2\.5\.1\+cpu, expected 2\.6 or newer"):
        Lpips.open(alexnet)


def without(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key != name}


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    alex = trunk_tensors("alex")
    files = {
        "got no tensor as features.0.weight, expected (64, 3, 11, 11) (alex) or (64, 3, 3, 3) (vgg)": {"a": alex},
        "got (32, 3, 3, 3) as features.0.weight": {"features.0.weight": torch.zeros(32, 3, 3, 3)},
        "got no tensor as features.10.bias, expected (256,)": without(alex, "features.10.bias"),
        "got (192,) as features.6.bias, expected (384,)": {**alex, "features.6.bias": torch.zeros(192)},
        "got no tensor as features.0.weight,": [torch.zeros(3)],
    }
    for expected, content in files.items():
        torch.save(content, tmp_path / "net.pth")
        refused(tmp_path / "net.pth", expected)


def test_what_is_no_file_of_weights_is_refused(alexnet: Path, tmp_path: Path) -> None:
    refused(tmp_path / "none.pth", "no such file")
    refused(tmp_path / "none.safetensors", "no such file")
    for content in (b"", b"a text", alexnet.read_bytes()[:100_000]):
        (tmp_path / "broken.pth").write_bytes(content)
        refused(tmp_path / "broken.pth", "damaged")
        (tmp_path / "broken.safetensors").write_bytes(content)
        refused(tmp_path / "broken.safetensors", "damaged")


def refused(path: Path, expected: str) -> None:
    with pytest.raises(CheckpointError) as error:
        Lpips.open(path)
    message = str(error.value)
    assert expected in message
    assert "torchvision has for AlexNet (alexnet-owt-7be5be79.pth)" in message
    assert "\n" not in message


def test_without_the_weights_of_the_channels_it_says_what_to_install(
    alexnet: Path, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailableError, match=r"got no package lpips, .*pip install --no-deps lpips"):
        Lpips.open(alexnet)
    monkeypatch.undo()
    (tmp_path / "lpips").mkdir()
    (tmp_path / "lpips/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"v0.1.alex\.pth: no such file; install the package lpips again"):
        Lpips.open(alexnet)


def test_it_is_a_column_of_the_details_named_in_the_results(alexnet: Path, lpips: Lpips, tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "faces.safetensors", train=1, val=1, test=3).path
    arguments = ["evaluate", "-p", str(pack), "-o", str(tmp_path), "--lpips", str(alexnet)]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    assert "LPIPS alex v0.1" in result.stdout
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["rules"]["lpips"] == lpips.rule
    high = np.array(crops()[2:5])
    expected = lpips(shrink(shrink(high, 16), 128), high).mean()
    assert [row["lpips"] for row in found["details"]] == [pytest.approx(expected, rel=1e-5)]
    assert f"{expected:.4f}" in result.stdout
