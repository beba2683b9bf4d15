"""Several processes train as one would: two of them really run, started by torchrun, on the CPU."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
import two_processes
from safetensors.torch import load_file
from test_edge_recipe import plain_teacher
from tiny_data import make_pack
from torch import Tensor

from fsr.runtime.errors import UsageError
from fsr.train.checkpoint import MODEL_FILE, load_checkpoint
from fsr.train.loop import LOG_FILE, STATE_FILE, read_log
from fsr.train.processes import Crew, open_crew, parting

pytest.importorskip("lightning_fabric", reason="needs lightning-fabric: fsr-edge[distributed]")
if not torch.distributed.is_available():
    pytest.skip("this torch is built without distributed training", allow_module_level=True)

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TRAIN = Path(sys.executable).with_name("fsr-train")
DISTANCE = {"plain_descent": 1e-4, "make_optimizers": 0.3}
"""Of what two processes add to the weights from what one adds, as a share of it. Sums in another order may fall on the
other side of a rounding of int8. Muon makes matrices orthogonal, and what is nearly 0 with them."""


def torchrun(*arguments: object) -> subprocess.Popen[str]:
    command = [*TORCHRUN, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed and what it complained of; processes that wait for each other for ever are ended."""
    try:
        return process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends the others
        raise


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `two_processes.main` has filled."""
    folder = tmp_path_factory.mktemp("pair")
    process = torchrun("two_processes.py", folder)
    _, said = finish(process)
    assert process.returncode == 0, said
    return folder


@pytest.fixture(scope="module")
def said(pair: Path) -> list[Mapping[str, object]]:
    """What each process says of itself."""
    return [json.loads((pair / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Tensor]]:
    """What one process trains with the whole batch."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield two_processes.trained(tmp_path_factory.mktemp("alone"), Crew())
    torch.set_num_threads(before)


def test_two_processes_move_the_same_weights_to_the_bit(pair: Path) -> None:
    one, other = (load_file(pair / f"{rank}.safetensors") for rank in (0, 1))
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("form", two_processes.FORMS)
def test_two_halves_of_a_batch_are_the_batch(pair: Path, alone: Mapping[str, Tensor], form: str) -> None:
    """Plain, in branches, mirrored and in int8; both processes' network and its averaged weights."""
    together = load_file(pair / "0.safetensors")
    assert distance(together[f"{form}/gradient"], alone[f"{form}/gradient"]) < 1e-5
    for optimizers, most in DISTANCE.items():
        for kind in ("network", "averaged"):
            name = f"{form}/{optimizers}/{kind}"
            assert distance(together[name], alone[name]) < most, name


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_one_process_alone_diverges_and_all_end(pair: Path, said: list[Mapping[str, object]]) -> None:
    assert said[0]["diverged"] == said[1]["diverged"]
    assert "TrainingDivergedError" in str(said[0]["diverged"]) and "the loss is nan at step 3" in str(said[0])
    assert [row["step"] for row in read_log(pair / "diverged" / LOG_FILE)] == [2]


def test_one_process_alone_is_stopped_and_all_end(pair: Path, said: list[Mapping[str, object]]) -> None:
    assert said[0]["stopped"] == said[1]["stopped"]
    assert "stopped and saved at step 4; go on with --resume" in str(said[0]["stopped"])
    assert read_log(pair / "stopped" / LOG_FILE)[-1]["step"] == 4


def test_the_first_processs_clock_counts(said: list[Mapping[str, object]]) -> None:
    assert said[0]["clock"] == said[1]["clock"]


def test_processes_that_began_differently_are_refused(said: list[Mapping[str, object]]) -> None:
    for one in said:
        assert "process 1 began with data = 1, process 0 with 0; give every machine the same" in str(one["data"])


def test_all_follow_the_first_ones_weights(said: list[Mapping[str, object]]) -> None:
    assert [one["following"] for one in said] == [3, 3]


def test_they_have_parted(said: list[Mapping[str, object]]) -> None:
    assert [one["parted"] for one in said] == [True, True]


def test_it_says_how_many_they_are(said: list[Mapping[str, object]]) -> None:
    assert str(said[0]["crew"]).startswith("in 2 processes, the first in float32 on the CPU")


