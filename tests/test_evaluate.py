"""Evaluation scores what it says it scores: by hand for bicubic, by the network's own output for a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tiny_data import crops, make_pack

from fsr.runtime.errors import CheckpointError, InputError, OutputError, UsageError
from fsr.runtime.pixels import RgbBatch
from fsr.train import evaluate as evaluation
from fsr.train.checkpoint import Checkpoint, save_checkpoint
from fsr.train.cli import main
from fsr.train.contestants import Contestant, bicubic, open_contestants
from fsr.train.evaluate import evaluate, run_evaluation
from fsr.train.metrics import score
from fsr.train.networks.edge import EdgeConfig, EdgeNet
from fsr.train.pack import open_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("packs") / "faces.safetensors", train=2, val=2, test=4).path


def save_model(path: Path, *, framing: str = "runtime", config: EdgeConfig | None = None) -> EdgeNet:
    """A network whose tail adds a constant tenth to bilinear, so that its score is like no other's."""
    network = EdgeNet(config or EdgeConfig("S", 16, 8)).eval()
    torch.nn.init.zeros_(network.tail.weight)
    assert network.tail.bias is not None
    torch.nn.init.constant_(network.tail.bias, 0.1)
    save_checkpoint(path, Checkpoint("edge", network.config.to_json(), network.state_dict(), framing))
    return network


def resized(faces: RgbBatch, side: int) -> RgbBatch:
    pictures = [Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC) for face in faces]
    return np.stack([np.asarray(picture) for picture in pictures])


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_without_models_bicubic_x8_is_scored(pack: Path, tmp_path: Path) -> None:
    run_evaluation([], [pack], "test", ["sparnet", "rgb"], tmp_path, False)
    high = crops()[4:8]
    restored = resized(resized(high, 16), 128)
    rows = results(tmp_path)["rows"]
    assert [row["protocol"] for row in rows] == ["sparnet", "rgb"]
    for row in rows:
        expected = score(row["protocol"], restored, np.array(high))
        assert row["psnr"] == pytest.approx(expected.mean_psnr, abs=1e-9)
        assert row["ssim"] == pytest.approx(expected.mean_ssim, abs=1e-9)
        assert (row["name"], row["gain"], row["faces"]) == ("bicubic 16 -> 128", 0, 4)
    mean_squared = np.square(restored.astype(float) - high).mean((1, 2, 3))
    assert rows[1]["psnr"] == pytest.approx(float(np.mean(10 * np.log10(255**2 / mean_squared))))


