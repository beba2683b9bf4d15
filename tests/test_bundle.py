"""A bundle opens when every byte is as its manifest says; everything else is one clear sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fsr.runtime.bundle import (
    MANIFEST,
    VERSION,
    DataEntry,
    DetectorEntry,
    Manifest,
    ModelEntry,
    ParityEntry,
    ParityOutput,
    ParitySet,
    QualityEntry,
    default_detector,
    default_folder,
    file_entry,
    open_bundle,
    read_manifest,
    write_manifest,
)
from fsr.runtime.errors import BundleError
from fsr.runtime.geometry import framing

Json = dict[str, Any]


def tiny_manifest(folder: Path) -> Manifest:
    """Every field set, over files of a few bytes: the hashes are all that is checked."""
    files = {
        "detector.onnx": (default_folder() / "detector.onnx").read_bytes(),
        "models/face.fp32.onnx": b"float32",
        "models/face.int8.onnx": b"int8",
        "parity/high.png": b"high",
        "parity/low.png": b"low",
        "parity/restored.png": b"restored",
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    model = ModelEntry(
        name="face",
        task="face-super-resolution",
        network="edge",
        tier="S",
        scale=8,
        input_size=16,
        output_size=128,
        framing="runtime",
        template=framing("runtime").template.tolist(),
        colour_order="rgb",
        value_range="uint8",
        files={precision: file_entry(folder, f"models/face.{precision}.onnx") for precision in ("fp32", "int8")},
        data=[DataEntry("portraits", "public domain", 2, "0" * 64)],
        training="not at all",
        licence="Apache-2.0",
        multiply_accumulates=123,
        native_from=10.5,
        native_to=24.0,
        quality=[QualityEntry("portraits", "rgb", 2, 25.5, 0.75, 24.5, 0.7)],
        parity=[ParityEntry("fp32", "portraits", 2, 1, 0.001)],
        calibration_set="portraits-2",
    )
    low, restored = file_entry(folder, "parity/low.png"), file_entry(folder, "parity/restored.png")
    return Manifest(
        version=VERSION,
        name="tiny",
        licence="Apache-2.0",
        created_with="fsr-edge tests",
        detector=DetectorEntry("yunet", {"fp32": file_entry(folder, "detector.onnx")}, "MIT", "a test"),
        models=[model, replace(model, name="plain", quality=[], parity=[], calibration_set=None)],
        parity_set=ParitySet(
            faces=2,
            columns=8,
            origin="portraits",
            licence="public domain",
            high={"runtime-128": file_entry(folder, "parity/high.png")},
            outputs=[ParityOutput("face", low, restored)],
        ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole bundle."""
    write_manifest(tmp_path, tiny_manifest(tmp_path))
    return tmp_path


def change(folder: Path, edit: Callable[[Json], object]) -> None:
    """Edit the manifest of a bundle as JSON."""
    data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    edit(data)
    (folder / MANIFEST).write_text(json.dumps(data), encoding="utf-8")


def check_refused(folder: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        open_bundle(folder)
    assert "\n" not in str(caught.value)


# Whole bundles


def test_a_whole_bundle_opens(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert bundle.names == ["face", "plain"]
    assert bundle.path(bundle.model("face").files["int8"]).read_bytes() == b"int8"
    assert len(bundle.manifest.file_entries()) == 8
    assert {entry.file for entry in bundle.manifest.file_entries()} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST
    }


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = tiny_manifest(tmp_path)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8")) == asdict(manifest)


def test_fields_with_a_default_may_be_missing(folder: Path) -> None:
    def forget(data: Json) -> None:
        for key in ("quality", "parity", "calibration_set"):
            del data["models"][0][key]

    change(folder, forget)
    model = open_bundle(folder).model("face")
    assert (model.quality, model.parity, model.calibration_set) == ([], [], None)


def test_a_whole_number_serves_where_a_fraction_is_expected(folder: Path) -> None:
    change(folder, lambda data: data["models"][0].update(native_from=10))
    assert open_bundle(folder).model("face").native_from == 10


def test_an_unknown_model_names_the_known(folder: Path) -> None:
    with pytest.raises(BundleError, match="got model 'body', expected one of face, plain"):
        open_bundle(folder).model("body")


def test_the_default_bundle_opens() -> None:
    bundle = open_bundle(default_folder())
    assert default_detector() == bundle.path(bundle.manifest.detector.files["fp32"]).read_bytes()
    assert bundle.names == [f"edge-{tier}-{shape}" for tier in "LS" for shape in ("16x8", "32x4", "64x4")]
    for name in bundle.names:
        assert "fp32" in bundle.model(name).files


# Damaged manifests


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        check_refused(folder, f"{folder.name}: not a bundle: there is no manifest.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no version number, expected 1"),
        (b"null", "no version number"),
        (b"{}", "no version number"),
        (b'{"version": "1"}', "no version number"),
        (b'{"version": true}', "no version number"),
        (b'{"version": 1.0}', "no version number"),
        (b'{"version": 2, "new": 0}', "got manifest version 2, this program reads up to 1; upgrade fsr-edge"),
        (b'{"version": 1}', "field 'created_with' is missing"),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_refused(folder: Path, text: bytes, message: str) -> None:
    (folder / MANIFEST).write_bytes(text)
    check_refused(folder, message)


def fields_of(data: Json, path: str) -> Json:
    """The object at `path`, such as `models/0`."""
    for part in filter(None, path.split("/")):
        data = data[int(part)] if part.isdigit() else data[part]  # pyright: ignore[reportArgumentType]
    return data


@pytest.mark.parametrize(
    "path", ["", "detector", "detector/files/fp32", "models/1", "models/0/quality/0", "parity_set"]
)
def test_an_unknown_field_is_refused_by_name(folder: Path, path: str) -> None:
    change(folder, lambda data: fields_of(data, path).update(colour="blue"))
    check_refused(folder, "unknown field 'colour'; known: ")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("", "name"),
        ("", "models"),
        ("detector/files/fp32", "sha256"),
        ("models/1", "template"),
        ("models/0/files/fp32", "file"),
        ("parity_set/outputs/0", "low"),
    ],
)
def test_a_missing_field_is_refused_by_name(folder: Path, path: str, key: str) -> None:
    change(folder, lambda data: fields_of(data, path).pop(key))
    check_refused(folder, f"field '{key}' is missing")


