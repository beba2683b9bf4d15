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
from test_teacher_recipe import stop_at
from tiny_data import make_pack
from tiny_priors import make_prior_pack

from fsr.export.write_bundle import network_name
from fsr.runtime.errors import CheckpointError, PackError, TrainingStoppedError, UsageError
from fsr.train.batches import FaceBatches
from fsr.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fsr.train.degrade import shrink
from fsr.train.distill import Decay
from fsr.train.loop import LoopConfig, read_log
from fsr.train.mirror import is_mirrored
from fsr.train.networks.compact import CompactConfig
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.networks.kdfsrnet import KdfsrConfig, KdfsrNet
from fsr.train.optimizers import edge_rate
from fsr.train.pack import open_pack, read_split
from fsr.train.recipes import edge as edge_module
from fsr.train.recipes.edge import EdgeRecipe, train_edge
from fsr.train.recipes.teacher import TeacherRecipe, train_teacher
from fsr.train.reparam import Branches
from fsr.train.teachers import open_teacher
from fsr.train.tutors import Distillation, parts_named

NETWORK = EdgeConfig("S", 16, 8, tail=1)


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
    loop = LoopConfig(steps=steps, precision="fp32", learning_rate=edge_rate(NETWORK.tier))  # as the command's
    base = EdgeRecipe([pack], NETWORK, output, loop, batch=4)
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
    about = {"source": "portraits", "licence": "public domain", "faces": 16, "sha256": sha256, "pictures": []}
    assert training["data"] == [about]
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


def test_init_takes_a_checkpoint_whose_header_names_no_grid(pack: Path, tmp_path: Path) -> None:
    """As the released ones from before there was a choice."""
    config = {name: value for name, value in NETWORK.to_json().items() if name != "grid"}
    save_checkpoint(tmp_path / "old.safetensors", Checkpoint("edge", config, EdgeNet(NETWORK).state_dict(), "runtime"))
    run(recipe(pack, tmp_path / "run", 1, init=tmp_path / "old.safetensors"))


def test_what_init_learned_from_stays_in_the_papers(pack: Path, tmp_path: Path) -> None:
    """Its licence binds what starts from it, and what starts from that."""
    theirs = {"source": "theirs", "licence": "non-commercial", "faces": 9, "sha256": "0" * 64}
    trained = {"data": [theirs], "init": None}
    before = Checkpoint("edge", NETWORK.to_json(), EdgeNet(NETWORK).state_dict(), "runtime", trained)
    save_checkpoint(tmp_path / "theirs.safetensors", before)
    first = run(recipe(pack, tmp_path / "first", 1, init=tmp_path / "theirs.safetensors"))
    second = load_checkpoint(run(recipe(pack, tmp_path / "second", 1, init=first)))
    assert [entry["source"] for entry in second.training["data"]] == ["portraits", "theirs"]


def test_a_run_is_not_resumed_from_another_init(pack: Path, tmp_path: Path) -> None:
    first = run(recipe(pack, tmp_path / "first", 1))
    other = run(recipe(pack, tmp_path / "other", 2))
    started = recipe(pack, tmp_path / "run", 2, init=first)
    run(started)
    for init in (None, other):
        with pytest.raises(CheckpointError, match="init"):
            run(replace(started, init=init, resume=True))


def test_init_may_lack_the_positions_that_are_to_be_learned(pack: Path, tmp_path: Path) -> None:
    first = run(recipe(pack, tmp_path / "first", 2))
    places = EdgeConfig("S", 16, 8, positions=True, tail=1)
    second = load_file(run(recipe(pack, tmp_path / "second", 3, init=first, network=places)))
    assert second["positions"].abs().max() > 0
    with pytest.raises(CheckpointError, match="--init"):
        run(recipe(pack, tmp_path / "third", 1, init=tmp_path / "second" / "model.safetensors"))


@pytest.mark.parametrize(("config", "framing"), [(EdgeConfig("M", 16, 8), "runtime"), (NETWORK, "celeba178")])
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


@pytest.fixture(scope="module")
def prior_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prior_pack(tmp_path_factory.mktemp("packs") / "priors.safetensors", unreliable=2).path


