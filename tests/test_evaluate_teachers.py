"""Teachers are evaluated on what they were trained to see, the prior of the original, and marked for it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from rich.console import Console
from tiny_data import make_pack
from tiny_priors import make_prior_pack

from fsr.runtime.errors import CheckpointError, PackError, UsageError
from fsr.runtime.pixels import RgbBatch
from fsr.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fsr.train.cli import main
from fsr.train.contestants import open_contestants
from fsr.train.degrade import ROBUST, degrade
from fsr.train.evaluate import evaluate, run_evaluation
from fsr.train.networks.compact import CompactConfig, CompactNet
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.networks.kdfsrnet import KdfsrConfig, KdfsrNet
from fsr.train.pack import open_pack, read_split
from fsr.train.prior_views import plain_views
from fsr.train.priors import Priors, read_priors
from fsr.train.restore import restore


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six faces in each split held out."""
    return make_prior_pack(tmp_path_factory.mktemp("packs") / "priors.safetensors", train=12, val=6).path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained, but loud in what they see of the prior."""
    torch.manual_seed(0)
    compact = CompactNet(CompactConfig("S", 16, 8, prior=12))
    torch.nn.init.normal_(compact.prior.weight, std=0.05)
    torch.nn.init.normal_(compact.edge.tail.weight, std=0.02)
    published = KdfsrNet(KdfsrConfig(16, 8, 1, prior=3))
    torch.nn.init.normal_(published.head.weight, std=0.5)
    torch.nn.init.normal_(published.tail.weight, std=0.1)
    networks = {
        "edge": ("edge", EdgeNet(EdgeConfig("S", 16, 8))),
        "compact": ("compact", compact),
        "kdfsr": ("kdfsrnet", published),
    }
    folder, paths = tmp_path_factory.mktemp("models"), {}
    for name, (kind, network) in networks.items():
        paths[name] = folder / name / "model.safetensors"
        save_checkpoint(paths[name], Checkpoint(kind, network.config.to_json(), network.state_dict(), "runtime"))
    return paths


@pytest.mark.parametrize(("model", "channels"), [("compact", 12), ("kdfsr", 3)])
def test_a_teacher_is_fed_the_priors_of_the_originals(
    pack: Path, models: dict[str, Path], model: str, channels: int
) -> None:
    """Of every face its own, whatever was done to the low face."""
    info = open_pack(pack)
    priors = read_priors(info, "test")
    low = degrade(read_split(info, "test"), 16, span=1.0, seed=0, kind=ROBUST)
    network = load_checkpoint(models[model]).build()
    expected = restore(network, low, prior=plain_views(priors, channels, 128))
    swapped = restore(network, low[:2], prior=plain_views(priors.take(np.array([1, 0])), channels, 128))
    assert np.abs(swapped.astype(int) - expected[:2]).mean() > 0.5  # whose prior it is can be told
    (teacher,) = open_contestants(models[model])
    given: list[RgbBatch] = []

    def kept(low: RgbBatch, priors: Priors | None) -> RgbBatch:
        given.append(teacher.restore(low, priors))
        return given[-1]

    evaluate([replace(teacher, restore=kept)], info, "test", ["rgb"], ROBUST)
    np.testing.assert_array_equal(given, [expected])


def test_it_is_marked_in_every_table_and_shown(
    pack: Path, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsr.train.evaluate.SHEET_FACES", 3)
    paths = [models["edge"], models["compact"]]
    tables = run_evaluation(paths, [pack], "test", ["sparnet"], tmp_path, True, details=True, groups=True)
    printed = io.StringIO()
    Console(file=printed, width=250).print(*tables)
    assert "not to be ranked with the others" in " ".join(printed.getvalue().split())
    found = json.loads((tmp_path / "results.json").read_text())
    marked = "compact (sees the prior)"
    assert [(row["name"], row["sees_prior"]) for row in found["rows"]] == [
        ("bicubic 16 -> 128", False), ("edge", False), (marked, True),
    ]  # fmt: skip
    assert [row["name"] for row in found["details"]] == ["bicubic 16 -> 128", "edge", marked]
    assert {row["name"] for row in found["groups"]} == {"edge", marked}
    assert found["gain_by_native_size"].keys() == {"edge"}  # a range to serve is no teacher's
    shown = faces_of(tmp_path / "sheet.png", columns=5)
    info = open_pack(pack)
    chosen = np.array([0, 2, 5])
    high = read_split(info, "test")[chosen]
    (teacher,) = open_contestants(models["compact"])
    restored = teacher.restore(degrade(high, 16, span=1.0, seed=0), read_priors(info, "test").take(chosen))
    np.testing.assert_array_equal(shown[:, 3], restored)
    np.testing.assert_array_equal(shown[:, 4], high)


def faces_of(sheet: Path, columns: int, size: int = 128, gap: int = 4) -> np.ndarray:
    """(rows, columns, size, size, 3) of a sheet, titles left out."""
    with Image.open(sheet) as opened:
        pixels = np.asarray(opened)
    rows = (len(pixels) - gap) // (size + gap)
    cells = pixels[-rows * (size + gap) :, gap:].reshape(rows, size + gap, columns, size + gap, 3)
    return cells.transpose(0, 2, 1, 3, 4)[:, :, :size, :size]


def test_without_teachers_no_footnote(pack: Path, models: dict[str, Path]) -> None:
    (table,) = run_evaluation([models["edge"]], [pack], "val", ["sparnet"], None, False)
    assert table.caption is None


def test_a_pack_without_priors_says_how_to_get_them(models: dict[str, Path], tmp_path: Path) -> None:
    plain = make_pack(tmp_path / "plain.safetensors", train=2, val=2, test=2).path
    result = CliRunner().invoke(main, ["evaluate", str(models["compact"]), "-p", str(plain)])
    assert result.exit_code == 2
    advice = "without facial priors; make it again with fsr-train prepare --priors --landmarker FILE"
    assert result.stderr.strip().endswith(advice)
    with pytest.raises(PackError):
        run_evaluation([models["edge"], models["kdfsr"]], [plain], "test", ["sparnet"], None, False)


def test_native_sizes_of_teachers_alone_are_refused(pack: Path, models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--native-sizes: got only models that see the prior"):
        run_evaluation([models["compact"]], [pack], "test", ["sparnet"], tmp_path, True)


def test_a_prior_of_another_kind_is_refused(tmp_path: Path) -> None:
    network = KdfsrNet(KdfsrConfig(16, 8, 1, prior=5))
    save_checkpoint(tmp_path / "m", Checkpoint("kdfsrnet", network.config.to_json(), network.state_dict(), "runtime"))
    with pytest.raises(CheckpointError, match="got a prior of 5 channels, expected one of 3, 12"):
        open_contestants(tmp_path / "m")
