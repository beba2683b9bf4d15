"""Pictures become one pack; every picture that does not is named with its reason; nothing half-made is left."""

from __future__ import annotations

import errno
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image
from rich.console import Console
from safetensors import SafetensorError
from tiny_data import crops, portrait, save, save_portraits
from tiny_landmarker import synthetic_mesh, write_landmarker

from fsr.calibration.crops import outside_share
from fsr.runtime.errors import FsrError, InputError, OutputError, UsageError
from fsr.runtime.geometry import resize, similarity_transform, template_landmarks, transform_points
from fsr.runtime.media.images import read_image
from fsr.runtime.pixels import RgbImage
from fsr.train.face_prior import disagreement
from fsr.train.landmarker import FIVE_IN_INPUT
from fsr.train.mesh import MESH_POINTS
from fsr.train.pack import SPLITS, open_pack, read_split
from fsr.train.part_map import part_map
from fsr.train.prepare import PrepareConfig, Report, prepare
from fsr.train.priors import Priors, read_priors

SIZE = 64
HELD_OUT = ["val/0.png", "test/0.png"]


def config(tmp_path: Path, **options: object) -> PrepareConfig:
    base = PrepareConfig(tmp_path / "in", tmp_path / "out.safetensors", "portraits", "public domain", size=SIZE)
    return replace(base, **{"workers": 1, **options})  # pyright: ignore[reportArgumentType]


def run(settings: PrepareConfig) -> Report:
    return prepare(settings, Console(file=io.StringIO(), width=200))


def names(report: Report, split: str) -> list[str]:
    return [face.name for face in report.pack.faces[split]]


def written(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir() if path.name != "in")


def test_a_large_photograph_gives_the_face_that_a_small_one_gives(tmp_path: Path, astronaut: RgbImage) -> None:
    save(tmp_path / "in" / "train" / "a.png", astronaut)
    save(tmp_path / "in" / "val" / "a.png", resize(astronaut, (2048, 2048)))
    report = run(config(tmp_path))
    assert report.skipped == {"train/a.png": "duplicate of val/a.png"}, "the same crop, of the held-out one"


