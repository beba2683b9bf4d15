"""A set is used only as it was made: whole, unchanged, large enough, of the right size and framing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fsr.calibration import calibration_set
from fsr.calibration.calibration_set import (
    ADVISED,
    MINIMUM,
    Description,
    SourceEntry,
    id_of,
    npy_bytes,
    open_set,
    read_description,
    write_set,
)
from fsr.calibration.coverage import coverage
from fsr.calibration.measure import FaceMeasures
from fsr.runtime.errors import CalibrationError, OutputError

SOURCES = [SourceEntry("a.png", "a" * 64, 150), SourceEntry("below/b.png", "b" * 64, 150)]


def draft(faces: int = 300) -> Description:
    measures = [FaceMeasures(20, 0, 0.5, 0, 100, 40, 900, float("nan"))] * faces
    return Description(
        1, "", "fsr-edge test", "tiny", "c" * 64, "runtime", 7, "noise", "public domain", faces, 2,
        {"files": 2}, coverage(measures, measures), SOURCES, {},
    )  # fmt: skip


def make(folder: Path, faces: int = 300) -> Path:
    rng = np.random.default_rng(0)
    batches = {size: rng.integers(0, 256, (faces, size, size, 3), np.uint8) for size in (4, 8)}
    frames = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    return write_set(folder, draft(faces), batches, frames, np.zeros((8, 8, 3), np.uint8)).folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "set")


def rewrite(folder: Path, change: Callable[[Description], Description]) -> None:
    """Change the description as somebody would who knows how ids are made."""
    changed = change(read_description(folder / "set.json"))
    (folder / "set.json").write_text(replace(changed, id=id_of(changed)).to_json())


def test_what_was_written_is_read(folder: Path) -> None:
    opened = open_set(folder)
    rng = np.random.default_rng(0)
    for size in (4, 8):
        np.testing.assert_array_equal(opened.faces(size), rng.integers(0, 256, (300, size, size, 3), np.uint8))
    np.testing.assert_array_equal(opened.frames(), rng.integers(0, 256, (2, 32, 32, 3), np.uint8))
    assert {source.sha256 for source in opened.description.sources} == {"a" * 64, "b" * 64}
    assert opened.description.input_sizes == [4, 8]
    assert opened.id == opened.description.id == id_of(opened.description)
    assert opened.description.seed == 7


def test_the_id_tells_sets_apart(tmp_path: Path, folder: Path) -> None:
    assert open_set(make(tmp_path / "same")).id == open_set(folder).id
    assert open_set(make(tmp_path / "other", 301)).id != open_set(folder).id


def test_the_description_alone_is_plain_json_and_holds_no_picture(folder: Path) -> None:
    text = open_set(folder).description.to_json()
    assert json.loads(text)["files"].keys() == {"faces-4.npy", "faces-8.npy", "frames.npy", "sheet.png"}
    (folder / "calibration.json").write_text(text)
    assert read_description(folder / "calibration.json") == open_set(folder).description


def test_fewer_than_advised_is_said(tmp_path: Path) -> None:
    few = open_set(make(tmp_path / "few", MINIMUM)).description.warning
    assert few is not None and f"got {MINIMUM} faces, {ADVISED} or more are advised" in few
    assert open_set(make(tmp_path / "enough", ADVISED)).description.warning is None


def test_too_few_faces_are_neither_written_nor_read(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CalibrationError, match=r"got 199 different faces, expected at least 200.*--input"):
        make(tmp_path / "few", MINIMUM - 1)
    assert not (tmp_path / "few").exists()
    monkeypatch.setattr(calibration_set, "MINIMUM", 301)
    with pytest.raises(CalibrationError, match="got 300 different faces, expected at least 301"):
        open_set(folder)


def test_nothing_is_overwritten(folder: Path) -> None:
    before = (folder / "set.json").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        make(folder)
    assert (folder / "set.json").read_bytes() == before


def test_a_size_and_a_framing_that_the_set_is_not_for(folder: Path) -> None:
    opened = open_set(folder)
    with pytest.raises(CalibrationError, match=r"got no faces of 16 px, expected one of 4, 8; .*--bundle"):
        opened.faces(16)
    opened.require_framing("runtime")
    with pytest.raises(CalibrationError, match="got faces in runtime framing, expected celeba178"):
        opened.require_framing("celeba178")


@pytest.mark.parametrize("file", ["faces-4.npy", "frames.npy", "sheet.png"])
@pytest.mark.parametrize("damage", ["truncated", "one bit", "gone"])
def test_damaged_data(folder: Path, file: str, damage: str) -> None:
    whole = (folder / file).read_bytes()
    if damage == "gone":
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(whole[:-1] if damage == "truncated" else whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CalibrationError, match="cannot be read" if damage == "gone" else f"{file}: got sha256 .*again"):
        open_set(folder)


def test_data_that_changes_after_opening_is_not_used(folder: Path) -> None:
    opened = open_set(folder)
    (folder / "faces-4.npy").write_bytes(npy_bytes(np.zeros((300, 4, 4, 3), np.uint8)))
    with pytest.raises(CalibrationError, match="got sha256"):
        opened.faces(4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "got no version number"),
        ('{"version": 2}', "got version 2, this program reads 1; upgrade"),
        ('{"version": true}', "got no version number"),
        ('{"version": 1}', "field 'bundle' is missing"),
        ('{"version": 1, "colour": 3}', "unknown field 'colour'"),
    ],
)
def test_a_foreign_or_damaged_description(folder: Path, text: str, message: str) -> None:
    (folder / "set.json").write_text(text)
    with pytest.raises(CalibrationError, match=message):
        open_set(folder)


def test_a_folder_that_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"not a calibration set: there is no set.json; .*fsr-calibrate collect"):
        open_set(tmp_path)


def test_a_description_changed_by_hand(folder: Path) -> None:
    text = (folder / "set.json").read_text()
    (folder / "set.json").write_text(text.replace("public domain", "all mine"))
    with pytest.raises(CalibrationError, match="changed after it was made"):
        open_set(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: replace(d, files={**d.files, "../secret": "0" * 64}), "lies outside the set"),
        (lambda d: replace(d, files={n: h for n, h in d.files.items() if n != "frames.npy"}), "does not name frames"),
        (lambda d: replace(d, files={n: h for n, h in d.files.items() if "faces" not in n}), "names no faces"),
    ],
    ids=["outside", "no frames", "no faces"],
)
def test_a_description_that_asks_for_the_wrong_files(
    folder: Path, change: Callable[[Description], Description], message: str
) -> None:
    rewrite(folder, change)
    with pytest.raises(CalibrationError, match=message):
        open_set(folder)


@pytest.mark.parametrize(
    "data",
    [
        npy_bytes(np.zeros((300, 4, 5, 3), np.uint8)),
        npy_bytes(np.zeros((299, 4, 4, 3), np.uint8)),
        npy_bytes(np.zeros((300, 4, 4, 3), np.float32)),  # pyright: ignore[reportArgumentType]
        b"no array",
        npy_bytes(np.zeros((300, 4, 4, 3), np.uint8))[:-5],
    ],
    ids=["shape", "count", "type", "foreign", "truncated"],
)
def test_arrays_that_are_not_what_is_said(folder: Path, data: bytes) -> None:
    (folder / "faces-4.npy").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    rewrite(folder, lambda d: replace(d, files={**d.files, "faces-4.npy": sha256}))
    with pytest.raises(CalibrationError, match=r"faces-4.npy: (got .*expected uint8 \(300, 4, 4, 3\)|is no array)"):
        open_set(folder).faces(4)
