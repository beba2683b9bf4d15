"""What a file says besides its colours comes in with a picture and goes out with it."""

from __future__ import annotations

import functools
import io
import re
import struct
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageFile

from fsr.runtime.errors import InputError, OutputError
from fsr.runtime.media import exif
from fsr.runtime.media.images import SUFFIXES, Picture, find_images, read_picture, write_picture
from fsr.runtime.pixels import RgbImage

ORIENTATION = 0x0112
HOLDS_EXIF = [".jpg", ".png", ".webp", ".tif"]


@pytest.fixture
def pixels(astronaut: RgbImage) -> RgbImage:
    """(48, 64, 3), neither square nor symmetric."""
    return np.ascontiguousarray(astronaut[80:128, 180:244])


@pytest.fixture
def alpha() -> np.ndarray:
    """uint8 (48, 64), from transparent to opaque."""
    return np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8), (48, 64))


@functools.cache  # a profile says the second it was made
def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def camera_exif(orientation: int = 6) -> bytes:
    """As a camera writes it: who and how, a place, a maker note."""
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    tags[ExifTags.Base.Make] = "Eclair"
    tags[ExifTags.IFD.Exif] = {ExifTags.Base.ISOSpeedRatings: 400, ExifTags.Base.MakerNote: b"\x01\x02secret\xff"}
    tags[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return tags.tobytes()


def shown(path: Path) -> np.ndarray:
    """As any viewer shows it: turned by what its EXIF says."""
    from PIL import ImageOps

    with Image.open(path) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def distance(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b).mean())


# EXIF


@pytest.mark.parametrize("suffix", HOLDS_EXIF)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_goes_out_upright_and_is_not_turned_again(
    tmp_path: Path, pixels: RgbImage, suffix: str, orientation: int
) -> None:
    source, written = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    Image.fromarray(pixels).save(source, exif=camera_exif(orientation), quality=95)
    picture = read_picture(source)
    assert distance(picture.pixels, shown(source)) == 0
    write_picture(written, picture)
    assert distance(shown(written), shown(source)) < 3  # turned once more it would be above 30
    with Image.open(written) as image:
        assert image.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("suffix", HOLDS_EXIF)
def test_the_other_tags_are_kept(tmp_path: Path, pixels: RgbImage, suffix: str) -> None:
    Image.fromarray(pixels).save(tmp_path / f"in{suffix}", exif=camera_exif())
    write_picture(tmp_path / f"out{suffix}", read_picture(tmp_path / f"in{suffix}"))
    with Image.open(tmp_path / f"out{suffix}") as image:
        tags = image.getexif()
        assert tags[ExifTags.Base.Make] == "Eclair"
        assert tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400
        assert tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] == b"\x01\x02secret\xff"
        assert tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"


def test_tags_travel_between_formats(tmp_path: Path, pixels: RgbImage) -> None:
    for source in HOLDS_EXIF:
        Image.fromarray(pixels).save(tmp_path / f"in{source}", exif=camera_exif())
        for target in HOLDS_EXIF:
            write_picture(tmp_path / f"out{target}", read_picture(tmp_path / f"in{source}"))
            with Image.open(tmp_path / f"out{target}") as image:
                assert image.getexif()[ExifTags.Base.Make] == "Eclair"


def test_the_thumbnail_of_what_the_picture_was_goes() -> None:
    orientation = struct.pack("<HHIHH", ORIENTATION, 3, 1, 6, 0)
    thumbnail = struct.pack("<HHHII", 1, 0x0201, 4, 1, 99) + bytes(4)
    whole = b"II*\0" + struct.pack("<IH", 8, 1) + orientation + struct.pack("<I", 26) + thumbnail
    turned = exif.upright(whole)
    assert turned is not None and turned.startswith(b"Exif\0\0") and len(turned) == len(whole) + 6
    assert exif.orientation(whole) == 6 and exif.orientation(turned) == 1
    assert struct.unpack_from("<I", turned, 6 + 22) == (0,)


