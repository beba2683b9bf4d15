"""The edge recipe learns, leaves a checkpoint with its papers, and repeats to the bit after kill -9."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from tiny_data import make_pack

from fsr.runtime.errors import CheckpointError, PackError, UsageError
from fsr.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fsr.train.loop import LoopConfig, read_log
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.pack import open_pack
from fsr.train.recipes.edge import EdgeRecipe, train_edge

NETWORK = EdgeConfig("S", 16, 8)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("packs") / "faces.safetensors").path


def recipe(pack: Path, output: Path, steps: int = 6, **options: object) -> EdgeRecipe:
    base = EdgeRecipe([pack], NETWORK, output, LoopConfig(steps=steps, precision="fp32"), batch=4)
    return replace(base, **options)  # pyright: ignore[reportArgumentType]


def run(settings: EdgeRecipe) -> Path:
    return train_edge(settings, Console(file=io.StringIO()))


def test_a_short_run_learns(pack: Path, tmp_path: Path) -> None:
    # A high rate: 40 steps are well inside the warm-up.
    run(recipe(pack, tmp_path / "run", loop=LoopConfig(steps=40, precision="fp32", learning_rate=1e-2)))
    log = read_log(tmp_path / "run" / "log.csv")
    assert [row["step"] for row in log] == list(range(4, 41, 4))
    assert log[-1]["loss"] < 0.97 * log[0]["loss"]
    assert log[-1]["psnr"] > log[0]["psnr"]


def test_a_run_leaves_a_checkpoint_a_log_and_pictures(pack: Path, tmp_path: Path) -> None:
    model = run(recipe(pack, tmp_path / "run"))
    assert model == tmp_path / "run" / "model.safetensors"
    assert sorted(path.name for path in model.parent.iterdir()) == [
        "curve.png", "log.csv", "model.safetensors", "samples.png", "state.safetensors",
    ]  # fmt: skip
    for name, least in (("curve.png", 400), ("samples.png", 4 * 128)):
        with Image.open(model.parent / name) as picture:
            picture.load()
            assert min(picture.size) >= least
            assert len(np.unique(np.asarray(picture))) > 10
    checkpoint = load_checkpoint(model)
    assert isinstance(checkpoint.build(), EdgeNet)
    assert (checkpoint.config, checkpoint.framing) == (NETWORK.to_json(), "runtime")
    training = checkpoint.training
    sha256 = open_pack(pack).sha256["train"]
    assert training["data"] == [{"source": "portraits", "licence": "public domain", "faces": 16, "sha256": sha256}]
    assert (training["steps"], training["faces_seen"], training["init"]) == (6, 24, None)
    last = read_log(model.parent / "log.csv")[-1]
    assert training["validation"]["gain"] == pytest.approx(last["gain"], abs=1e-3)
    assert training["validation"]["protocol"] == "sparnet"


def command(pack: Path, output: Path, steps: int) -> list[str]:
    """The run of `recipe` as a program of its own."""
    program = [
        sys.executable,
        "-c",
        "from fsr.train.cli import main; main()",
        "edge",
        "-p",
        str(pack),
        "-o",
        str(output),
    ]
    program += ["--tier", "S", "--input-size", "16", "--scale", "8", "--steps", str(steps), "--batch", "4"]
    return [*program, "--precision", "fp32", "--threads", "1"]


def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_bits(pack: Path, tmp_path: Path) -> None:
    steps = 30
    whole = load_file(run(recipe(pack, tmp_path / "whole", steps)))
    stopped = tmp_path / "stopped"
    process = subprocess.Popen(
        command(pack, stopped, steps), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not (stopped / "log.csv").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "error: stopped and saved at step" in said and "--resume" in said and "Traceback" not in said
    resumed = load_file(run(recipe(pack, stopped, steps, resume=True)))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_run_killed_with_signal_9_resumes_to_the_same_bits(pack: Path, tmp_path: Path) -> None:
    steps = 30
    whole = load_file(run(recipe(pack, tmp_path / "whole", steps)))
    killed = tmp_path / "killed"
    process = subprocess.Popen(command(pack, killed, steps), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (killed / "state.safetensors").exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it had to be killed while it ran"
    resumed = load_file(run(recipe(pack, killed, steps, resume=True)))
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert len(read_log(killed / "log.csv")) == 10


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"batch": 8}, "batch = 8, but it was 4"),
        ({"network": EdgeConfig("M", 16, 8)}, "network = .*'M'.*, but it was .*'S'"),
    ],
)
def test_a_run_is_resumed_with_its_own_settings_alone(
    pack: Path, tmp_path: Path, changes: dict[str, object], setting: str
) -> None:
    run(recipe(pack, tmp_path, 1))
    with pytest.raises(CheckpointError, match=setting):
        run(recipe(pack, tmp_path, 1, resume=True, **changes))
    other = make_pack(tmp_path / "other.safetensors", train=12).path
    with pytest.raises(CheckpointError, match="resumed with data"):
        run(recipe(other, tmp_path, 1, resume=True))


def test_an_existing_run_is_refused(pack: Path, tmp_path: Path) -> None:
    run(recipe(pack, tmp_path, 1))
    with pytest.raises(CheckpointError, match="holds a run already; go on with --resume"):
        run(recipe(pack, tmp_path, 1))


def test_init_goes_on_from_a_checkpoints_weights(pack: Path, tmp_path: Path) -> None:
    first = run(recipe(pack, tmp_path / "first", 10))
    rate = LoopConfig(steps=1, precision="fp32", learning_rate=1e-9)
    second = run(recipe(pack, tmp_path / "second", init=first, loop=rate))
    before, after = load_file(first), load_file(second)
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    assert load_checkpoint(second).training["init"] == load_checkpoint(first).training
    scratch = load_file(run(recipe(pack, tmp_path / "scratch", loop=rate)))
    assert not torch.allclose(before["tail.weight"], scratch["tail.weight"], atol=1e-6)


def test_init_may_lack_the_positions_that_are_to_be_learned(pack: Path, tmp_path: Path) -> None:
    first = run(recipe(pack, tmp_path / "first", 2))
    places = EdgeConfig("S", 16, 8, positions=True)
    second = load_file(run(recipe(pack, tmp_path / "second", 3, init=first, network=places)))
    assert second["positions"].abs().max() > 0
    with pytest.raises(CheckpointError, match="--init"):
        run(recipe(pack, tmp_path / "third", 1, init=tmp_path / "second" / "model.safetensors"))


@pytest.mark.parametrize(
    ("config", "framing"), [(EdgeConfig("M", 16, 8), "runtime"), (EdgeConfig("S", 16, 8), "celeba178")]
)
def test_init_of_another_tier_or_framing_is_refused(
    pack: Path, tmp_path: Path, config: EdgeConfig, framing: str
) -> None:
    init = tmp_path / "other.safetensors"
    save_checkpoint(init, Checkpoint("edge", config.to_json(), EdgeNet(config).state_dict(), framing))
    with pytest.raises(CheckpointError, match=r"--init .*expected edge .*'S'.* in runtime framing"):
        run(recipe(pack, tmp_path / "run", init=init))
    assert not (tmp_path / "run").exists()


def test_init_with_weights_that_do_not_fit_is_an_error(pack: Path, tmp_path: Path) -> None:
    weights = EdgeNet(EdgeConfig("M", 16, 8)).state_dict()
    save_checkpoint(tmp_path / "a.safetensors", Checkpoint("edge", NETWORK.to_json(), weights, "runtime"))
    with pytest.raises(CheckpointError, match="weights do not fit"):
        run(recipe(pack, tmp_path / "run", init=tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 64}, "got crops of 64 px, expected 128 px"),
        ({"val": 0}, "without validation faces, expected some; prepare with --val-share above 0"),
        ({"train": 0}, "no face to train on"),
    ],
)
def test_packs_that_do_not_fit_are_refused_before_training(
    tmp_path: Path, options: dict[str, int], message: str
) -> None:
    wrong = make_pack(tmp_path / "wrong.safetensors", **options).path  # pyright: ignore[reportArgumentType]
    with pytest.raises(PackError, match=message):
        run(recipe(wrong, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_packs_of_two_framings_are_not_mixed(pack: Path, tmp_path: Path) -> None:
    other = make_pack(tmp_path / "other.safetensors", framing="celeba178", prefix="other/").path
    with pytest.raises(PackError, match="expected packs of one framing"):
        run(recipe(pack, tmp_path / "run", packs=[pack, other]))


def test_two_packs_are_trained_on_together(pack: Path, tmp_path: Path) -> None:
    other = make_pack(tmp_path / "other.safetensors", train=8, val=0, source="others").path
    model = run(recipe(pack, tmp_path / "run", 1, packs=[pack, other]))
    assert [data["faces"] for data in load_checkpoint(model).training["data"]] == [16, 8]


def test_no_batch_is_an_error(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--batch: got 0"):
        recipe(pack, tmp_path, batch=0)
