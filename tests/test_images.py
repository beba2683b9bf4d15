"""Pictures come in as upright 8-bit RGB or not at all, and go out whole."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fsr.runtime.errors import InputError, OutputError
from fsr.runtime.media.images import SUFFIXES, find_images, list_files, read_image, write_image
from fsr.runtime.pixels import RgbImage

ORIENTATION = 0x0112


@pytest.fixture
def picture(astronaut: RgbImage) -> RgbImage:
    """(48, 64, 3), neither square nor symmetric."""
    return np.ascontiguousarray(astronaut[80:128, 180:244])


def find_names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder)]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


# Finding


def test_pictures_of_all_sub_folders_are_found_in_one_order(tmp_path: Path) -> None:
    wanted = ["b.JPG", "deep/er/x.webp", "deep/y.tiff", "été/Ünïcødé 名前.png", "with space.bmp"]
    touch(tmp_path, *reversed(wanted), "notes.txt", "png", "a.png.part")
    assert sorted(find_names(tmp_path)) == sorted(wanted)
    assert find_images(tmp_path) == sorted(find_images(tmp_path))
    touch(tmp_path, "a.png")
    assert len(find_names(tmp_path)) == len(wanted) + 1


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_is_found_in_either_case(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"lower{suffix}", f"UPPER{suffix.upper()}")
    assert len(find_names(tmp_path)) == 2


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    hidden = tmp_path / ".the folder itself may be hidden"
    touch(hidden, "seen.png", ".hidden.png", ".thumbnails/a.png", "b/.cache/c/d.png")
    assert find_names(hidden) == ["seen.png"]


def test_a_folder_named_like_a_picture_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "folder.png/inside.jpg")
    assert find_names(tmp_path) == ["folder.png/inside.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_what_is_no_file_is_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "folder/a.png", "elsewhere/b.png")
    touch(folder := tmp_path / "folder", "notes.txt", "deep/c.png")
    (folder / "link.png").symlink_to("a.png")
    (folder / "nowhere.png").symlink_to("gone.png")
    (folder / "round.png").symlink_to("round.png")
    (folder / "nowhere").symlink_to("gone")
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    (folder / "deep/up").symlink_to(folder)
    (folder / ".hidden").symlink_to(tmp_path / "elsewhere")
    for name in ("pipe.png", "pipe"):
        os.mkfifo(folder / name)
    (folder / "to a pipe.jpg").symlink_to("pipe")
    files, odd = list_files(folder, SUFFIXES)
    assert [path.name for path in files] == ["a.png", "c.png", "link.png", "nowhere.png", "round.png"]
    assert [path.name for path in odd] == ["up", "pipe.png", "sub", "to a pipe.jpg"]


def test_a_folder_that_cannot_serve_says_what_was_got(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing: got nothing there, expected a folder"):
        find_images(tmp_path / "missing")
    touch(tmp_path, "a.png")
    with pytest.raises(InputError, match=r"a\.png: got a file, expected a folder"):
        find_images(tmp_path / "a.png")
    touch(tmp_path, "empty/notes.txt")
    with pytest.raises(InputError, match=r"empty: no picture in it; expected files ending in \.bmp, \.jfif, \.jpeg"):
        find_images(tmp_path / "empty")


# Reading


def encoded(picture: RgbImage, kind: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.9])
def test_a_truncated_file_is_an_error_never_half_a_picture(
    tmp_path: Path, picture: RgbImage, kind: str, share: float
) -> None:
    whole = encoded(picture, kind)
    (tmp_path / "a.bin").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"a\.bin: cannot be read as a picture"):
        read_image(tmp_path / "a.bin")


def test_what_is_no_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("text.jpg", "folder.jpg", "missing.jpg", "nul\0.jpg"):
        with pytest.raises(InputError, match="cannot be read as a picture"):
            read_image(tmp_path / name)


def test_the_content_counts_not_the_suffix(tmp_path: Path, picture: RgbImage) -> None:
    (tmp_path / "really a png.jpg").write_bytes(encoded(picture, "PNG"))
    np.testing.assert_array_equal(read_image(tmp_path / "really a png.jpg"), picture)


@pytest.mark.parametrize("orientation", range(9))
def test_pictures_come_upright(tmp_path: Path, picture: RgbImage, orientation: int) -> None:
    stored = {  # how the sensor's rows lie for the picture to be upright once turned: EXIF 2.3, tag 0x0112
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: np.rot90(picture, 1),
        7: picture[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(picture, -1),
    }.get(orientation, picture)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for name in ("a.png", "a.jpg"):
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name, exif=exif, quality=95)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    from_jpeg = read_image(tmp_path / "a.jpg")
    assert from_jpeg.shape == picture.shape
    assert np.abs(from_jpeg.astype(int) - picture).mean() < 5  # turned wrong it would be above 30


def test_grey_is_repeated(tmp_path: Path, picture: RgbImage) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture, "PNG", "L"))
    grey = np.array(Image.fromarray(picture).convert("L"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_keeps_its_upper_bits(tmp_path: Path, suffix: str) -> None:
    levels = np.arange(0, 65536, 17, dtype=np.uint16)[:3840].reshape(48, 80)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), levels)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}")[..., 1], levels >> 8)


def test_sixteen_bit_colour_keeps_its_upper_bits(tmp_path: Path, rng: np.random.Generator) -> None:
    colours = rng.integers(0, 65536, (8, 9, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), colours >> 8)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, kind: type) -> None:
    Image.fromarray(np.ones((8, 8), kind)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"32-bit pixels .* of unknown range"):
        read_image(tmp_path / "a.tif")


def test_transparency_is_dropped_and_colours_kept(tmp_path: Path, picture: RgbImage) -> None:
    alpha = np.full((*picture.shape[:2], 1), 7, np.uint8)
    Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("transparency", [None, 3, bytes([0, 128, 255])])
def test_a_palette_is_looked_up(tmp_path: Path, picture: RgbImage, transparency: int | bytes | None) -> None:
    palette = Image.fromarray(picture).quantize(16)
    palette.save(tmp_path / "a.png", transparency=transparency)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.array(palette.convert("RGB")))


@pytest.mark.parametrize(("mode", "kind"), [("1", "PNG"), ("LA", "PNG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")])
def test_other_modes_show_the_same_picture(tmp_path: Path, picture: RgbImage, mode: str, kind: str) -> None:
    (tmp_path / "a").write_bytes(encoded(picture, kind, mode))
    expected = np.array(Image.fromarray(picture).convert(mode).convert("RGB"))
    assert np.abs(read_image(tmp_path / "a").astype(int) - expected).max() <= 2


def test_cmyk_comes_in_its_own_colours(tmp_path: Path, picture: RgbImage) -> None:
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "a.jpg", quality=95, subsampling=0)
    difference = np.abs(read_image(tmp_path / "a.jpg").astype(int) - picture)
    assert difference.mean() < 3  # inverted it would be above 50


def test_what_was_read_can_be_written_to(tmp_path: Path, picture: RgbImage) -> None:
    write_image(tmp_path / "a.png", picture)
    read = read_image(tmp_path / "a.png")
    assert read.dtype == np.uint8 and read.flags.c_contiguous and read.flags.writeable


# Writing


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif", "new/folder/Ünïcødé.png"])
def test_a_written_picture_is_read_back_exactly(tmp_path: Path, picture: RgbImage, name: str) -> None:
    write_image(tmp_path / name, picture)
    np.testing.assert_array_equal(read_image(tmp_path / name), picture)
    np.testing.assert_array_equal(find_images(tmp_path), [tmp_path / name])


def test_the_suffix_names_the_format(tmp_path: Path, picture: RgbImage) -> None:
    for suffix, kind in ((".jpg", "JPEG"), (".png", "PNG"), (".webp", "WEBP")):
        write_image(tmp_path / f"a{suffix}", picture)
        with Image.open(tmp_path / f"a{suffix}") as written:
            assert written.format == kind


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.mp4"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, picture: RgbImage, name: str) -> None:
    with pytest.raises(OutputError, match=r"got suffix '.*', expected one of \.bmp"):
        write_image(tmp_path / name, picture)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_picture_alone(
    tmp_path: Path, picture: RgbImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.png", picture)

    def half(image: Image.Image, path: Path, kind: str, **options: int) -> None:
        path.write_bytes(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OutputError, match="No space left"):
        write_image(tmp_path / "a.png", 255 - picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


def test_only_rgb_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="uint8"):
        write_image(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    assert list(tmp_path.iterdir()) == []