@pytest.mark.parametrize("damaged", [b"", b"Exif\0\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"text"])
def test_damaged_exif_turns_nothing_and_is_not_passed_on(tmp_path: Path, pixels: RgbImage, damaged: bytes) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=b"Exif\0\0" + damaged)
    picture = read_picture(tmp_path / "a.png")
    assert picture.exif is None
    np.testing.assert_array_equal(picture.pixels, pixels)


def test_an_orientation_that_does_not_exist_is_upright() -> None:
    assert exif.orientation(camera_exif(9)) == 1


# Profile and resolution


@pytest.mark.parametrize("suffix", HOLDS_EXIF)
def test_the_profile_is_kept(tmp_path: Path, pixels: RgbImage, suffix: str) -> None:
    Image.fromarray(pixels).save(tmp_path / f"in{suffix}", icc_profile=srgb())
    picture = read_picture(tmp_path / f"in{suffix}")
    write_picture(tmp_path / f"out{suffix}", picture)
    assert picture.icc == srgb() == read_picture(tmp_path / f"out{suffix}").icc


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
def test_the_resolution_is_kept(tmp_path: Path, pixels: RgbImage, suffix: str) -> None:
    Image.fromarray(pixels).save(tmp_path / f"in{suffix}", dpi=(300, 150))
    write_picture(tmp_path / f"out{suffix}", read_picture(tmp_path / f"in{suffix}"))
    assert read_picture(tmp_path / f"out{suffix}").dpi == pytest.approx((300, 150), abs=0.1)


def test_what_was_not_said_is_not_made_up(tmp_path: Path, pixels: RgbImage) -> None:
    for suffix in sorted(SUFFIXES - {".bmp"}):
        write_picture(tmp_path / f"a{suffix}", Picture(pixels))
        read = read_picture(tmp_path / f"a{suffix}")
        assert (read.alpha, read.grey, read.exif, read.icc, read.dpi) == (None, False, None, None, None)


# Grey


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
def test_grey_stays_grey(tmp_path: Path, pixels: RgbImage, suffix: str) -> None:
    Image.fromarray(pixels).convert("L").save(tmp_path / f"in{suffix}")
    picture = read_picture(tmp_path / f"in{suffix}")
    assert picture.grey and np.ptp(picture.pixels.astype(int), axis=2).max() == 0
    write_picture(tmp_path / f"out{suffix}", picture)
    assert mode(tmp_path / f"out{suffix}") == "L"
    assert distance(read_picture(tmp_path / f"out{suffix}").pixels, picture.pixels) < 1


def test_colour_that_a_network_put_into_grey_is_taken_out_again(tmp_path: Path, pixels: RgbImage) -> None:
    write_picture(tmp_path / "a.png", Picture(pixels, grey=True))
    np.testing.assert_array_equal(
        read_picture(tmp_path / "a.png").pixels[..., 0], np.array(Image.fromarray(pixels).convert("L"))
    )


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_grey(tmp_path: Path, suffix: str) -> None:
    levels = np.arange(0, 65536, 17, dtype=np.uint16)[:3840].reshape(48, 80)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), levels)
    picture = read_picture(tmp_path / f"a{suffix}")
    assert picture.grey
    np.testing.assert_array_equal(picture.pixels[..., 2], levels >> 8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_colour_and_transparency_keep_their_upper_bits(
    tmp_path: Path, suffix: str, rng: np.random.Generator
) -> None:
    bgra = rng.integers(0, 65536, (8, 9, 4), np.uint16)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), bgra)
    picture = read_picture(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels, bgra[..., 2::-1] >> 8)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, bgra[..., 3] >> 8)


def test_black_and_white_is_grey(tmp_path: Path, pixels: RgbImage) -> None:
    Image.fromarray(pixels).convert("1").save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.grey and set(np.unique(picture.pixels)) == {0, 255}


