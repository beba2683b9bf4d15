"""fsr-export check: what equals the trained network passes, what does not ends with code 3, and neither needs torch."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bad_int8 import with_quantised_features
from click.testing import CliRunner, Result
from onnx import helper, numpy_helper
from test_export_cli import assert_one_line
from tiny_models import FRAMING, tiny_onnx, write_portrait_pack

from fsr.calibration.calibration_set import VERSION, Description, SourceEntry, id_of
from fsr.calibration.moments import DIGITS
from fsr.calibration.parity_set import parity_faces
from fsr.export.check_detector import detector_frames
from fsr.export.cli import main
from fsr.export.known_pictures import KnownPictures
from fsr.export.parity_faces import choose_pictures
from fsr.runtime.bundle import Manifest, file_entry, open_bundle, read_manifest, write_manifest
from fsr.runtime.engines import FakeEngine, open_engine
from fsr.runtime.errors import InputError
from fsr.runtime.media.images import write_image
from fsr.runtime.pixels import RgbBatch, RgbImage

FITTED = "edge-S-16x8"
"""The tiny model that beats bicubic on the portraits; the other returns loud noise."""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


def as_json(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--engine", "onnxruntime", "--json", "-")
    assert result.exit_code in (0, 3), result.output
    return json.loads(result.stdout)


def with_file(bundle: Path, folder: Path, precision: str, model: bytes) -> Path:
    """A copy of the bundle whose fitted model has one more file."""
    shutil.copytree(bundle, folder)
    (folder / f"{FITTED}.{precision}.onnx").write_bytes(model)
    entry = file_entry(folder, f"{FITTED}.{precision}.onnx")

    def add(manifest: Manifest) -> Manifest:
        models = [
            replace(model, files={**model.files, precision: entry}) if model.name == FITTED else model
            for model in manifest.models
        ]
        return replace(manifest, models=models)

    write_manifest(folder, add(read_manifest(folder)))
    return folder


@pytest.fixture
def pictures(tmp_path: Path, astronaut: RgbImage, grace_hopper: RgbImage) -> Path:
    """Both portraits, one of them twice, one without a face, one too small, and one that is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_image(folder / "collins.png", astronaut)
    write_image(folder / "hopper.png", grace_hopper)
    shutil.copy(folder / "hopper.png", folder / "hopper-again.png")
    write_image(folder / "grey.png", np.full((200, 200, 3), 128, np.uint8))
    write_image(folder / "small.png", np.ascontiguousarray(astronaut[::4, ::4]))
    (folder / "torn.png").write_bytes(b"not a picture")
    return folder


