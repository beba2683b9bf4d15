"""A bundle is whole, says what is true of it, and nothing is left where it could not be made."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from test_to_onnx import changed
from tiny_models import LICENCE, SOURCE, TRAINING, exported_before, saved, tiny_checkpoint

from fsr.export.card import commands
from fsr.export.native_ranges import NativeRange, native_ranges
from fsr.export.write_bundle import BundleConfig, write_bundle
from fsr.runtime.bundle import Bundle, default_detector, open_bundle
from fsr.runtime.detect import Detector
from fsr.runtime.errors import FsrError, OutputError, ParityError, UsageError
from fsr.runtime.geometry import FRAMINGS, resize
from fsr.runtime.media.images import read_image
from fsr.runtime.tiles import untile
from fsr.train.checkpoint import Checkpoint
from fsr.train.contestants import Contestant, open_contestants
from fsr.train.evaluate import evaluate
from fsr.train.native_size import NativeSizeCurve
from fsr.train.pack import open_pack
from fsr.train.restore import restore

NAMES = ["edge-S-16x8", "edge-S-32x4"]
CHECKPOINTS = {"edge-S-16x8": (16, 8), "edge-S-32x4": (32, 4)}


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


def test_the_models_are_described_as_they_are(bundle: Bundle) -> None:
    assert bundle.names == NAMES
    for model in bundle.manifest.models:
        input_size, scale = CHECKPOINTS[model.name]
        assert (model.input_size, model.scale, model.output_size) == (input_size, scale, 128)
        assert (model.network, model.framing, model.licence) == ("edge", "runtime", "test only")
        assert model.template == FRAMINGS["runtime"].template.tolist()
        (data,) = TRAINING["data"]
        assert [{**vars(entry), "pictures": data["pictures"]} for entry in model.data] == [data]
        assert "64 faces in 0.1 minutes" in model.training
        assert model.multiply_accumulates > 10**7


def test_the_bundle_is_described_as_it_is(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert (manifest.name, manifest.licence, manifest.version) == ("tiny", "test only", 1)
    assert (manifest.detector.name, manifest.detector.licence) == ("yunet-2023mar", "MIT")
    assert bundle.path(manifest.detector.files["fp32"]).read_bytes() == default_detector()


def test_every_hash_is_that_of_its_file(bundle: Bundle) -> None:
    entries = bundle.manifest.file_entries()
    assert len({entry.file for entry in entries}) == 8  # detector, 2 models, high, 2 x low and restored
    for entry in entries:
        assert hashlib.sha256(bundle.path(entry).read_bytes()).hexdigest() == entry.sha256


def test_parity_was_measured_on_both_sets(bundle: Bundle) -> None:
    for model in bundle.manifest.models:
        assert [(entry.precision, entry.data, entry.faces) for entry in model.parity] == [
            ("fp32", "parity set", 64),
            ("fp32", f"{SOURCE} test", 6),
        ]
        for entry in model.parity:
            assert entry.max_difference <= 1
            assert 0 <= entry.mean_difference < 0.01


def test_quality_is_what_evaluation_gives(bundle: Bundle) -> None:
    pack = open_pack(bundle.folder.parent / "portraits.safetensors")
    for model, contestant in zip(bundle.manifest.models, open_contestants(bundle.folder), strict=True):
        (entry,) = model.quality
        floor, row = evaluate([contestant], pack, "test", ["sparnet"])
        assert (entry.data, entry.protocol, entry.faces) == (f"{SOURCE} test", "sparnet", 6)
        assert entry.psnr == pytest.approx(row.psnr, abs=1e-4)
        assert entry.ssim == pytest.approx(row.ssim, abs=1e-4)
        assert entry.bicubic_psnr == pytest.approx(floor.psnr, abs=1e-4)
        assert entry.bicubic_ssim == pytest.approx(floor.ssim, abs=1e-4)
    fitted, random = (model.quality[0] for model in bundle.manifest.models)
    assert fitted.psnr > fitted.bicubic_psnr  # by its making
    assert random.psnr < random.bicubic_psnr


def test_only_the_model_that_helps_serves_native_sizes(bundle: Bundle) -> None:
    fitted, random = bundle.manifest.models
    assert fitted.native_from < 16 < fitted.native_to < 128
    assert (random.native_from, random.native_to) == (0, 0)


def test_the_parity_set_shows_what_pytorch_makes(bundle: Bundle) -> None:
    parity = bundle.manifest.parity_set
    assert (parity.faces, list(parity.high)) == (64, ["runtime-128"])
    assert [output.model for output in parity.outputs] == NAMES
    high = untile(read_image(bundle.path(parity.high["runtime-128"])), parity.faces, parity.columns)
    for output in parity.outputs:
        low, restored = (
            untile(read_image(bundle.path(entry)), parity.faces, parity.columns)
            for entry in (output.low, output.restored)
        )
        input_size, scale = CHECKPOINTS[output.model]
        np.testing.assert_array_equal(restored, restore(tiny_checkpoint(input_size, scale).build(), low))
        np.testing.assert_array_equal(low[0], resize(high[0], (input_size, input_size)))


def test_the_card_says_what_a_user_must_know(bundle: Bundle) -> None:
    card = (bundle.folder / "CARD.md").read_text(encoding="utf-8")
    assert f"Trained on: {SOURCE}, 64 crops ({LICENCE})." in card
    assert "Licence of the weights: test only. Detector: yunet-2023mar, MIT." in card
    assert "## Limits" in card and "Never identify people by it." in card
    assert "Eileen Collins (NASA" in card
    for model in bundle.manifest.models:
        (quality,) = model.quality
        assert f"## {model.name}: {model.input_size} -> 128 px, runtime framing" in card
        assert f"| {quality.bicubic_psnr:.2f} / {quality.bicubic_ssim:.4f} |" in card
        gain = quality.psnr - quality.bicubic_psnr
        assert f"| {quality.psnr:.2f} / {quality.ssim:.4f} | {gain:+.2f} |" in card
    fitted = bundle.manifest.models[0]
    assert f"`{fitted.name}`: native crops of {fitted.native_from:g} to {fitted.native_to:g} px" in card
    assert "`edge-S-32x4`: at no native size the best choice" in card


def test_the_card_prints_the_commands_that_made_a_model_oldest_first() -> None:
    first = {"command": "fsr-train edge --steps 1", "init": None, "faces_seen": 32}
    second = {"command": None, "init": first, "faces_seen": 3200}
    third = {"command": "fsr-train edge --steps 2", "init": second, "faces_seen": 64}
    shown = commands(third).split("```bash\n")[1].splitlines()
    assert shown[:3] == [first["command"], "# 3,200 faces; the command was not kept", third["command"]]
    assert commands({"init": None, "faces_seen": 32}) == ""


def test_a_command_that_ran_by_the_clock_is_printed_with_its_steps() -> None:
    command = "fsr-train edge --output runs/S --minutes 2.5 --loss psnr"
    shown = commands({"command": command, "init": None, "faces_seen": 9_600, "steps": 150})
    note = "# for as many steps on any machine: --steps 150 in place of --minutes 2.5"
    assert shown.split("```bash\n")[1].splitlines()[:2] == [note, command]


def test_every_picture_of_the_card_can_be_opened(bundle: Bundle) -> None:
    card = (bundle.folder / "CARD.md").read_text(encoding="utf-8")
    pictures = {path.name for path in bundle.folder.glob("*.png")}
    assert pictures == {
        "sheet-edge-S-16x8.png",
        "sheet-edge-S-32x4.png",
        "training-edge-S-16x8.png",  # the other run left no log
        "native_size_128.png",
    }
    for name in pictures:
        assert f"]({name})" in card
        assert min(read_image(bundle.folder / name).shape[:2]) > 300


def test_the_detector_finds_the_faces_of_the_parity_set(bundle: Bundle) -> None:
    parity = bundle.manifest.parity_set
    picture = read_image(bundle.path(parity.high["runtime-128"]))
    found = Detector.open(bundle.path(bundle.manifest.detector.files["fp32"]))(picture)
    assert len(found) > 48


def config_of(folder: Path, *shapes: tuple[int, int]) -> BundleConfig:
    paths = [saved(tiny_checkpoint(*shape), folder / f"run{index}") for index, shape in enumerate(shapes)]
    return BundleConfig(paths, folder / "out" / "tiny", "tiny", "test only")


QUIET = Console(quiet=True)


def test_without_a_pack_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr.export.write_bundle.to_onnx", exported_before)
    made = write_bundle(config_of(tmp_path, (16, 8)), QUIET)
    (model,) = made.manifest.models
    assert model.quality == []
    assert (model.native_from, model.native_to, model.native_measured) == (0, 16, False)
    assert [entry.data for entry in model.parity] == ["parity set"]
    card = (made.folder / "CARD.md").read_text(encoding="utf-8")
    assert "Quality was not measured." in card
    assert list(made.folder.glob("native_size*")) == []
    assert [path.name for path in made.folder.parent.iterdir()] == ["tiny"]  # no partial folder


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    config = config_of(tmp_path, (16, 8))
    config.output.mkdir(parents=True)
    (config.output / "mine").write_text("mine")
    with pytest.raises(OutputError, match=r"tiny: exists already; choose another --output or remove it"):
        write_bundle(config, QUIET)
    assert [path.name for path in config.output.iterdir()] == ["mine"]


def test_two_checkpoints_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two checkpoints of the same tier, input size and scale"):
        write_bundle(config_of(tmp_path, (16, 8), (16, 8)), QUIET)
    assert not (tmp_path / "out").exists()


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def another_model(checkpoint: Checkpoint) -> bytes:
    return changed(exported_before(checkpoint), "tail.bias", 25)


@pytest.mark.parametrize(
    ("part", "broken", "expected", "message"),
    [
        ("to_onnx", another_model, ParityError, "grey levels on 64 faces, expected at most 1"),
        (
            "add_parity_set",
            full_disk,
            OutputError,
            "tiny: cannot be written: No space left on device; nothing was left",
        ),
        ("write_card", lambda *_, **__: 1 / 0, ZeroDivisionError, "division by zero"),
    ],
    ids=["parity", "disk full", "a mistake of ours"],
)
def test_what_fails_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    broken: Callable[..., object],
    expected: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr("fsr.export.write_bundle.to_onnx", exported_before)
    monkeypatch.setattr(f"fsr.export.write_bundle.{part}", broken)
    config = config_of(tmp_path, (16, 8))
    with pytest.raises(expected, match=message) as caught:
        write_bundle(config, QUIET)
    if isinstance(caught.value, FsrError):
        assert caught.value.exit_code == (3 if expected is ParityError else 2)
    assert list(config.output.parent.iterdir()) == []


def curve(*gains: float, size: int = 128) -> NativeSizeCurve:
    """Gains in dB at 10, 20, 40 and 80 px."""
    zeros = np.zeros(4)
    return NativeSizeCurve("sparnet", size, np.array([10.0, 20, 40, 80]), zeros, np.array(gains), zeros)


def contestants(**input_sizes: int) -> list[Contestant]:
    return [Contestant(name, "runtime", size, 128, lambda low, _: low) for name, size in input_sizes.items()]


def test_native_ranges_follow_the_curves() -> None:
    small = {"a": curve(3, 1, -1, -1), "b": curve(2, 2, 1.1, -0.9), "c": curve(0, 0, 0, 0)}
    ranges = native_ranges(contestants(a=16, b=32, c=64), {128: small})
    assert ranges["a"] == NativeRange(10.0, 15.0, True)
    assert ranges["b"] == NativeRange(15.0, 60.0, True)  # .1 dB is left at 60 px
    assert ranges["c"] == NativeRange(0.0, 0.0, True)


def test_of_two_ranges_of_a_model_the_longer_stays() -> None:
    """At 20 px, between them, it does not help: a range over both would serve it there."""
    ranges = native_ranges(contestants(a=16), {128: {"a": curve(1.1, -0.9, 1.1, 1.1)}})
    assert ranges["a"] == NativeRange(30.0, 80.0, True)


def test_unmeasured_models_serve_up_to_their_input_size() -> None:
    assert native_ranges(contestants(b=32, a=16), {}) == {
        "a": NativeRange(0, 16, False),
        "b": NativeRange(16, 32, False),
    }


def test_the_last_model_reaches_as_far_as_at_its_own_size() -> None:
    small = {"a": curve(3, 1, -1, -1), "b": curve(2, 2, 1.1, -0.9)}
    curves = {128: small, 256: {"b": curve(3, 3, 2, 2, size=256)}}
    ranges = native_ranges(contestants(a=16, b=32), curves)
    assert ranges["b"] == NativeRange(15.0, 80.0, True)
    assert ranges["a"] == NativeRange(10.0, 15.0, True)


def test_framings_are_not_mixed(tmp_path: Path) -> None:
    config = config_of(tmp_path, (16, 8), (32, 4))
    other = replace(tiny_checkpoint(32, 4), framing="celeba178")
    paths = [config.checkpoints[0], saved(other, tmp_path / "other")]
    with pytest.raises(UsageError, match="celeba178 and runtime framing"):
        write_bundle(replace(config, checkpoints=paths), QUIET)