# Transparency


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("grey", [False, True])
def test_transparency_is_kept(tmp_path: Path, pixels: RgbImage, alpha: np.ndarray, suffix: str, grey: bool) -> None:
    source = Image.fromarray(pixels).convert("L" if grey else "RGB")
    source.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    source.save(tmp_path / "in.png")
    picture = read_picture(tmp_path / "in.png")
    assert picture.grey == grey
    write_picture(tmp_path / f"out{suffix}", picture)
    read = read_picture(tmp_path / f"out{suffix}")
    assert read.alpha is not None
    np.testing.assert_array_equal(read.alpha, alpha)
    assert distance(read.pixels, picture.pixels) < 3


def test_transparency_of_a_palette_or_of_one_colour_is_read(tmp_path: Path, pixels: RgbImage) -> None:
    palette = Image.fromarray(pixels).quantize(16)
    palette.save(tmp_path / "palette.png", transparency=bytes([7] * 16))
    colour = tuple(int(value) for value in pixels[5, 6])
    Image.fromarray(pixels).save(tmp_path / "colour.png", transparency=colour)
    for name, expected in (("palette.png", 7), ("colour.png", 0)):
        picture = read_picture(tmp_path / name)
        assert picture.alpha is not None and picture.alpha[5, 6] == expected


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_a_format_without_transparency_keeps_the_colours(
    tmp_path: Path, pixels: RgbImage, alpha: np.ndarray, suffix: str
) -> None:
    write_picture(tmp_path / f"a{suffix}", Picture(pixels, alpha))
    read = read_picture(tmp_path / f"a{suffix}")
    assert read.alpha is None and distance(read.pixels, pixels) < 3


def test_transparency_turns_with_the_picture(tmp_path: Path, pixels: RgbImage, alpha: np.ndarray) -> None:
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "a.png", exif=camera_exif(6))
    picture = read_picture(tmp_path / "a.png")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.rot90(alpha, -1))


def test_transparency_of_another_size_is_refused(pixels: RgbImage, alpha: np.ndarray) -> None:
    picture = Picture(pixels, alpha)
    with pytest.raises(TypeError, match=re.escape("got uint8 (48, 64), expected uint8 (96, 128)")):
        replace(picture, pixels=pixels.repeat(2, 0).repeat(2, 1))


# CMYK


def press_profile() -> bytes:
    """A CMYK profile that shows full black as black, all else as Lab 50, 0, 0: ICC.1:2001-04, 6.5.8 (lut8Type)."""
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lab = bytes([128, 128, 128, 0, 128, 128]) * 8  # black varies fastest
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + lab + ramp * 3
    table += bytes(-len(table) % 4)
    size = 128 + 4 + 12 + len(table)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02100000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)  # the PCS illuminant, D50
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_goes_through_its_profile_which_is_not_kept(tmp_path: Path, pixels: RgbImage, suffix: str) -> None:
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / f"a{suffix}", icc_profile=press_profile())
    picture = read_picture(tmp_path / f"a{suffix}")
    assert picture.icc is None
    assert np.abs(picture.pixels.astype(int) - 119).max() <= 2  # L 50 is 119 in sRGB


def test_cmyk_without_a_profile_is_subtracted(tmp_path: Path, pixels: RgbImage) -> None:
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "a.jpg", quality=95, subsampling=0)
    picture = read_picture(tmp_path / "a.jpg")
    assert distance(picture.pixels, pixels) < 3 and not picture.grey
    write_picture(tmp_path / "b.jpg", picture)
    assert mode(tmp_path / "b.jpg") == "RGB"


def test_cmyk_with_a_damaged_profile_is_an_error(tmp_path: Path, pixels: RgbImage) -> None:
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "a.jpg", icc_profile=b"damaged" * 40)
    with pytest.raises(InputError, match=r"a\.jpg: cannot be read as a picture: .*profile"):
        read_picture(tmp_path / "a.jpg")


