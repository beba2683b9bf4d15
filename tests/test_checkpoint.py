"""A checkpoint gives back its network to the bit and refuses to be read when damaged or foreign."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fsr.runtime.errors import CheckpointError
from fsr.train.checkpoint import FORMAT, Checkpoint, load_checkpoint, save_checkpoint
from fsr.train.networks.edge import EdgeConfig, EdgeNet

CONFIG = EdgeConfig("S", 16, 8)


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint("edge", CONFIG.to_json(), EdgeNet(CONFIG).state_dict(), "runtime", {"steps": 7, "data": ["é"]})


def save_header(path: Path, checkpoint: Checkpoint, **changes: object) -> Path:
    header = {
        "version": 1,
        "network": checkpoint.network,
        "config": checkpoint.config,
        "framing": checkpoint.framing,
        "training": checkpoint.training,
    }
    save_file(checkpoint.weights, path, metadata={FORMAT: json.dumps({**header, **changes})})
    return path


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "new" / "model.safetensors"
    save_checkpoint(path, checkpoint)
    loaded = load_checkpoint(path)
    assert (loaded.network, loaded.config, loaded.framing, loaded.training) == (
        "edge",
        CONFIG.to_json(),
        "runtime",
        {"steps": 7, "data": ["é"]},
    )
    assert loaded.weights.keys() == checkpoint.weights.keys()
    assert all(torch.equal(loaded.weights[name], weight) for name, weight in checkpoint.weights.items())


def test_the_built_network_computes_the_same(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(tmp_path / "model.safetensors", checkpoint)
    built = load_checkpoint(tmp_path / "model.safetensors").build()
    original = EdgeNet(CONFIG)
    original.load_state_dict(checkpoint.weights)
    low = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(built(low), original(low))
    assert not built.training


def test_weights_are_kept_in_float32_and_in_order(tmp_path: Path, checkpoint: Checkpoint) -> None:
    weights = {
        name: weight.half().to(memory_format=torch.preserve_format) for name, weight in checkpoint.weights.items()
    }
    last = weights["body.0.weight"] = weights["body.0.weight"].to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "a.safetensors", Checkpoint("edge", checkpoint.config, weights, "runtime"))
    loaded = load_file(tmp_path / "a.safetensors")
    assert {weight.dtype for weight in loaded.values()} == {torch.float32}
    assert torch.equal(loaded["body.0.weight"], last.float())


def test_a_missing_checkpoint_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors: no such file; train one with fsr-train"):
        load_checkpoint(tmp_path / "model.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_damaged_checkpoint_is_an_error(tmp_path: Path, checkpoint: Checkpoint, keep: int) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, checkpoint)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        load_checkpoint(path)


def test_a_foreign_file_is_no_checkpoint(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save_file(checkpoint.weights, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "weights.safetensors")


def test_a_newer_version_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="got checkpoint version 2, expected 1; upgrade fsr-edge"):
        load_checkpoint(save_header(tmp_path / "model.safetensors", checkpoint, version=2))


@pytest.mark.parametrize("config", [EdgeConfig("M", 16, 8), EdgeConfig("S", 32, 4), EdgeConfig("S", 64, 4)])
def test_weights_of_another_network_do_not_fit(tmp_path: Path, checkpoint: Checkpoint, config: EdgeConfig) -> None:
    path = save_header(tmp_path / "model.safetensors", checkpoint, config=config.to_json())
    with pytest.raises(CheckpointError, match=f"weights do not fit edge .*'{config.tier}'") as got:
        load_checkpoint(path).build()
    assert "\n" not in str(got.value)


def test_an_unknown_network_is_an_error(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = save_header(tmp_path / "model.safetensors", checkpoint, network="cloud")
    with pytest.raises(CheckpointError, match="got network 'cloud'"):
        load_checkpoint(path).build()