@pytest.mark.parametrize(
    ("path", "key", "value", "message"),
    [
        ("", "name", 5, "name: got int, expected str"),
        ("", "models", "face", "models: got str, expected list"),
        ("", "models", {}, "models: got dict, expected list"),
        ("", "detector", [], r"detector: got list, expected an object with the fields of DetectorEntry"),
        ("", "parity_set", None, "parity_set: got NoneType, expected an object with the fields of ParitySet"),
        ("models/0", "scale", True, r"models\[0\]: scale: got bool, expected int"),
        ("models/0", "scale", 8.0, "scale: got float, expected int"),
        ("models/0", "native_to", "24", "native_to: got str, expected float"),
        ("models/0", "native_to", False, "native_to: got bool, expected float"),
        ("models/0", "calibration_set", 3, "calibration_set: got int, expected str"),
        ("models/0", "files", [], "files: got list, expected dict"),
        ("models/0", "template", [1, 2], r"template\[0\]: got int, expected list"),
        ("models/0", "template", [["1", 2]], r"template\[0\]\[0\]: got str, expected float"),
        ("models/1/files", "fp32", "a.onnx", r"files.fp32: got str, expected an object with the fields of FileEntry"),
        ("detector/files/fp32", "sha256", None, "sha256: got NoneType, expected str"),
    ],
)
def test_a_mistyped_field_is_refused_by_name(folder: Path, path: str, key: str, value: object, message: str) -> None:
    change(folder, lambda data: fields_of(data, path).update({key: value}))
    check_refused(folder, message)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"framing": "ffhq"}, "model 'face': got framing 'ffhq', expected one of runtime, celeba178"),
        ({"framing": "celeba178"}, "trained with another 'celeba178' template"),
        ({"template": framing("celeba178").template.tolist()}, "trained with another 'runtime' template"),
        ({"template": []}, "trained with another 'runtime' template"),
        ({"task": "face-detection"}, "got task 'face-detection', expected 'face-super-resolution'"),
        ({"colour_order": "bgr"}, "got colour_order 'bgr', expected 'rgb'"),
        ({"value_range": "float"}, "got value_range 'float', expected 'uint8'"),
        ({"output_size": 64}, "sizes 16 x 8 -> 64 do not agree"),
        ({"scale": 4}, "sizes 16 x 4 -> 128 do not agree"),
        ({"files": {}}, "has no file"),
    ],
)
def test_a_model_this_program_would_misuse_is_refused(folder: Path, changed: Json, message: str) -> None:
    change(folder, lambda data: data["models"][0].update(changed))
    check_refused(folder, message)


# Damaged files


@pytest.mark.parametrize(
    "path", ["detector.onnx", "models/face.fp32.onnx", "models/face.int8.onnx", "parity/high.png", "parity/low.png"]
)
def test_one_changed_bit_is_found_in_any_file(folder: Path, path: str) -> None:
    data = bytearray((folder / path).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / path).write_bytes(data)
    check_refused(
        folder, rf"{Path(path).name}: got sha256 [0-9a-f]{{12}}\.\.\., the manifest says .*get the bundle again"
    )


@pytest.mark.parametrize("path", ["detector.onnx", "models/face.int8.onnx", "parity/restored.png"])
def test_a_missing_file_is_found(folder: Path, path: str) -> None:
    (folder / path).unlink()
    check_refused(folder, f"the manifest names '{path}', which cannot be read: .*No such file")


@pytest.mark.parametrize("name", ["", ".", "models", "nul\0", "\ud800", "x" * 300])
def test_a_name_that_no_file_has_is_refused(folder: Path, name: str) -> None:
    change(folder, lambda data: data["detector"]["files"]["fp32"].update(file=name))
    check_refused(folder, "which cannot be read")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/hostname",
        "//host/share/x",
        "../outside.onnx",
        "a/../../outside.onnx",
        "models/..",
        "models/../detector.onnx",
        "..\\outside.onnx",
        "models\\face.fp32.onnx",
        "C:/outside.onnx",
        "C:outside.onnx",
        "detector.onnx:stream",
    ],
)
def test_a_path_that_could_leave_the_bundle_is_refused_even_with_its_hash(folder: Path, name: str) -> None:
    (folder.parent / "outside.onnx").write_bytes(b"outside")
    sha256 = file_entry(folder.parent, "outside.onnx").sha256
    change(folder, lambda data: data["detector"]["files"]["fp32"].update(file=name, sha256=sha256))
    check_refused(folder, "which lies outside the bundle; do not use this bundle")