def test_the_profile_of_lab_goes_with_its_colours(tmp_path: Path, pixels: RgbImage) -> None:
    Image.fromarray(pixels).convert("LAB").save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as lab:
        assert lab.mode == "LAB" and lab.info["icc_profile"][16:20] == b"Lab "
    picture = read_picture(tmp_path / "a.tif")
    assert picture.icc is None and distance(picture.pixels, pixels) < 3


# JPEG by the short way


@pytest.mark.parametrize(
    "options",
    [{"quality": 90}, {"subsampling": 0}, {"progressive": True}, {"keep_rgb": True}, {"restart_marker_rows": 1}],
    ids=str,
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_plain_jpeg_has_the_pixels_that_pillow_sees(
    tmp_path: Path, astronaut: RgbImage, monkeypatch: pytest.MonkeyPatch, options: dict, orientation: int
) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(astronaut[:99, :130]).save(path, exif=camera_exif(orientation), icc_profile=srgb(), **options)
    expected = shown(path)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("Pillow decoded it"))
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.icc == srgb() and picture.exif is not None and not picture.grey
    assert picture.pixels.flags.c_contiguous and picture.pixels.flags.writeable


@pytest.mark.parametrize("tail", [b"behind the end", b"\xff\xd9" + bytes(9)])
def test_what_lies_behind_the_end_of_a_jpeg_does_no_harm(tmp_path: Path, pixels: RgbImage, tail: bytes) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write(tail)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.jpg").pixels, shown(tmp_path / "a.jpg"))


def test_a_jpeg_cut_within_is_an_error_though_it_ends_like_one(tmp_path: Path, pixels: RgbImage) -> None:
    """A phone's motion picture, cut off: it ends in the end of something else."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue()[:20] + b"\xff\xd9")
    with pytest.raises(InputError, match=r"a\.jpg: cannot be read as a picture"):
        read_picture(tmp_path / "a.jpg")


@pytest.mark.parametrize("icc", [None, b"short", bytes(range(256)) * 600], ids=["none", "one part", "three parts"])
@pytest.mark.parametrize("dpi", [None, (300, 149.6)])
@pytest.mark.parametrize("quality", [50, 95])
def test_a_jpeg_is_written_as_pillow_writes_it(
    tmp_path: Path, pixels: RgbImage, icc: bytes | None, dpi: tuple[float, float] | None, quality: int
) -> None:
    said = {"exif": camera_exif(1), "icc_profile": icc, "dpi": dpi}
    options = {name: value for name, value in said.items() if value is not None}
    Image.fromarray(pixels).save(tmp_path / "theirs.jpg", quality=quality, **options)
    write_picture(tmp_path / "ours.jpg", Picture(pixels, exif=camera_exif(1), icc=icc, dpi=dpi), quality)
    with Image.open(tmp_path / "ours.jpg") as ours, Image.open(tmp_path / "theirs.jpg") as theirs:
        assert ours.info == theirs.info
        np.testing.assert_array_equal(np.array(ours), np.array(theirs))


# Several pictures in one


@pytest.mark.parametrize("suffix", [".webp", ".png", ".tif"])
def test_of_several_pictures_the_first_is_read_and_their_number_said(
    tmp_path: Path, pixels: RgbImage, suffix: str
) -> None:
    others = [Image.fromarray(pixels[::-1].copy())] * 2
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}", save_all=True, append_images=others, lossless=True)
    picture = read_picture(tmp_path / f"a{suffix}")
    assert picture.frames >= 2
    np.testing.assert_array_equal(picture.pixels, pixels)


def test_a_gif_is_not_taken_for_a_picture(tmp_path: Path, pixels: RgbImage) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(InputError, match="it is no JPEG, PNG, WebP, BMP or TIFF"):
        read_picture(tmp_path / "a.png")


# Faults


def large_png(width: int, height: int) -> bytes:
    """The header of a PNG; its pixels need not exist for it to be refused."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 999, b"IDAT")