def test_a_checkpoint_is_scored_beside_bicubic(pack: Path, tmp_path: Path) -> None:
    network = save_model(tmp_path / "edge-tiny" / "model.safetensors")
    run_evaluation([tmp_path / "edge-tiny" / "model.safetensors"], [pack], "val", ["sparnet"], tmp_path, False)
    high = np.array(crops()[2:4])
    low = torch.from_numpy(resized(high, 16)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        restored = (network(low).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    floor, row = results(tmp_path)["rows"]
    assert (floor["name"], row["name"], row["data"], row["faces"]) == (
        "bicubic 16 -> 128",
        "edge-tiny",
        "portraits val",
        2,
    )
    assert row["psnr"] == pytest.approx(score("sparnet", restored, high).mean_psnr, abs=1e-3)
    assert row["gain"] == pytest.approx(row["psnr"] - floor["psnr"])
    assert row["gain"] < -1  # a tenth too bright


def test_results_carry_the_rules_and_a_sheet(pack: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors")
    run_evaluation([tmp_path / "model.safetensors"], [pack], "test", ["dic"], tmp_path / "out", False)
    written = results(tmp_path / "out")
    assert written.keys() == {"rows", "rules", "gain_by_native_size", "details", "groups"}
    assert written["rules"] == {"dic": "Y rounded to uint8, 8 px border cut, SSIM Gaussian 11x11"}
    assert written["gain_by_native_size"] == {}
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width == 4 * 132 + 4  # LR | bicubic | model | HR, four faces below their titles
        pixels = np.asarray(sheet)[-(4 * 132 + 4) :]
        titles = np.asarray(sheet)[: -(4 * 132 + 4)]
    np.testing.assert_array_equal(pixels[4:132, 3 * 132 + 4 : 4 * 132], crops()[4])
    assert (titles[:, : 4 * 132].reshape(len(titles), 4, -1).min((0, 2)) < 100).all()  # each column has one
    assert not (tmp_path / "out" / "native_size.png").exists()


def test_models_of_one_name_are_told_apart_and_one_given_twice_is_refused(pack: Path, tmp_path: Path) -> None:
    paths = [tmp_path / folder / "run" / "model.safetensors" for folder in "ab"]
    for seed, path in enumerate(paths):
        path.parent.mkdir(parents=True)
        torch.manual_seed(seed)
        save_model(path)
    out = tmp_path / "out"
    run_evaluation(paths, [pack], "test", ["sparnet"], out, native_sizes=True)
    names = [f"run, {path}" for path in paths]
    assert [row["name"] for row in results(out)["rows"]][1:] == names
    assert list(results(out)["gain_by_native_size"]) == names
    with pytest.raises(UsageError, match="got it twice"):
        run_evaluation([paths[0], paths[0]], [pack], "test", ["sparnet"], None, native_sizes=False)


def test_an_evaluation_is_not_laid_over_another(pack: Path, tmp_path: Path) -> None:
    run_evaluation([], [pack], "test", ["sparnet"], tmp_path / "out", native_sizes=False)
    before = results(tmp_path / "out")
    with pytest.raises(OutputError, match="holds an evaluation already"):
        run_evaluation([], [pack], "test", ["dic"], tmp_path / "out", native_sizes=False)
    assert results(tmp_path / "out") == before


def test_native_sizes_are_measured_and_drawn(pack: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "tiny" / "model.safetensors")
    run_evaluation([tmp_path / "tiny" / "model.safetensors"], [pack], "val", ["sparnet"], tmp_path, True)
    gains = results(tmp_path)["gain_by_native_size"]["tiny"]
    assert {"8.0", "96.0"} <= gains.keys()
    assert len(gains) == 13
    assert gains["96.0"] < gains["16.0"] < 0
    with Image.open(tmp_path / "native_size.png") as curve:
        curve.load()


def test_native_sizes_are_measured_on_faces_of_one_framing(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "tiny" / "model.safetensors")
    other = make_pack(tmp_path / "other.safetensors", train=2, val=3, test=4, framing="celeba178", prefix="o").path
    counts: list[int] = []
    measure = evaluation.native_size_curves

    def counted(contestants: list[Contestant], high: RgbBatch, degradations: list[str]) -> object:
        counts.append(len(high))
        return measure(contestants, high, degradations)

    monkeypatch.setattr(evaluation, "native_size_curves", counted)
    save_model(tmp_path / "theirs" / "model.safetensors", framing="celeba178")
    models = [tmp_path / name / "model.safetensors" for name in ("tiny", "theirs")]
    run_evaluation(models, [pack, other], "val", ["sparnet"], tmp_path / "e", True)
    assert counts == [2]


def test_faces_are_restored_once_for_all_protocols(pack: Path) -> None:
    restored: list[str] = []

    def restore(low: RgbBatch, _: object) -> RgbBatch:
        restored.append("once")
        return resized(low, 128)

    rows = evaluate([Contestant("a", "runtime", 16, 128, restore)], open_pack(pack), "test", ["sparnet", "rgb"])
    assert [(row.protocol, row.name) for row in rows] == [
        (protocol, name) for protocol in ("sparnet", "rgb") for name in ("bicubic 16 -> 128", "a")
    ]
    assert restored == ["once"]


def test_native_sizes_without_output_are_refused(pack: Path) -> None:
    result = CliRunner().invoke(main, ["evaluate", "-p", str(pack), "--native-sizes"])
    assert result.exit_code == 2
    assert "--native-sizes draws a curve: say where with --output" in result.output


@pytest.mark.parametrize(
    ("framing", "config"), [("celeba178", EdgeConfig("S", 16, 8)), ("runtime", EdgeConfig("S", 64, 4))]
)
def test_a_model_of_another_framing_or_size_is_refused(
    pack: Path, tmp_path: Path, framing: str, config: EdgeConfig
) -> None:
    save_model(tmp_path / "m" / "model.safetensors", framing=framing, config=config)
    with pytest.raises(UsageError, match=rf"runtime framing, 128 px; got m \({framing}, {config.output_size} px\)"):
        run_evaluation([tmp_path / "m" / "model.safetensors"], [pack], "test", ["sparnet"], None, False)


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    empty = make_pack(tmp_path / "a.safetensors", train=2, val=2, test=0).path
    with pytest.raises(InputError, match="split 'test' is empty; prepare it with --test-share above 0"):
        run_evaluation([], [empty], "test", ["sparnet"], None, False)


def test_an_unknown_protocol_is_an_error(pack: Path) -> None:
    with pytest.raises(UsageError, match="got protocol 'psnr'"):
        run_evaluation([], [pack], "test", ["psnr"], None, False)


def test_what_is_no_model_is_an_error(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing there; expected a checkpoint"):
        open_contestants(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        open_contestants(pack)


def test_models_of_two_input_sizes_are_each_beside_their_own_bicubic(pack: Path, tmp_path: Path) -> None:
    contestants = [bicubic(128, 16, "runtime"), bicubic(128, 32, "runtime"), bicubic(256, 32, "runtime")]
    rows = evaluate(contestants, open_pack(pack), "val", ["sparnet"])
    assert [row.name for row in rows] == ["bicubic 16 -> 128", "bicubic", "bicubic 32 -> 128", "bicubic"]
    assert [row.gain for row in rows] == [0, 0, 0, 0]
    assert rows[2].psnr > rows[0].psnr + 1