def edge(folder: Path, output: str, steps: int = 20, *more: object) -> list[object]:
    """A run of the command line: mirrored, distilled from a file of lessons."""
    network = ["--tier", "S", "--input-size", 16, "--scale", 8, "--mirror", "--teacher", folder / "teacher.safetensors"]
    budget = ["--steps", steps, "--batch", 4, "--precision", "fp32", "--device", "cpu"]
    return [TRAIN, "edge", "-p", folder / "faces.safetensors", "-o", folder / output, *network, *budget, *more]


def test_a_run_of_two_is_written_once_stops_and_goes_on(tmp_path: Path) -> None:
    make_pack(tmp_path / "faces.safetensors")
    plain_teacher(tmp_path / "teacher.safetensors")
    whole = torchrun(*edge(tmp_path, "whole"))
    printed, complaints = finish(whole)
    assert whole.returncode == 0, complaints
    assert printed == f"{tmp_path / 'whole' / 'model.safetensors'}\n"
    assert complaints.count("training in 2 processes") == complaints.count("step      20 ") == 1
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == [
        "curve.png", "lessons.safetensors", "log.csv", "model.safetensors", "samples.png", "state.safetensors",
    ]  # fmt: skip
    assert [row["step"] for row in read_log(tmp_path / "whole" / LOG_FILE)] == list(range(2, 21, 2))
    assert load_checkpoint(tmp_path / "whole" / "model.safetensors").training["faces_seen"] == 80

    shutil.copytree(tmp_path / "whole", tmp_path / "cut", ignore=lambda *_: {LOG_FILE, STATE_FILE, MODEL_FILE})
    cut = torchrun(*edge(tmp_path, "cut"))
    while not (tmp_path / "cut" / LOG_FILE).exists() and cut.poll() is None:
        time.sleep(0.01)
    cut.send_signal(signal.SIGINT)
    _, complaints = finish(cut)
    assert cut.returncode and complaints.count("error: ") == 1, complaints
    assert "error: stopped and saved at step" in complaints
    assert read_log(tmp_path / "cut" / LOG_FILE)[-1]["step"] < 20
    resumed = torchrun(*edge(tmp_path, "cut", 20, "--resume"))
    _, complaints = finish(resumed)
    assert resumed.returncode == 0, complaints
    one, other = (load_file(tmp_path / name / STATE_FILE) for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_where_all_went_well_they_part_at_once(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parted: list[str] = []
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: parted.append(device))
    with parting(torch.device(device)):
        assert not parted
    assert parted == [device]


@pytest.mark.parametrize(("device", "exits"), [("cpu", 1), ("cuda", 0)])
def test_what_fails_parts_when_all_is_said(device: str, exits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL's end is one of all together: of one process alone it would never come."""
    parted: list[str] = []
    at_exit: list[Callable[[], object]] = []
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: parted.append(device))
    monkeypatch.setattr(atexit, "register", at_exit.append)
    with pytest.raises(RuntimeError, match="alone"), parting(torch.device(device)):
        raise RuntimeError("one alone failed")
    assert not parted
    for act in at_exit:
        act()
    assert parted == [device] * exits


def test_one_process_alone_fails_and_says_why(tmp_path: Path) -> None:
    process = torchrun("two_processes.py", tmp_path, "fail")
    _, complaints = finish(process)
    assert process.returncode == 1
    assert complaints.count("error: log.csv: cannot be written: No space left on device") == 1, complaints


def test_what_both_do_wrong_is_one_sentence(tmp_path: Path) -> None:
    make_pack(tmp_path / "faces.safetensors")
    plain_teacher(tmp_path / "teacher.safetensors")
    process = torchrun(*edge(tmp_path, "run", 20, "--batch", 5))
    _, complaints = finish(process)
    assert process.returncode == 1
    errors = [line for line in complaints.splitlines() if line.startswith("error: ")]
    assert errors == ["error: --batch: got 5 faces for 2 processes, expected a multiple of 2"]
    assert not (tmp_path / "run").exists()


def test_without_torchrun_there_is_one() -> None:
    assert "TORCHELASTIC_RUN_ID" not in os.environ
    with open_crew("cpu") as crew:
        assert (crew.rank, crew.count, crew.first) == (0, 1, True)


def test_machines_have_as_many_processes_each(monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="got 2 of 3 processes on this machine, expected as many on each"), open_crew():
        pass


def test_without_fabric_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fsr.runtime.command_line import error_sentences

    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    started = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit), error_sentences(), open_crew("cpu"):
        pass
    said = 'error: this needs lightning_fabric; install it with: pip install "fsr-edge[distributed]"\n'
    assert capsys.readouterr().err == said