@pytest.mark.parametrize(("side", "megapixels"), [(20_000, 400), (10_000, 100)])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path, side: int, megapixels: int) -> None:
    (tmp_path / "a.png").write_bytes(large_png(side, side))
    with warnings.catch_warnings(record=True) as warned:
        expected = rf"got {side}x{side} = {megapixels} megapixels, expected at most 89; shrink or cut it first"
        with pytest.raises(InputError, match=expected):
            read_picture(tmp_path / "a.png")
    assert not warned


def test_the_limit_counts_pixels(tmp_path: Path, pixels: RgbImage) -> None:
    write_picture(tmp_path / "a.png", Picture(pixels))
    read_picture(tmp_path / "a.png", max_pixels=48 * 64)
    with pytest.raises(InputError, match="got 64x48"):
        read_picture(tmp_path / "a.png", max_pixels=48 * 64 - 1)


def test_one_sentence_for_each_fault(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    for name, reason in (
        ("empty.jpg", "it is empty"),
        ("text.jpg", "it is no JPEG, PNG, WebP, BMP or TIFF"),
        ("gone.jpg", "No such file or directory"),
    ):
        with pytest.raises(InputError) as caught:
            read_picture(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: cannot be read as a picture: {reason}"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_damaged_bytes_are_read_or_refused_never_anything_else(
    tmp_path: Path, pixels: RgbImage, kind: str, rng: np.random.Generator
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, exif=camera_exif(), icc_profile=srgb())
    for _ in range(60):
        damaged = np.frombuffer(buffer.getvalue(), np.uint8).copy()
        damaged[rng.integers(0, min(len(damaged), 600), 8)] = rng.integers(0, 256, 8)
        (tmp_path / "a").write_bytes(damaged.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_picture(tmp_path / "a", max_pixels=1_000_000)
            except InputError as error:
                assert "cannot be read as a picture" in str(error)


def test_a_folder_that_vanishes_while_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(folder: Path, pattern: str) -> list[Path]:
        raise FileNotFoundError(2, "No such file or directory", str(folder))

    monkeypatch.setattr(Path, "rglob", vanish)
    with pytest.raises(InputError, match="cannot be listed: No such file or directory"):
        find_images(tmp_path)


@pytest.mark.parametrize(("suffix", "longest"), [(".jpg", 65500), (".webp", 16383)])
def test_a_picture_longer_than_its_format_holds_is_refused(tmp_path: Path, suffix: str, longest: int) -> None:
    write_picture(tmp_path / f"a{suffix}", Picture(np.zeros((1, longest, 3), np.uint8)))
    with pytest.raises(OutputError, match=f"got {longest + 1}x1, expected sides of at most {longest}"):
        write_picture(tmp_path / f"b{suffix}", Picture(np.zeros((1, longest + 1, 3), np.uint8)))


def test_exif_that_the_format_cannot_hold_is_an_error(tmp_path: Path, pixels: RgbImage) -> None:
    with pytest.raises(OutputError, match=r"a\.jpg: cannot be written as JPEG: got 70006 bytes of EXIF"):
        write_picture(tmp_path / "a.jpg", Picture(pixels, exif=b"Exif\0\0" + bytes(70_000)))
    assert list(tmp_path.iterdir()) == []


def test_quality_is_chosen_by_the_caller(tmp_path: Path, pixels: RgbImage) -> None:
    for suffix in (".jpg", ".webp"):
        write_picture(tmp_path / f"good{suffix}", Picture(pixels))
        write_picture(tmp_path / f"poor{suffix}", Picture(pixels), quality=20)
        assert (tmp_path / f"poor{suffix}").stat().st_size < (tmp_path / f"good{suffix}").stat().st_size / 2