def test_a_bundle_passes_and_every_figure_is_said(tiny_bundle: Path, tmp_path: Path) -> None:
    result = run(tiny_bundle, "--report", tmp_path / "r.html", "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["passed"] and told["failures"] == [] and told["unproved"] == []
    assert [(m["model"], m["data"], m["faces"]) for m in told["models"]] == [
        (FITTED, "parity set", 64),
        ("edge-S-32x4", "parity set", 64),
    ]
    first = told["models"][0]["variants"][0]
    assert (first["precision"], first["engine"], first["max_difference"] <= 1) == ("fp32", "onnxruntime", True)
    assert first["psnr"] == pytest.approx(told["models"][0]["reference_psnr"], abs=0.01)
    assert first["landmarks"]["found"] > 32 and first["landmarks"]["mean_pixels"] < 0.1
    assert FITTED in result.stdout and "fp32 onnxruntime" in result.stdout and "FAILED" not in result.stdout
    assert "data:image/png" in (tmp_path / "r.html").read_text()


def test_options_that_would_have_no_effect_are_refused(tiny_bundle: Path) -> None:
    for option, without in (("--tolerance", "--layers"), ("--count", "--faces")):
        result = run(tiny_bundle, option, "5")
        assert result.exit_code == 2 and f"{option}: got it without {without}" in result.output


def test_it_needs_neither_torch_nor_onnx(tiny_bundle: Path) -> None:
    """As on a device: the imports of training and export are not there."""
    program = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxsim', 'onnxscript', 'matplotlib', 'skimage', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "from fsr.export.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", program, "check", str(tiny_bundle), "--engine", "onnxruntime"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert FITTED in done.stdout


def test_the_float32_file_in_other_precisions_passes(tiny_bundle: Path, tmp_path: Path) -> None:
    told = as_json(with_file(tiny_bundle, tmp_path / "b", "int8", tiny_onnx(16, 8)), "--precision", "int8")
    (checked,) = (m for m in told["models"] if m["model"] == FITTED)
    (variant,) = checked["variants"]
    assert told["passed"] and variant["precision"] == "int8" and abs(variant["loss_db_upper"]) < 1e-3


def test_int8_with_wrong_ranges_ends_with_code_3(tiny_bundle: Path, tmp_path: Path) -> None:
    bad = with_quantised_features(tiny_onnx(16, 8), parity_faces(FRAMING, 16, 128).low, 0.02)
    bundle = with_file(tiny_bundle, tmp_path / "b", "int8", bad)
    result = run(bundle, "--engine", "onnxruntime", "--report", tmp_path / "r.html", "--json", tmp_path / "r.json")
    assert result.exit_code == 3
    assert f"error: {FITTED} int8 onnxruntime on parity set: loses" in result.stderr
    told = json.loads((tmp_path / "r.json").read_text())  # written for what failed, above all
    assert not told["passed"] and all(f"{FITTED} int8" in failure for failure in told["failures"])
    assert "Must not be deployed" in (tmp_path / "r.html").read_text()


def test_an_engine_that_computes_wrongly_ends_with_code_3(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mirrored(batch: RgbBatch) -> RgbBatch:
        return np.ascontiguousarray(batch[:, :, ::-1])

    def broken(name: str, model: bytes, precision: str = "fp32") -> FakeEngine:
        engine = open_engine(name, model, precision)
        return FakeEngine(engine.input_size, engine.output_size // engine.input_size, mirrored)

    monkeypatch.setattr("fsr.export.check.open_engine", broken)
    result = run(tiny_bundle, "--engine", "onnxruntime")
    assert result.exit_code == 3
    assert f"error: {FITTED} fp32 onnxruntime on parity set: " in result.stderr
    assert "grey levels off on parity" in result.stderr and "1 more failed" in result.stderr


def with_int8_detector(bundle: Path, folder: Path, shift: float) -> Path:
    """A copy whose detector has an int8 file: float32's, its points moved by `shift` cells."""
    shutil.copytree(bundle, folder)
    manifest = read_manifest(folder)
    model = onnx.load_model(str(folder / manifest.detector.files["fp32"].file))
    model.graph.initializer.append(numpy_helper.from_array(np.array(shift, np.float32), "shift"))
    for name in ("kps_8", "kps_16", "kps_32"):
        (last,) = (node for node in model.graph.node if name in node.output)
        last.output[list(last.output).index(name)] = f"{name}_before"
        model.graph.node.append(helper.make_node("Add", [f"{name}_before", "shift"], [name]))
    (folder / "detector.int8.onnx").write_bytes(model.SerializeToString())
    files = {**manifest.detector.files, "int8": file_entry(folder, "detector.int8.onnx")}
    write_manifest(folder, replace(manifest, detector=replace(manifest.detector, files=files)))
    return folder


@pytest.mark.parametrize(("shift", "code"), [(0.0, 0), (0.5, 3)])
def test_the_detector_is_held_to_its_boxes_and_points(
    shift: float, code: int, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = with_int8_detector(tiny_bundle, tmp_path / "b", shift)
    result = run(bundle, "--engine", "onnxruntime", "--precision", "int8")
    assert result.exit_code == code, result.output
    assert ("error: detector int8 onnxruntime: points move" in result.stderr) == bool(code)


def test_faces_of_ones_own(tiny_bundle: Path, pictures: Path) -> None:
    told = as_json(tiny_bundle, "--faces", pictures)
    assert told["left_out"] == {
        "a copy of another picture": 1,
        "not readable": 1,
        "without a face large enough": 2,
    }
    own = [m for m in told["models"] if m["data"] == str(pictures)]
    assert [m["faces"] for m in own] == [2, 2] and own[0]["reference"] == "ONNX Runtime fp32"
    assert own[0]["variants"] == []  # float32 by ONNX Runtime is the reference; it was held against PyTorch's
    apart = "apart from the bundle's 1 training pictures by SHA-256; it names no calibration pictures"
    assert f"{pictures}: {apart}" in told["notes"]
    assert told["notes"][0].endswith(apart), "the parity set's portraits"


def calibrated_on(bundle: Path, *pictures: Path) -> None:
    sources = [SourceEntry(picture.name, file_entry(picture.parent, picture.name).sha256, 1) for picture in pictures]
    draft = Description(
        VERSION, "", "test", "tiny", "0" * 64, FRAMING, 0, "two portraits", "public domain", 300, 0, {}, [], sources, {}
    )
    (bundle / "calibration.json").write_text(replace(draft, id=id_of(draft)).to_json())


def test_faces_of_the_calibration_set_are_left_out_and_counted(
    tiny_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    bundle = with_file(tiny_bundle, tmp_path / "b", "int8", tiny_onnx(16, 8))
    calibrated_on(bundle, pictures / "hopper.png")
    told = as_json(bundle, "--faces", pictures)
    assert told["left_out"]["in the calibration set"] == 2  # and its copy
    own = next(m for m in told["models"] if m["data"] == str(pictures))
    assert own["faces"] == 1 and [v["worst_faces"][0]["name"] for v in own["variants"]] == ["collins.png"]
    apart = "apart from the bundle's 1 calibration pictures and 1 training pictures by SHA-256"
    assert f"{pictures}: {apart}" in told["notes"]


def test_the_detector_is_not_judged_on_pictures_of_the_calibration_set(
    tiny_bundle: Path, pictures: Path, tmp_path: Path, astronaut: RgbImage
) -> None:
    folder = shutil.copytree(tiny_bundle, tmp_path / "b")
    for name in ("small.png", "grey.png"):
        (pictures / name).unlink()
    calibrated_on(folder, pictures / "hopper.png")
    (frame,) = detector_frames(open_bundle(folder), pictures)[str(pictures)]  # nor on the copy, nor on what is torn
    np.testing.assert_array_equal(frame, astronaut)
    calibrated_on(folder, *pictures.iterdir())
    with pytest.raises(InputError, match="no picture to check on: 4 in the calibration set"):
        detector_frames(open_bundle(folder), pictures)


@pytest.mark.parametrize(
    ("count", "calibrated", "expected"), [(3, "", "049"), (3, "04", "189"), (3, "049", "158"), (9, "049", "1235678")]
)
def test_as_many_pictures_as_are_wanted_are_chosen_besides_calibration(
    count: int, calibrated: str, expected: str, tmp_path: Path
) -> None:
    pictures = [tmp_path / str(number) for number in range(10)]
    for picture in pictures:
        picture.write_text(picture.name)
    seen = frozenset(hashlib.sha256(name.encode()).hexdigest()[:DIGITS] for name in calibrated)
    chosen = choose_pictures(pictures, count, KnownPictures(calibration=seen))
    assert "".join(picture.name for picture in chosen.hashes) == expected
    assert sum(chosen.known.values()) == len(calibrated)


def test_a_folder_that_was_all_calibrated_on_is_refused(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    bundle = with_file(tiny_bundle, tmp_path / "b", "int8", tiny_onnx(16, 8))
    calibrated_on(bundle, *pictures.iterdir())
    result = run(bundle, "--faces", pictures)
    assert result.exit_code == 2 and "no face to check on in 6 pictures: 6 in the calibration set" in result.stderr


def test_a_pack(tiny_bundle: Path, tmp_path: Path) -> None:
    pack = write_portrait_pack(tmp_path / "portraits.safetensors")
    bundle = with_file(tiny_bundle, tmp_path / "b", "int8", tiny_onnx(16, 8))
    told = as_json(bundle, "--faces", pack.path, "--model", FITTED, "--precision", "int8")
    (own,) = (m for m in told["models"] if m["data"] == "two portraits test")
    assert own["faces"] == 6 and [v["precision"] for v in own["variants"]] == ["int8"] and told["passed"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "edge-XL"], "got model 'edge-XL', expected one of edge-S-16x8, edge-S-32x4"),
        (["--precision", "int8"], "--precision: got int8, expected one that"),
        (["--faces", ".", "--count", 1], "--count: got 1, expected at least 2"),
        (["--faces", "nowhere"], "nowhere: got nothing there, expected a folder"),
        (["--faces", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["--report", "."], ".: got a folder, expected the name of a file"),
    ],
)
def test_what_cannot_be_checked(arguments: list[object], sentence: str, tiny_bundle: Path) -> None:
    result = run(tiny_bundle, *arguments)
    assert result.exit_code == 2 and sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not result.stdout


@pytest.mark.parametrize("option", ["--report", "--json"])
@pytest.mark.parametrize("layers", [(), ("--layers",)])
def test_a_file_that_exists_is_refused_before_any_work(option: str, layers: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    result = run(tmp_path / "no_bundle", *layers, option, tmp_path / "mine")
    assert_one_line(result, f"mine: exists already; choose another {option} or remove it")
    assert (tmp_path / "mine").read_text() == "mine"


def test_the_report_and_the_json_are_two_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    result = run("no-such-bundle", "--report", tmp_path / "r", "--json", tmp_path / "folder" / ".." / "r")
    assert_one_line(result, "--json: got", "where --report writes; give it another file")
    assert not (tmp_path / "r").exists()


def test_a_pack_of_another_size(tiny_bundle: Path, tmp_path: Path) -> None:
    pack = write_portrait_pack(tmp_path / "small.safetensors", size=64)
    result = run(tiny_bundle, "--faces", pack.path)
    assert result.exit_code == 2 and "runtime framing, 64 px, expected some in runtime framing, 128 px" in result.stderr


def test_a_damaged_bundle_is_not_run(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b")
    (bundle / f"{FITTED}.fp32.onnx").write_bytes(b"other")
    result = run(bundle)
    assert result.exit_code == 2 and "the manifest says" in result.stderr


def test_a_precision_that_no_engine_opens_is_not_passed(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = with_file(tiny_bundle, tmp_path / "b", "int8", b"no model")
    result = run(bundle, "--engine", "onnxruntime", "--json", tmp_path / "r.json")
    assert result.exit_code == 2 and f"no engine here runs {FITTED} int8" in result.stderr
    told = json.loads((tmp_path / "r.json").read_text())
    assert not told["passed"] and told["unproved"] == [f"{FITTED} int8"] and len(told["not_run"]) == 1
