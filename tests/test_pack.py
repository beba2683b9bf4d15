"""A pack says what it holds, gives it back unchanged, and refuses to be read when damaged or out of place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from tiny_data import crops, make_pack
from tiny_landmarker import synthetic_priors

from fsr.runtime.errors import PackError
from fsr.train.pack import FORMAT, PRIORS, SPLITS, PackInfo, open_pack, open_packs, read_prior, read_split

SIZE = 32


def small_pack(path: Path, **options: object) -> PackInfo:
    return make_pack(path, **{"size": SIZE, "train": 3, "val": 2, "test": 1, **options})  # pyright: ignore[reportArgumentType]


def rewrite(path: Path, header: dict[str, object] | None) -> None:
    """The pixels of a pack under another header."""
    with safe_open(path, framework="numpy") as file:
        pixels = {split: file.get_tensor(split) for split in SPLITS}
    save_file(pixels, path, metadata=None if header is None else {FORMAT: json.dumps(header)})


def header_of(path: Path) -> dict[str, object]:
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()[FORMAT])


def test_a_pack_gives_back_what_was_written(tmp_path: Path) -> None:
    written = small_pack(tmp_path / "a.safetensors", source="two portraits")
    opened = open_pack(tmp_path / "a.safetensors")
    assert opened == written
    assert (opened.framing, opened.size, opened.source) == ("runtime", SIZE, "two portraits")
    assert opened.licence == "public domain"
    assert [opened.count(split) for split in SPLITS] == [3, 2, 1]
    assert opened.faces["val"][1].name == "val/1.png"
    for split, part in zip(SPLITS, np.split(crops(size=SIZE)[:6], [3, 5]), strict=True):
        np.testing.assert_array_equal(read_split(opened, split), part)


def test_an_empty_split_is_read_as_no_face(tmp_path: Path) -> None:
    small_pack(tmp_path / "a.safetensors", val=0)
    assert read_split(open_pack(tmp_path / "a.safetensors"), "val").shape == (0, SIZE, SIZE, 3)


def test_the_same_faces_give_the_same_bytes(tmp_path: Path) -> None:
    small_pack(tmp_path / "a.safetensors")
    small_pack(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_missing_pack_says_how_to_make_one(tmp_path: Path) -> None:
    for path, got in ((tmp_path / "none.safetensors", "no such file"), (tmp_path, "got a folder, expected .*")):
        with pytest.raises(PackError, match=f"{got}; make it with fsr-train prepare"):
            open_pack(path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_pack_is_an_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.safetensors"
    small_pack(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(PackError, match=r"a\.safetensors: damaged"):
        open_pack(path)


def test_another_safetensors_file_is_no_pack(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    small_pack(path)
    rewrite(path, None)
    with pytest.raises(PackError, match="not a pack"):
        open_pack(path)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    small_pack(path)
    rewrite(path, {**header_of(path), "version": 2})
    with pytest.raises(PackError, match="got pack version 2, expected 1"):
        open_pack(path)


def test_a_flipped_pixel_is_noticed_in_its_split_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    small_pack(path)
    data = bytearray(path.read_bytes())
    start = data.index(crops(size=SIZE)[0].tobytes())
    data[start + 100] ^= 1
    path.write_bytes(data)
    pack = open_pack(path)
    with pytest.raises(PackError, match="split 'train' are damaged; make the pack again"):
        read_split(pack, "train")
    np.testing.assert_array_equal(read_split(pack, "val"), crops(size=SIZE)[3:5])


def test_a_pack_gives_back_its_priors(tmp_path: Path) -> None:
    written = small_pack(tmp_path / "a.safetensors", priors=True)
    opened = open_pack(tmp_path / "a.safetensors")
    assert opened == written and opened.priors is not None
    assert opened.priors.landmarker == "synthetic"
    assert small_pack(tmp_path / "b.safetensors").priors is None
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        expected = synthetic_priors(count, "runtime", SIZE)
        assert expected.keys() == set(PRIORS)
        for name in PRIORS:
            found = read_prior(opened, split, name)
            assert found.dtype == expected[name].dtype
            np.testing.assert_array_equal(found, expected[name])


@pytest.mark.parametrize("name", PRIORS)
def test_a_flipped_bit_of_a_prior_is_noticed_and_the_pixels_are_still_good(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.safetensors"
    small_pack(path, priors=True)
    with safe_open(path, framework="numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        metadata = file.metadata()
    tensors[f"val/{name}"].view(np.uint8).flat[0] ^= 1
    save_file(tensors, path, metadata=metadata)
    pack = open_pack(path)
    with pytest.raises(PackError, match="the priors of split 'val' are damaged; make the pack again"):
        read_prior(pack, "val", name)
    read_prior(pack, "train", name)
    np.testing.assert_array_equal(read_split(pack, "val"), crops(size=SIZE)[3:5])


def test_packs_that_fit_are_opened_in_order(tmp_path: Path) -> None:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    small_pack(paths[0], prefix="a/")
    small_pack(paths[1], prefix="b/", train=4)
    assert [pack.path for pack in open_packs(paths, output_size=SIZE)] == paths
    small_pack(tmp_path / "c.safetensors", prefix="c/")
    with pytest.raises(PackError, match="--pack: got the same faces twice"):
        open_packs([*paths, tmp_path / "c.safetensors"], output_size=SIZE)


def test_no_pack_is_an_error() -> None:
    with pytest.raises(PackError, match="--pack: got none"):
        open_packs([], output_size=SIZE)


def test_packs_of_two_framings_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    small_pack(paths[0])
    small_pack(paths[1], framing="celeba178")
    with pytest.raises(PackError, match="got framings celeba178, runtime, expected packs of one framing"):
        open_packs(paths, output_size=SIZE)


def test_a_pack_of_another_size_is_refused(tmp_path: Path) -> None:
    small_pack(tmp_path / "a.safetensors")
    with pytest.raises(PackError, match=r"a\.safetensors: got crops of 32 px, expected 128 px"):
        open_packs([tmp_path / "a.safetensors"], output_size=128)


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_a_face_trained_on_in_one_pack_and_held_out_in_another_is_refused(tmp_path: Path, held_out: str) -> None:
    from fsr.train.pack import Face, write_pack

    def pack(name: str, split: str, source: str) -> Path:
        faces = {one: [Face("1.png", "anna")] if one == split else [] for one in SPLITS}
        pixels = {one: np.array(crops(size=SIZE)[: len(faces[one])]) for one in SPLITS}
        write_pack(tmp_path / name, pixels, faces, framing="runtime", source=source, licence="public domain")
        return tmp_path / name

    trained = pack("a.safetensors", "train", "portraits")
    with pytest.raises(PackError, match="1 identities are trained on and held out, such as 'anna'"):
        open_packs([trained, pack("b.safetensors", held_out, "portraits")], output_size=SIZE)
    # Another collection's anna is another person.
    assert len(open_packs([trained, pack("c.safetensors", held_out, "others")], output_size=SIZE)) == 2
