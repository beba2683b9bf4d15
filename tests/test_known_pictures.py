"""Nothing is judged on a picture that a bundle learned from or was calibrated on, whatever the picture is called."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tiny_models import SOURCE, TRAINING, exported_before, saved, tiny_checkpoint, write_portrait_pack

from fsr.calibration.moments import DIGITS, sha256_of
from fsr.calibration.parity_set import portrait_hashes, portraits
from fsr.export.known_pictures import (
    IN_CALIBRATION,
    IN_TRAINING,
    KnownPictures,
    known_pictures,
    training_pictures,
    write_training,
)
from fsr.export.known_pictures import (
    TRAINING as TRAINING_FILE,
)
from fsr.export.parity_faces import open_originals
from fsr.export.write_bundle import BundleConfig, write_bundle
from fsr.runtime.bundle import default_folder, open_bundle
from fsr.runtime.errors import BundleError, CheckpointError, InputError, PackError
from fsr.runtime.media.images import write_image
from fsr.runtime.pixels import RgbImage
from fsr.train.pack import SPLITS, Face, open_pack, open_packs, read_split, write_pack
from fsr.train.prepare import PrepareConfig, prepare
from fsr.train.validation import describe

ROOT = Path(__file__).resolve().parent.parent
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def trained_on(folder: Path, *hashes: str, unknown: bool = False) -> Path:
    data = [{"source": "ours", "pictures": [sha256[:DIGITS] for sha256 in hashes]}]
    write_training(folder, training_pictures([*data, *([{"source": "theirs"}] * unknown)]))
    return folder


def test_a_picture_is_known_by_its_hash_or_the_first_of_it() -> None:
    known = KnownPictures(calibration=frozenset([A[:DIGITS]]), training=frozenset([B[:DIGITS]]))
    assert [known.why(sha256) for sha256 in (A, B, C, None, "")] == [IN_CALIBRATION, IN_TRAINING, None, None, None]
    assert known.why(B[:DIGITS]) == IN_TRAINING
    assert KnownPictures().why(A) is None


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (KnownPictures(), "it names no calibration pictures; it names no training pictures"),
        (
            KnownPictures(frozenset(map(str, range(1200))), frozenset([A])),
            "apart from the bundle's 1,200 calibration pictures and 1 training pictures by SHA-256",
        ),
        (
            KnownPictures(None, frozenset([A]), ("theirs",)),
            "apart from the bundle's 1 training pictures by SHA-256; it names no calibration pictures; training "
            "pictures of theirs are not known",
        ),
    ],
)
def test_what_is_not_known_is_said(known: KnownPictures, said: str) -> None:
    assert known.apart == said


def test_a_pack_says_the_pictures_that_its_faces_are_from(
    tmp_path: Path, astronaut: RgbImage, grace_hopper: RgbImage
) -> None:
    pictures = tmp_path / "pictures"
    for split, picture in (("train", astronaut), ("test", grace_hopper)):
        (pictures / split).mkdir(parents=True)
        write_image(pictures / split / "face.png", picture)
    config = PrepareConfig(pictures, tmp_path / "pack.safetensors", "ours", "ours", copies=3, val_share=0, workers=1)
    prepare(config, Console(quiet=True))
    pack = open_pack(tmp_path / "pack.safetensors")
    expected = {split: sha256_of(pictures / split / "face.png")[:DIGITS] for split in ("train", "test")}
    assert [face.picture for face in pack.faces["train"]] == [expected["train"]] * 3
    assert [face.picture for face in pack.faces["test"]] == [expected["test"]]
    assert describe([pack])[0]["pictures"] == [expected["train"]]


def test_a_bundle_names_all_that_its_models_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {**TRAINING, "data": [{**TRAINING["data"][0], "sha256": "2" * 64, "pictures": ["3" * DIGITS]}]}
    elsewhere = {**TRAINING["data"][0], "source": "elsewhere", "sha256": "4" * 64}
    del elsewhere["pictures"]
    training = {**TRAINING, "data": [*TRAINING["data"], elsewhere], "init": before}
    checkpoint = replace(tiny_checkpoint(16, 8), training=training)
    monkeypatch.setattr("fsr.export.write_bundle.to_onnx", exported_before)
    config = BundleConfig([saved(checkpoint, tmp_path / "run")], tmp_path / "bundle", "tiny", "test only")
    bundle = write_bundle(config, Console(quiet=True))
    told = json.loads((bundle.folder / TRAINING_FILE).read_text())
    assert told == {
        "version": 1,
        "digits": DIGITS,
        "sources": {SOURCE: ["1" * DIGITS, "3" * DIGITS]},
        "unknown": ["elsewhere"],
    }
    assert known_pictures(bundle).unknown == ("elsewhere",)
    assert bundle.manifest.parity_set.pictures == portrait_hashes()


def test_the_parity_set_shows_nobody_that_a_model_learned_from(tmp_path: Path) -> None:
    seen = [portrait_hashes()[1][:DIGITS]]
    training = {**TRAINING, "data": [{**TRAINING["data"][0], "pictures": seen}]}
    checkpoint = replace(tiny_checkpoint(16, 8), training=training)
    config = BundleConfig([saved(checkpoint, tmp_path / "run")], tmp_path / "bundle", "tiny", "test only")
    with pytest.raises(CheckpointError, match="learned from a portrait that the parity set is made of"):
        write_bundle(config, Console(quiet=True))
    assert not (tmp_path / "bundle").exists()


def test_the_hashes_are_of_the_portraits_that_are_shown(astronaut: RgbImage, grace_hopper: RgbImage) -> None:
    for shown, expected in zip(portraits(), (astronaut, grace_hopper), strict=True):
        np.testing.assert_array_equal(shown, expected)
    assert len(set(portrait_hashes())) == 2


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy, which may be changed."""
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def test_training_pictures_of_a_folder_are_left_out(
    bundle: Path, tmp_path: Path, astronaut: RgbImage, grace_hopper: RgbImage
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    write_image(pictures / "collins.png", astronaut)
    write_image(pictures / "hopper.png", grace_hopper)
    trained_on(bundle, sha256_of(pictures / "hopper.png"), unknown=True)
    opened = open_bundle(bundle)
    found = open_originals(pictures, opened, opened.manifest.models, 10, lambda: None)
    assert found.left_out == {IN_TRAINING: 1}
    assert [list(names) for names, _ in found.crops.values()] == [["collins.png"]]
    assert "apart from the bundle's 1 training pictures by SHA-256" in found.apart
    assert "training pictures of theirs are not known" in found.apart
    trained_on(bundle, *map(sha256_of, pictures.iterdir()))
    with pytest.raises(InputError, match="no face to check on in 2 pictures: 2 in the training data"):
        open_originals(pictures, opened, opened.manifest.models, 10, lambda: None)


def test_training_pictures_of_a_pack_are_left_out(bundle: Path, tmp_path: Path) -> None:
    plain = write_portrait_pack(tmp_path / "plain.safetensors")
    crops = {split: read_split(plain, split) for split in SPLITS}
    faces = {
        split: [replace(face, picture=f"{split}{index}".ljust(DIGITS, "0")) for index, face in enumerate(some)]
        for split, some in plain.faces.items()
    }
    path = tmp_path / "named.safetensors"
    pack = write_pack(path, crops, faces, framing=plain.framing, source=plain.source, licence=plain.licence)
    trained_on(bundle, faces["test"][0].picture, faces["test"][3].picture)
    opened = open_bundle(bundle)

    def originals(path: Path) -> tuple[list[str], str]:
        found = open_originals(path, opened, opened.manifest.models, 10, lambda: None)
        ((names, _),) = found.crops.values()
        return list(names), found.apart

    names, apart = originals(pack.path)
    assert names == [f"test/{index}.png" for index in (1, 2, 4, 5)] and "apart from the bundle's 2" in apart
    names, apart = originals(plain.path)
    assert len(names) == 6 and "the pack keeps no hashes of its pictures to compare" in apart
    trained_on(bundle, *(face.picture for face in faces["test"]))
    with pytest.raises(InputError, match="no test face to check on: 6 in the training data"):
        originals(pack.path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "expected an object"),
        ('{"version": 2, "digits": 16, "sources": {}, "unknown": []}', "got version 2 with 16 digits, expected 1"),
        ('{"version": 1, "digits": 8, "sources": {}, "unknown": []}', "got version 1 with 8 digits"),
        ('{"version": 1, "digits": 16, "sources": {"a": [1]}, "unknown": []}', "sources"),
    ],
)
def test_a_damaged_description_is_a_sentence(bundle: Path, text: str, said: str) -> None:
    (bundle / TRAINING_FILE).write_text(text)
    with pytest.raises(BundleError, match=said):
        known_pictures(open_bundle(bundle))