@pytest.fixture(scope="module")
def prior_teacher(prior_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    loop, output = LoopConfig(steps=10, precision="fp32"), tmp_path_factory.mktemp("teacher")
    settings = TeacherRecipe([prior_pack], CompactConfig("S", 16, 8, 12), output, loop, 4, optimizer="muon")
    return train_teacher(settings, Console(file=io.StringIO()))


def plain_teacher(path: Path, network: EdgeConfig = NETWORK, framing: str = "runtime", seed: int = 1) -> Path:
    """A loud random network: nobody comes near its output without being taught."""
    torch.manual_seed(seed)
    built = EdgeNet(network)
    torch.nn.init.normal_(built.tail.weight, std=0.05)
    save_checkpoint(path, Checkpoint("edge", network.to_json(), built.state_dict(), framing, {"data": OTHER_DATA}))
    return path


OTHER_DATA = [{"source": "others", "licence": "for research", "faces": 3, "sha256": "1" * 64}]


def distance(student: Path, teacher: Path, pack: Path) -> float:
    """How far a student's output is from that of a teacher without a prior."""
    high = read_split(open_pack(pack), "train")
    low, _ = FaceBatches(shrink(high, 16), high, 8, seed=5)(0)
    return float((open_teacher(student)(low)[0] - open_teacher(teacher)(low)[0]).abs().mean())


@pytest.mark.parametrize("live", [False, True])
def test_a_distilled_student_comes_nearer_to_its_teacher(pack: Path, tmp_path: Path, live: bool) -> None:
    teacher = plain_teacher(tmp_path / "teacher.safetensors")
    loop = LoopConfig(steps=30, precision="fp32", learning_rate=1e-2)
    alone = run(recipe(pack, tmp_path / "alone", loop=loop))
    taught = run(recipe(pack, tmp_path / "run", loop=loop, distillation=Distillation([teacher], weight=1.0, live=live)))
    assert distance(taught, teacher, pack) < 0.9 * distance(alone, teacher, pack)
    assert (tmp_path / "run" / "lessons.safetensors").exists() is not live
    assert [entry["source"] for entry in load_checkpoint(taught).training["data"]] == ["portraits", "others"]


def test_a_weight_of_nothing_is_the_plain_recipe_to_the_bit(pack: Path, tmp_path: Path) -> None:
    teacher = plain_teacher(tmp_path / "teacher.safetensors")
    plain = load_file(run(recipe(pack, tmp_path / "plain")))
    unheard = load_file(run(recipe(pack, tmp_path / "run", distillation=Distillation([teacher], weight=0.0))))
    assert all(torch.equal(plain[name], unheard[name]) for name in plain)


def test_everything_at_once_resumes_to_the_same_bits(
    prior_pack: Path, prior_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features and outputs of the prior teacher, the prior itself, branches; what is kept is a plain edge student."""
    distillation = Distillation([prior_teacher], features=True, decay=Decay(1.0, 0.0, 0.8), layers=2)
    options = {"distillation": distillation, "multitask": 0.1, "branches": Branches()}
    whole_run = run(recipe(prior_pack, tmp_path / "whole", 20, **options))
    stop_at(monkeypatch, edge_module, 9)
    with pytest.raises(TrainingStoppedError):
        run(recipe(prior_pack, tmp_path / "cut", 20, **options))
    monkeypatch.undo()
    whole = load_file(whole_run)
    resumed = load_file(run(recipe(prior_pack, tmp_path / "cut", 20, resume=True, **options)))
    assert whole.keys() == EdgeNet(NETWORK).state_dict().keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert network_name(load_checkpoint(whole_run)) == "edge-S-16x8"


def test_a_mirrored_run_keeps_a_plain_symmetric_student_and_resumes(
    prior_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_run = run(recipe(prior_pack, tmp_path / "whole", 12, mirror=True, multitask=0.1))
    stop_at(monkeypatch, edge_module, 5)
    with pytest.raises(TrainingStoppedError):
        run(recipe(prior_pack, tmp_path / "cut", 12, mirror=True, multitask=0.1))
    monkeypatch.undo()
    whole = load_file(whole_run)
    resumed = load_file(run(recipe(prior_pack, tmp_path / "cut", 12, mirror=True, multitask=0.1, resume=True)))
    assert whole.keys() == EdgeNet(NETWORK).state_dict().keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    kept = load_checkpoint(whole_run).build()
    assert isinstance(kept, EdgeNet) and is_mirrored(kept)
    again = load_checkpoint(run(recipe(prior_pack, tmp_path / "again", 2, mirror=True, init=whole_run)))
    assert again.training["mirror"] and again.training["init"]["mirror"]
    plain = run(recipe(prior_pack, tmp_path / "plain", 2))
    with pytest.raises(CheckpointError, match="was trained without --mirror; leave it out, or start anew"):
        run(recipe(prior_pack, tmp_path / "other", 2, mirror=True, init=plain))
    with pytest.raises(UsageError, match="got --mirror and --branches"):
        recipe(prior_pack, tmp_path / "both", 2, mirror=True, branches=Branches())


@pytest.mark.parametrize("part", ["features", "multitask", "branches"])
def test_every_switch_does_something(prior_pack: Path, prior_teacher: Path, tmp_path: Path, part: str) -> None:
    options: dict[str, object] = {
        "features": {"distillation": Distillation([prior_teacher], output=False, features=True)},
        "multitask": {"multitask": 1.0},
        "branches": {"branches": Branches()},
    }[part]
    plain = load_file(run(recipe(prior_pack, tmp_path / "plain", 4)))
    switched = load_file(run(recipe(prior_pack, tmp_path / "switched", 4, **options)))
    assert not torch.equal(plain["body.0.weight"], switched["body.0.weight"])


def test_a_students_outputs_teach_in_place_of_its_teachers(pack: Path, tmp_path: Path) -> None:
    teacher, student = (plain_teacher(tmp_path / f"{n}.safetensors", seed=n) for n in (1, 2))
    unheard = {"features": True, "decay": Decay(features=0.0, share=0.3)}
    by_pair = run(recipe(pack, tmp_path / "a", distillation=Distillation([teacher], [student], **unheard)))
    by_student = run(recipe(pack, tmp_path / "b", distillation=Distillation([student], **unheard)))
    pair, student_alone = load_file(by_pair), load_file(by_student)
    assert all(torch.equal(pair[name], student_alone[name]) for name in pair)


def test_runs_may_share_a_file_of_lessons(pack: Path, tmp_path: Path) -> None:
    teacher, cache = plain_teacher(tmp_path / "teacher.safetensors"), tmp_path / "lessons.safetensors"
    settings = Distillation([teacher], cache=cache)
    one = run(recipe(pack, tmp_path / "a", distillation=settings))
    written = cache.stat().st_mtime_ns
    other = run(recipe(pack, tmp_path / "b", distillation=settings))
    assert cache.stat().st_mtime_ns == written
    assert torch.equal(load_file(one)["tail.weight"], load_file(other)["tail.weight"])
    with pytest.raises(CheckpointError, match="lessons of other teachers or other faces"):
        run(recipe(pack, tmp_path / "c", native_span=1.5, distillation=settings))


def test_a_run_is_resumed_with_its_own_teacher_alone(pack: Path, tmp_path: Path) -> None:
    first, second = (plain_teacher(tmp_path / f"{n}.safetensors", seed=n) for n in (1, 2))
    run(recipe(pack, tmp_path / "run", 1, distillation=Distillation([first], live=True)))
    with pytest.raises(CheckpointError, match="resumed with distillation"):
        run(recipe(pack, tmp_path / "run", 1, resume=True, distillation=Distillation([second], live=True)))


def test_teachers_that_do_not_fit_are_refused_before_training(pack: Path, prior_teacher: Path, tmp_path: Path) -> None:
    published = KdfsrNet(KdfsrConfig(16, 8, 1))
    save_checkpoint(
        tmp_path / "kdfsrnet", Checkpoint("kdfsrnet", published.config.to_json(), published.state_dict(), "runtime")
    )
    scale = plain_teacher(tmp_path / "scale", EdgeConfig("S", 32, 4))
    framing = plain_teacher(tmp_path / "framing", framing="celeba178")
    for settings, error, message in (
        (Distillation([scale]), CheckpointError, "got a teacher of 32 px x 4, expected 16 px x 8"),
        (Distillation([framing]), CheckpointError, "got a teacher of celeba178 framing, expected runtime"),
        (Distillation([prior_teacher]), PackError, "without facial priors"),
        (
            Distillation([tmp_path / "kdfsrnet"], features=True),
            CheckpointError,
            "got features of 16x16, 128x128 px, expected 16x16 px .*--distill output",
        ),
        (Distillation([tmp_path / "none"]), CheckpointError, "no such file"),
    ):
        with pytest.raises(error, match=message):
            run(recipe(pack, tmp_path / "run", distillation=settings))
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teachers": [], "students": ["a"]}, "--student: got it without --teacher"),
        ({"teachers": ["a"], "students": ["b"]}, "so that no --teacher would teach"),
        ({"students": ["b"], "output": False, "features": True}, "so that no --student would teach"),
        ({"live": True, "cache": Path("x")}, "got --live-teacher and --teacher-cache"),
        ({"output": False}, "--distill: got nothing"),
        ({"weight": 1.5}, "--distill-weight: got 1.5"),
        ({"layers": 0}, "--feature-layers: got 0"),
    ],
)
def test_a_distillation_that_is_none_is_an_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Distillation(**{"teachers": ["a"], **options})  # pyright: ignore[reportArgumentType]


def test_parts_are_named_in_a_list() -> None:
    assert parts_named("output") == (True, False)
    assert parts_named("features, output") == (True, True)
    with pytest.raises(UsageError, match="--distill: got 'outputs', expected output, features or output,features"):
        parts_named("outputs")


def test_a_tier_that_teaches_is_trained_and_not_deployed(tmp_path: Path) -> None:
    config = EdgeConfig("XL", 16, 8)
    checkpoint = Checkpoint("edge", config.to_json(), EdgeNet(config).state_dict(), "runtime")
    with pytest.raises(CheckpointError, match="got tier XL, which only teaches; expected one of S, M, L"):
        network_name(checkpoint)
