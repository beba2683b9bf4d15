"""fsr-run over folders, good and bad."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fsr.runtime.cli import main
from fsr.runtime.geometry import resize
from fsr.runtime.media.images import read_image, write_image
from fsr.runtime.pixels import RgbImage


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, its first model in use at every native size below 60 px, whatever it is worth there."""
    folder = tmp_path_factory.mktemp("run") / "bundle"
    shutil.copytree(tiny_bundle, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["models"][0].update(native_from=0, native_to=60)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def scene(astronaut: RgbImage) -> RgbImage:
    """(128, 128, 3): one face whose crop is 29 px wide."""
    return resize(astronaut, (128, 128))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def assert_one_sentence(result: Result, *parts: str, exit_code: int = 2) -> None:
    assert result.exit_code == exit_code, result.output
    (line,) = result.output.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


def test_writes_each_face_and_its_comparison(bundle: Path, scene: RgbImage, tmp_path: Path) -> None:
    pictures, out = tmp_path / "in", tmp_path / "out"
    write_image(pictures / "a.png", scene)
    write_image(pictures / "sub" / "b.png", scene[:, ::-1])
    write_image(pictures / "sub" / "wall.png", np.full((90, 90, 3), 127, np.uint8))
    result = run("-i", pictures, "-o", out, "--bundle", bundle)
    assert result.exit_code == 0, result.output
    assert files_below(out) == [
        "a.png.0.compare.png",
        "a.png.0.png",
        "sub/b.png.0.compare.png",
        "sub/b.png.0.png",
    ]
    restored, compare = read_image(out / "a.png.0.png"), read_image(out / "a.png.0.compare.png")
    assert (restored.shape, compare.shape) == ((128, 128, 3), (128, 256, 3))
    np.testing.assert_array_equal(compare[:, 128:], restored)
    assert (compare[:, :128] != restored).any()
    assert "a.png: face 0, 29 px crop: restored by edge-S-16x8" in result.output
    assert "wall.png: no face found" in result.output
    assert "2 faces of 3 pictures restored" in result.output
    assert result.stdout.splitlines()[-1] == str(out)


def test_a_face_too_large_is_left_and_said(bundle: Path, astronaut: RgbImage, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png", astronaut)
    result = run("-i", tmp_path / "in", "-o", tmp_path / "out", "--bundle", bundle)
    assert result.exit_code == 0
    assert "px crop: no model helps at this size" in result.output
    assert "0 faces of 1 pictures restored" in result.output
    assert not (tmp_path / "out").exists()


def test_an_unreadable_picture_is_named_and_the_others_are_done(bundle: Path, scene: RgbImage, tmp_path: Path) -> None:
    pictures, out = tmp_path / "in", tmp_path / "out"
    write_image(pictures / "a.png", scene)
    write_image(pictures / "z.png", scene)
    (pictures / "m.jpg").write_bytes(b"no picture")
    whole = (pictures / "a.png").read_bytes()
    (pictures / "half.png").write_bytes(whole[: len(whole) // 2])
    result = run("-i", pictures, "-o", out, "--bundle", bundle)
    assert result.exit_code == 1
    assert f"{pictures / 'm.jpg'}: cannot be read as a picture" in result.output
    assert f"{pictures / 'half.png'}: cannot be read as a picture" in result.output
    assert {"a.png.0.png", "z.png.0.png"} <= set(files_below(out))
    assert "2 faces of 2 pictures restored" in result.output


def test_names_that_differ_in_their_suffix_alone_do_not_collide(bundle: Path, scene: RgbImage, tmp_path: Path) -> None:
    pictures, out = tmp_path / "in", tmp_path / "out"
    write_image(pictures / "a.png", scene)
    write_image(pictures / "a.bmp", scene[:, ::-1])
    write_image(pictures / "a.0.png", scene)
    result = run("-i", pictures, "-o", out, "--bundle", bundle)
    assert result.exit_code == 0, result.output
    restored = ["a.0.png.0.png", "a.bmp.0.png", "a.png.0.png"]
    assert [name for name in files_below(out) if "compare" not in name] == restored
    one, other = (read_image(out / name) for name in restored[1:])
    assert (one != other).any()


def test_names_are_printed_as_they_are(bundle: Path, tmp_path: Path) -> None:
    """Neither taken for markup nor broken into lines."""
    name = "[red] " + "long " * 30 + "wall.png"
    write_image(tmp_path / "in" / name, np.full((90, 90, 3), 127, np.uint8))
    (tmp_path / "in" / "[bold] half.png").write_bytes(b"no picture")
    result = run("-i", tmp_path / "in", "-o", tmp_path / "out", "--bundle", bundle)
    assert f"{name}: no face found" in result.output
    assert "[bold] half.png: cannot be read" in result.output


def test_the_default_output_folder_is_printed(
    bundle: Path, scene: RgbImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "in" / "a.png", scene)
    result = run("-i", "in", "--bundle", bundle)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "fsr-out"
    assert "a.png.0.png" in files_below(tmp_path / "fsr-out")


def test_a_second_run_does_not_restore_what_the_first_wrote(
    bundle: Path, scene: RgbImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.png", scene)
    for _ in range(2):
        result = run("-i", ".", "--bundle", bundle)
        assert result.exit_code == 0, result.output
        assert "1 faces of 1 pictures restored" in result.output
    assert files_below(tmp_path) == ["a.png", "fsr-out/a.png.0.compare.png", "fsr-out/a.png.0.png"]


def test_a_missing_folder_is_one_sentence(bundle: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert_one_sentence(run("-i", nowhere, "--bundle", bundle), f"{nowhere}: got nothing there, expected a folder")


def test_a_folder_without_a_picture_is_one_sentence(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    assert_one_sentence(run("-i", tmp_path, "--bundle", bundle), f"{tmp_path}: no picture in it", ".jpg")


def test_a_folder_that_is_no_bundle_is_one_sentence(scene: RgbImage, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png", scene)
    result = run("-i", tmp_path / "in", "-o", tmp_path / "out", "--bundle", tmp_path)
    assert_one_sentence(result, f"{tmp_path}: not a bundle: there is no manifest.json")
    assert not (tmp_path / "out").exists()


def test_a_damaged_bundle_is_one_sentence(bundle: Path, scene: RgbImage, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    model = broken / "edge-S-16x8.fp32.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    write_image(tmp_path / "in" / "a.png", scene)
    result = run("-i", tmp_path / "in", "-o", tmp_path / "out", "--bundle", broken)
    assert_one_sentence(result, f"{model}: got sha256", "get the bundle again")


def test_a_file_where_the_output_folder_should_be_is_one_sentence(
    bundle: Path, scene: RgbImage, tmp_path: Path
) -> None:
    write_image(tmp_path / "in" / "a.png", scene)
    (tmp_path / "out").write_text("mine")
    result = run("-i", tmp_path / "in", "-o", tmp_path / "out", "--bundle", bundle)
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].startswith(f"error: {tmp_path / 'out'}")
    assert (tmp_path / "out").read_text() == "mine"


def test_an_input_must_be_given() -> None:
    result = run()
    assert result.exit_code == 2
    assert "Missing option" in result.output and "--input" in result.output