def test_a_bundle_without_one_says_so(bundle: Path) -> None:
    (bundle / TRAINING_FILE).unlink()
    assert known_pictures(open_bundle(bundle)) == KnownPictures()


def test_one_picture_under_two_names_is_not_trained_on_and_held_out(tmp_path: Path) -> None:
    pixels = read_split(write_portrait_pack(tmp_path / "plain.safetensors"), "train")[:1]

    def pack(name: str, split: str, picture: str) -> Path:
        faces = {one: [Face(f"{name}.png", name, picture)] if one == split else [] for one in SPLITS}
        crops = {one: pixels[: len(faces[one])] for one in SPLITS}
        path = tmp_path / f"{name}.safetensors"
        return write_pack(path, crops, faces, framing="runtime", source="photos", licence="ours").path

    trained = pack("anna", "train", "1" * DIGITS)
    with pytest.raises(PackError, match=r"1 pictures are trained on and held out, such as 'other\.png'"):
        open_packs([trained, pack("other", "test", "1" * DIGITS)], output_size=128)
    assert len(open_packs([trained, pack("bea", "test", "2" * DIGITS)], output_size=128)) == 2


def test_the_released_bundles_name_their_training_pictures() -> None:
    for folder in (default_folder(), ROOT / "models" / "celeba178"):
        known = known_pictures(open_bundle(folder))
        assert known.training and known.calibration and not known.unknown
        seen = known.training | known.calibration
        assert not any(sha256[:DIGITS] in seen for sha256 in open_bundle(folder).manifest.parity_set.pictures)