def test_celeba_crops_are_the_published_ones(tmp_path: Path) -> None:
    files = {"train": "000001_1.png", "val": "162771_2.png", "test": "182638_3.png"}
    save_portraits(tmp_path / "in", list(files.values()))
    report = run(config(tmp_path, layout="celeba", framing="celeba178", size=128))
    for index, (split, name) in enumerate(files.items()):
        kept_rows = Image.fromarray(portrait(index)).crop((0, 20, 178, 198))
        expected = np.asarray(kept_rows.resize((128, 128), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(read_split(report.pack, split), expected[None])
        assert [(face.name, face.identity) for face in report.pack.faces[split]] == [(name, str(index + 1))]


def test_a_picture_of_another_size_is_not_celebas(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["000001_1.png"])
    save(tmp_path / "in" / "000002_1.png", portrait(1)[:-1])
    report = run(config(tmp_path, layout="celeba", framing="celeba178"))
    assert report.skipped == {"000002_1.png": "got 178x217 pixels, expected 178x218 of img_align_celeba"}


def test_a_face_is_aligned_however_its_picture_is_placed(tmp_path: Path) -> None:
    """Moved by whole cells of the detector's coarsest grid: between them its points jitter by 4 px here."""
    moved = np.pad(portrait(0), ((32, 10), (64, 20), (0, 0)), mode="edge")
    save(tmp_path / "in" / "train" / "moved.png", moved)
    report = run(config(tmp_path, val_share=0))
    (other,) = read_split(report.pack, "train")
    save_portraits(tmp_path / "in2", ["train/a.png"])
    report = run(config(tmp_path, val_share=0, input=tmp_path / "in2", output=tmp_path / "out2.safetensors"))
    (one,) = read_split(report.pack, "train")
    assert np.abs(one.astype(int) - other).mean() < 8
    assert np.abs(one.astype(int) - one[:, ::-1]).mean() > 10  # of another picture it would be as far as this


def test_the_report_names_every_picture_left_out(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = save_portraits(tmp_path / "in", ["train/good.png", *HELD_OUT]) / "train"
    whole = save(tmp_path / "whole.jpg", portrait(3)).read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.jpg").touch()
    (folder / "text.jpg").write_text("a text")
    save(folder / "faceless.png", rng.integers(0, 256, (128, 128, 3), np.uint8))
    save(folder / "small.png", np.asarray(Image.fromarray(portrait(4)).resize((60, 74))))
    save(folder / "border.png", portrait(6)[:, 65:])
    save(folder / "copy.jpg", portrait(0), quality=90)
    report = run(config(tmp_path, val_share=0))
    assert names(report, "train") == ["train/copy.jpg"]  # the first by name
    reasons = {
        "train/truncated.jpg": "cannot be read as a picture: image file is truncated",
        "train/zero.jpg": "cannot be read as a picture: it is empty",
        "train/text.jpg": "cannot be read as a picture: ",
        "train/faceless.png": "no face found",
        "train/small.png": "face too small",
        "train/border.png": "face at the border",
        "train/good.png": "duplicate of train/copy.jpg",
    }
    assert report.skipped.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert report.skipped[name].startswith(reason), (name, report.skipped[name])
        assert str(tmp_path) not in report.skipped[name]
    saved = json.loads((tmp_path / "out.report.json").read_text())
    assert saved == {"faces": {"train": 1, "val": 1, "test": 1}, "skipped": report.skipped}


def test_of_two_copies_the_one_in_training_goes(tmp_path: Path) -> None:
    for name in ("train/a.png", "val/b.png", "test/c.png"):
        save(tmp_path / "in" / name, portrait(0))
    report = run(config(tmp_path))
    assert [names(report, split) for split in SPLITS] == [[], [], ["test/c.png"]]
    assert report.skipped == dict.fromkeys(("train/a.png", "val/b.png"), "duplicate of test/c.png")


def test_a_person_held_out_is_not_trained_on(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["train/anna/1.png", "test/anna/2.png", "train/ben/3.png", "val/cleo/4.png"])
    report = run(config(tmp_path, identity="folder"))
    assert names(report, "train") == ["train/ben/3.png"]
    assert report.skipped == {"train/anna/1.png": "its identity is held out in another split"}


def test_an_existing_output_is_left_alone(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["a.png"])
    (tmp_path / "out.safetensors").write_text("mine")
    with pytest.raises(OutputError, match="exists already; choose another --output"):
        run(config(tmp_path))
    assert (tmp_path / "out.safetensors").read_text() == "mine"


def test_missing_and_empty_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got nothing there, expected a folder"):
        run(config(tmp_path))
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="no picture in it"):
        run(config(tmp_path))
    assert written(tmp_path) == []


def test_no_face_anywhere_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "in" / f"{index}.png", np.full((64, 64, 3), 40 * index, np.uint8))
    (tmp_path / "in" / "text.jpg").write_text("a text")
    with pytest.raises(InputError, match="no face could be prepared from 4 pictures: 3 no face found, 1 cannot") as got:
        run(config(tmp_path))
    assert "\n" not in str(got.value)
    (report,) = written(tmp_path)  # the reasons are wanted now more than ever
    assert set(json.loads((tmp_path / report).read_text())["skipped"]) == {"0.png", "1.png", "2.png", "text.jpg"}


def test_copies_are_made_of_training_faces_alone(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["train/a.png", "train/b.png", *HELD_OUT])
    one = run(config(tmp_path)).pack
    three = run(config(tmp_path, copies=3, output=tmp_path / "three.safetensors")).pack
    assert [three.count(split) for split in SPLITS] == [6, 1, 1]
    assert [face.name for face in three.faces["train"]] == ["train/a.png"] * 3 + ["train/b.png"] * 3
    exact, crops_of = read_split(one, "train"), read_split(three, "train").reshape(2, 3, SIZE, SIZE, 3)
    np.testing.assert_array_equal(crops_of[:, 0], exact)
    for first, second, third in crops_of.astype(int):
        for a, b in ((first, second), (first, third), (second, third)):
            assert 2 < np.abs(a - b).mean() < 60  # turned and shifted a little, the same face still
    for split in ("val", "test"):
        np.testing.assert_array_equal(read_split(three, split), read_split(one, split))


def test_another_seed_gives_other_copies(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["train/a.png", *HELD_OUT])
    packs = [run(config(tmp_path, copies=2, seed=s, output=tmp_path / f"{s}.safetensors")).pack for s in (0, 1)]
    one, other = (read_split(pack, "train") for pack in packs)
    np.testing.assert_array_equal(one[0], other[0])
    assert (one[1] != other[1]).any()


def test_the_pack_depends_on_its_input_alone(tmp_path: Path) -> None:
    """Run again, and with two processes."""
    save_portraits(tmp_path / "in", ["train/a.png", "train/b.jpg", *HELD_OUT])
    outputs = []
    for name, workers in (("a", 1), ("b", 1), ("c", 2)):
        run(config(tmp_path, copies=2, workers=workers, output=tmp_path / f"{name}.safetensors"))
        outputs.append((tmp_path / f"{name}.safetensors").read_bytes())
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device")],
    ids=["python", "rust"],
)
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fill(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise error

    save_portraits(tmp_path / "in", ["a.png"])
    monkeypatch.setattr(safetensors.numpy, "save_file", fill)
    with pytest.raises(OutputError, match=r"cannot be written: .*No space left on device"):
        run(config(tmp_path))
    assert written(tmp_path) == []


def test_a_prepared_pack_opens_as_it_was_reported(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["train/a.png", *HELD_OUT])
    report = run(config(tmp_path))
    assert open_pack(tmp_path / "out.safetensors") == report.pack
    assert (report.pack.source, report.pack.licence, report.pack.size) == ("portraits", "public domain", SIZE)


def test_the_share_outside_is_of_the_crops_area() -> None:
    shift = np.array([[1.0, 0, -8], [0, 1, 0]])  # the crop starts 8 pixels right of the picture's edge
    picture = np.zeros((32, 32, 3), np.uint8)
    assert outside_share(shift, 24, picture) == 0
    assert outside_share(shift, 32, picture) == 0.25
    assert outside_share(np.array([[1.0, 0, -100], [0, 1, 0]]), 32, picture) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"framing": "square"}, "got framing 'square'"),
        ({"size": 100}, "--size: got 100, expected a multiple of 16"),
        ({"size": 0}, "--size: got 0"),
        ({"copies": 0}, "--copies: got 0"),
        ({"workers": -1}, "--workers: got -1"),
        ({"val_share": -0.1}, "--val-share, --test-share: got -0.1"),
        ({"test_share": 0.95}, "with a sum below 1"),
        ({"val_share": float("nan")}, "got nan"),
        ({"priors": True}, "--priors: got no --landmarker"),
        ({"landmarker": Path("a.task")}, "--landmarker: got no --priors"),
    ],
)
def test_a_wrong_setting_names_its_flag(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(FsrError, match=message) as got:
        config(tmp_path, **options)
    assert isinstance(got.value, UsageError) or "framing" in options


def test_the_crop_of_a_face_is_upright_and_in_colour(tmp_path: Path) -> None:
    """Close to the crop made straight from the portrait, far from its mirror image and from swapped colours."""
    save_portraits(tmp_path / "in", ["train/a.png", *HELD_OUT])
    (crop,) = read_split(run(config(tmp_path, framing="celeba178")).pack, "train")
    shaken = crops("celeba178", SIZE)[0]

    def centre(face: RgbImage) -> np.ndarray:
        return face[16:48, 16:48].astype(int).mean((0, 1))

    assert np.abs(centre(crop) - centre(shaken)).max() < 12
    assert np.abs(centre(crop)[::-1] - centre(shaken)).max() > 24


def test_celebas_held_out_splits_stay_whole_and_copies_leave_training(tmp_path: Path) -> None:
    names = ["000001_1.png", "000002_2.png", "162771_3.png", "182638_4.png"]
    save_portraits(tmp_path / "in", names)
    for copy, original in (("000003_5.png", names[3]), ("182639_6.png", names[3]), ("000004_7.png", names[0])):
        shutil.copy(tmp_path / "in" / original, tmp_path / "in" / copy)
    report = run(config(tmp_path, layout="celeba", framing="celeba178"))
    assert {face.name for face in report.pack.faces["test"]} == {"182638_4.png", "182639_6.png"}
    assert {face.name for face in report.pack.faces["train"]} == {"000001_1.png", "000002_2.png"}
    assert report.skipped.keys() == {"000003_5.png", "000004_7.png"}


# Priors


def with_priors(tmp_path: Path, **options: object) -> PrepareConfig:
    landmarker = write_landmarker(tmp_path / "tiny.task")
    return config(tmp_path, priors=True, landmarker=landmarker, **options)


def mesh_errors(found: Priors) -> list[float]:
    """How far each mesh is from the detector's points, as they were packed."""
    landmarks = found.landmarks.astype(float)
    return [disagreement(face[:MESH_POINTS], face[MESH_POINTS:]) for face in landmarks]


@pytest.mark.parametrize(
    ("layout", "framing"), [("folder", "runtime"), ("folder", "celeba178"), ("celeba", "celeba178")]
)
def test_priors_lie_on_the_faces_in_every_copy(tmp_path: Path, layout: str, framing: str) -> None:
    files = {"folder": ["train/a.png", *HELD_OUT], "celeba": ["000001_1.png", "162771_2.png", "182638_3.png"]}
    save_portraits(tmp_path / "in", files[layout])
    report = run(with_priors(tmp_path, layout=layout, framing=framing, copies=3))
    found = read_priors(report.pack, "train")
    assert len(found) == 3 and found.reliable.all() and len(read_priors(report.pack, "val")) == 1
    mean_face = transform_points(
        similarity_transform(FIVE_IN_INPUT, template_landmarks(framing, SIZE)), synthetic_mesh()
    )
    for face in range(3):
        landmarks = found.landmarks[face].astype(float)
        assert np.abs(landmarks[:MESH_POINTS] - mean_face).max() < 0.15 * SIZE
        share = (found.part_map[face] != part_map(landmarks, SIZE)).mean()
        assert share < 0.003, "the part map is of the landmarks beside it, but for their rounding"
    assert np.abs(found.landmarks[0] - found.landmarks[1]).max() > 0.5
    # Copies are turned, scaled and shifted, which changes no share of a face's own size.
    np.testing.assert_allclose(mesh_errors(found), mesh_errors(found)[0], atol=5e-3)
    np.testing.assert_array_equal(found.blendshapes, found.blendshapes[[0, 0, 0]])


def test_priors_change_no_pixel(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["train/a.png", *HELD_OUT])
    plain = run(config(tmp_path, copies=2, output=tmp_path / "plain.safetensors")).pack
    assert run(with_priors(tmp_path, copies=2)).pack.sha256 == plain.sha256
    assert plain.priors is None and not (tmp_path / "plain.priors.png").exists()


def test_priors_depend_on_the_input_alone(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["train/a.png", "train/b.png", *HELD_OUT])
    outputs = []
    for name, workers in (("a", 1), ("b", 2)):
        run(with_priors(tmp_path, copies=2, workers=workers, output=tmp_path / f"{name}.safetensors"))
        outputs.append((tmp_path / f"{name}.safetensors").read_bytes())
    assert outputs[0] == outputs[1]


def test_a_face_the_detector_misses_has_no_prior(tmp_path: Path) -> None:
    """CelebA's published crop needs no detector, so the face stays in the pack."""
    save_portraits(tmp_path / "in", ["000001_1.png"])
    save(tmp_path / "in" / "000002_2.png", np.full((218, 178, 3), 90, np.uint8))
    report = run(with_priors(tmp_path, layout="celeba", framing="celeba178"))
    found = read_priors(report.pack, "train")
    assert found.reliable.tolist() == [True, False]
    assert not found.landmarks[1].any() and not found.part_map[1].any() and not found.blendshapes[1].any()
    sheet = read_image(tmp_path / "out.priors.png")
    assert sheet.shape == (2 * (2 * SIZE + 4) + 4, 4 * (2 * SIZE + 4) + 4, 3)
    red = (sheet == (255, 0, 0)).all(2)
    assert not red[: 2 * SIZE].any() and red[2 * SIZE + 8 :].any(), "the face without a prior alone is framed"


def test_the_report_and_the_console_say_how_many_priors_are_relied_on(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["000001_1.png"])
    save(tmp_path / "in" / "000002_2.png", np.full((218, 178, 3), 90, np.uint8))
    shown = Console(file=io.StringIO(), width=200)
    prepare(with_priors(tmp_path, layout="celeba", framing="celeba178"), shown)
    assert json.loads((tmp_path / "out.report.json").read_text())["reliable priors"] == {
        "train": 1,
        "val": 0,
        "test": 0,
    }
    text = shown.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "prior not reliable" in text
    assert "not the landmarker this program was measured with" in text


def test_a_missing_landmarker_stops_before_any_work(tmp_path: Path) -> None:
    save_portraits(tmp_path / "in", ["a.png"])
    (tmp_path / "text.task").write_text("a text")
    for name, message in (("none.task", "No such file"), ("text.task", "not MediaPipe's face_landmarker.task")):
        with pytest.raises(InputError, match=message):
            run(config(tmp_path, priors=True, landmarker=tmp_path / name))
    assert written(tmp_path) == ["text.task"]
