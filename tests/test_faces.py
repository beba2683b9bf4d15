"""Pictures get their identity and split by CelebA's official lists, by folders, or by a hash that does not move."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_data import touch

from fsr.runtime.errors import InputError
from fsr.train.faces import Picture, celeba_pictures, folder_pictures, split_conflicts


def by_name(pictures: list[Picture]) -> dict[str, Picture]:
    return {picture.name: picture for picture in pictures}


def folder(root: Path, *, identity: str = "picture", val: float = 0.2, test: float = 0.2) -> dict[str, Picture]:
    return by_name(folder_pictures(root, identity=identity, val_share=val, test_share=test))


def test_celeba_names_with_an_identity_need_no_list(tmp_path: Path) -> None:
    touch(tmp_path, ["000001_2880.jpg", "deep/er/000002_7.PNG"])
    found = by_name(celeba_pictures(tmp_path))
    assert {name: picture.identity for name, picture in found.items()} == {
        "000001_2880.jpg": "2880",
        "deep/er/000002_7.PNG": "7",
    }
    assert found["deep/er/000002_7.PNG"].path == tmp_path / "deep" / "er" / "000002_7.PNG"


@pytest.mark.parametrize("place", ["img_align_celeba", "."])
def test_celeba_identities_are_read_beside_the_pictures_or_above(tmp_path: Path, place: str) -> None:
    pictures = touch(tmp_path / "img_align_celeba", ["000001.jpg", "000003.jpg", "000002_9.jpg"])
    (tmp_path / place / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 2937\n\n000003.jpg 8692\n")
    found = by_name(celeba_pictures(pictures))
    assert {name: picture.identity for name, picture in found.items()} == {
        "000001.jpg": "2880",
        "000002_9.jpg": "9",
        "000003.jpg": "8692",
    }


def test_celeba_without_identities_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"identity_CelebA\.txt is not there; put that file"):
        celeba_pictures(touch(tmp_path, ["000001.jpg"]))


def test_celeba_identities_that_stop_early_are_named(tmp_path: Path) -> None:
    touch(tmp_path, ["000001.jpg", "000002.jpg"])
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 2880\n")
    with pytest.raises(InputError, match=r"number 2 is not in identity_CelebA\.txt"):
        celeba_pictures(tmp_path)


def test_celeba_identities_cut_within_a_line_are_an_error(tmp_path: Path) -> None:
    touch(tmp_path, ["000001.jpg"])
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.j")
    with pytest.raises(InputError, match=r"identity_CelebA\.txt: damaged .* expected lines such as"):
        celeba_pictures(tmp_path)


@pytest.mark.parametrize(
    ("number", "split"),
    [(1, "train"), (162770, "train"), (162771, "val"), (182637, "val"), (182638, "test"), (202599, "test")],
)
def test_celeba_splits_end_at_the_official_numbers(tmp_path: Path, number: int, split: str) -> None:
    (picture,) = celeba_pictures(touch(tmp_path, [f"{number:06d}_1.jpg"]))
    assert picture.split == split


def test_celeba_has_no_number_beyond_the_last(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got number 202600, expected at most 202599"):
        celeba_pictures(touch(tmp_path, ["202600_1.jpg"]))


def test_celeba_ignores_other_names(tmp_path: Path) -> None:
    others = ["cover.jpg", "00001.jpg", "0000001.jpg", "20200101_000003.jpg", "img_000004.jpg", "000005_x.jpg"]
    found = celeba_pictures(touch(tmp_path, ["000002_5.jpg", "000003_5.gif", *others]))
    assert [picture.name for picture in found] == ["000002_5.jpg"]


def test_a_folder_without_celeba_names_points_to_the_other_layout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--layout folder"):
        celeba_pictures(touch(tmp_path, ["anna.jpg"]))


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.touch()])
def test_a_missing_an_empty_and_a_wrong_folder_are_errors(tmp_path: Path, make) -> None:
    make(tmp_path / "faces")
    with pytest.raises(InputError, match="expected"):
        celeba_pictures(tmp_path / "faces")
    with pytest.raises(InputError, match="expected"):
        folder(tmp_path / "faces")


def test_sub_folders_called_as_the_splits_are_the_splits(tmp_path: Path) -> None:
    names = [f"{split}/{number}.png" for split in ("train", "val", "test") for number in range(20)]
    found = folder(touch(tmp_path, names))
    assert {name: picture.split for name, picture in found.items()} == {name: name.split("/")[0] for name in names}


def test_numbers_that_start_again_in_every_split_are_different_pictures(tmp_path: Path) -> None:
    found = folder(touch(tmp_path, ["train/1.png", "val/1.png", "test/1.png"]))
    assert split_conflicts(list(found.values())) == []


def test_validation_pictures_are_taken_from_training_where_none_are_given(tmp_path: Path) -> None:
    names = [f"{split}/{number}.png" for split in ("train", "test") for number in range(100)]
    found = folder(touch(tmp_path, names), val=0.2)
    from_train = [picture.split for name, picture in found.items() if name.startswith("train/")]
    assert {picture.split for name, picture in found.items() if name.startswith("test/")} == {"test"}
    assert set(from_train) == {"train", "val"}
    assert 8 <= from_train.count("val") <= 35  # 20 expected, 4 the standard deviation


@pytest.mark.parametrize("meant", ["Train", "valid", "validation", "TEST"])
def test_a_folder_that_is_meant_as_a_split_is_not_mixed_into_training(tmp_path: Path, meant: str) -> None:
    touch(tmp_path, ["train/a.jpg", f"{meant}/b.jpg"])
    with pytest.raises(InputError, match=f"got a folder '{meant}', expected splits called train, val, test; rename it"):
        folder(tmp_path)


def test_one_person_in_all_is_refused_where_folders_are_persons(tmp_path: Path) -> None:
    touch(tmp_path, ["train/a.jpg", "test/b.jpg"])
    with pytest.raises(InputError, match="got one person in all, expected a folder for each"):
        folder(tmp_path, identity="folder")


def test_a_picture_called_train_is_no_split(tmp_path: Path) -> None:
    assert folder(touch(tmp_path, ["train.png"]), val=0, test=0.99)["train.png"].split == "test"


def test_shares_are_about_as_asked_for(tmp_path: Path) -> None:
    found = folder(touch(tmp_path, [f"{number}.png" for number in range(400)]), val=0.1, test=0.3)
    counts = {split: sum(p.split == split for p in found.values()) for split in ("train", "val", "test")}
    assert counts == pytest.approx({"train": 240, "val": 40, "test": 120}, abs=30)


def test_a_picture_keeps_its_split_when_others_come(tmp_path: Path) -> None:
    before = folder(touch(tmp_path, [f"{number}.png" for number in range(30)]))
    after = folder(touch(tmp_path, [f"more{number}.png" for number in range(30)]))
    assert len(after) == 60
    assert {name: after[name].split for name in before} == {name: p.split for name, p in before.items()}
    assert len({picture.split for picture in before.values()}) == 3


def test_folders_keep_a_person_together(tmp_path: Path) -> None:
    names = [f"person{person}/{number}.png" for person in range(20) for number in range(4)]
    touch(tmp_path, names)
    people = {name: picture.split for name, picture in folder(tmp_path, identity="folder").items()}
    pictures = {name: picture.split for name, picture in folder(tmp_path, identity="picture").items()}
    together = [len({splits[f"person0/{n}.png"] for n in range(4)}) for splits in (people, pictures)]
    assert all(len({people[f"person{p}/{n}.png"] for n in range(4)}) == 1 for p in range(20)), together
    assert any(len({pictures[f"person{p}/{n}.png"] for n in range(4)}) > 1 for p in range(20))
    assert set(people.values()) == {"train", "val", "test"}


def test_a_person_in_two_split_folders_is_one_person(tmp_path: Path) -> None:
    found = folder(touch(tmp_path, ["train/anna/1.png", "test/anna/2.png", "train/ben/1.png", "val/x/1.png"]))
    people = folder(tmp_path, identity="folder")
    assert split_conflicts(list(found.values())) == []
    assert [picture.name for picture in split_conflicts(list(people.values()))] == ["train/anna/1.png"]


def test_of_an_identity_in_several_splits_the_most_held_out_stays() -> None:
    def picture(identity: str, split: str) -> Picture:
        return Picture(Path(f"{identity}{split}"), f"{identity}-{split}", identity, split)

    pictures = [picture(*pair) for pair in [("a", "train"), ("a", "val"), ("a", "test"), ("b", "train"), ("b", "val")]]
    pictures += [picture("c", "train"), picture("c", "train"), picture("d", "val")]
    assert [p.name for p in split_conflicts(pictures)] == ["a-train", "a-val", "b-train"]
    assert [p.name for p in split_conflicts(pictures[::-1])] == ["b-train", "a-val", "a-train"]
