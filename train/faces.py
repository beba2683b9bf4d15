"""Where training faces come from: folders of pictures, each with an identity and a split."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..runtime.errors import InputError
from ..runtime.media.images import find_images
from .pack import SPLITS

CELEBA_NAME = re.compile(r"(\d{6})(?:_(\d+))?\.(?:jpg|jpeg|png)$", re.IGNORECASE)
CELEBA_LAST = {"train": 162770, "val": 182637, "test": 202599}
"""Last official number of each split (list_eval_partition.txt of CelebA)."""

SPLIT_LIKE = frozenset({*SPLITS, "training", "validation", "valid", "dev", "testing"})
"""Names, in lower case, of folders that are meant as splits: what is held out there must not become training faces."""


@dataclass(frozen=True)
class Picture:
    """A picture that should hold one face."""

    path: Path
    name: str
    """Path below the input folder, with forward slashes."""
    identity: str
    split: str


def celeba_pictures(folder: Path) -> list[Picture]:
    """The pictures of CelebA's `img_align_celeba`: `NNNNNN.jpg`, or `NNNNNN_IDENTITY.jpg`, in any sub-folders.

    The official number gives the split. Identities come from the name, or from `identity_CelebA.txt` in
    `folder` or the folder above it.

    Raises:
        InputError: no such folder, no such names in it, or no identities.
    """
    matches = [(path, CELEBA_NAME.match(path.name)) for path in find_images(folder)]
    named = [(path, match) for path, match in matches if match]
    if not named:
        raise InputError(
            f"{folder}: no file named as in img_align_celeba (000001.jpg); for other folders use --layout folder"
        )
    identities = _read_celeba_identities(folder) if any(match[2] is None for _, match in named) else {}
    pictures = []
    for path, match in named:
        number = int(match[1])
        identity = match[2] or identities.get(number)
        if identity is None:
            raise InputError(f"{path}: number {number} is not in identity_CelebA.txt; get that file whole")
        split = next((split for split in SPLITS if number <= CELEBA_LAST[split]), None)
        if split is None:
            raise InputError(f"{path}: got number {number}, expected at most {CELEBA_LAST['test']}")
        pictures.append(Picture(path, path.relative_to(folder).as_posix(), identity, split))
    return pictures


def _read_celeba_identities(folder: Path) -> dict[int, str]:
    for candidate in (folder / "identity_CelebA.txt", folder.parent / "identity_CelebA.txt"):
        if candidate.is_file():
            rows = (line.split() for line in candidate.read_text().splitlines() if line.strip())
            try:
                return {int(Path(name).stem): identity for name, identity in rows}
            except ValueError as error:
                raise InputError(
                    f"{candidate}: damaged ({error}), expected lines such as '000001.jpg 2880'; get that file again"
                ) from error
    raise InputError(
        f"{folder}: names hold no identity and identity_CelebA.txt is not there; "
        "put that file of CelebA beside the pictures"
    )


def folder_pictures(folder: Path, *, identity: str, val_share: float, test_share: float) -> list[Picture]:
    """The pictures of any folder.

    identity: `picture` (every picture another person) or `folder` (the sub-folder names the person).
    Sub-folders called train, val and test are the splits; otherwise, and for a val split that is missing, a hash of
    the identity decides, so that a picture keeps its split when others come or go.

    Raises:
        InputError: a sub-folder has nearly the name of a split, or all pictures are of one person.
    """
    pictures = []
    for path in find_images(folder):
        name = path.relative_to(folder).as_posix()
        top, *below = name.split("/")
        if below and top not in SPLITS and top.casefold() in SPLIT_LIKE:
            raise InputError(f"{folder}: got a folder {top!r}, expected splits called {', '.join(SPLITS)}; rename it")
        rest = "/".join(below) if top in SPLITS and below else name
        # train/1.jpg and test/1.jpg are two pictures, but train/anna and test/anna are one person.
        person = rest.rpartition("/")[0] if identity == "folder" else name.rpartition(".")[0]
        pictures.append(Picture(path, name, person, top if top in SPLITS and below else ""))
    given = {picture.split for picture in pictures} - {""}
    if identity == "folder" and len(pictures) > 1 and len({picture.identity for picture in pictures}) == 1:
        raise InputError(f"--identity folder: {folder}: got one person in all, expected a folder for each")

    def split_of(picture: Picture) -> str:
        share = _share(picture.identity)
        if picture.split == "train" and "val" not in given:
            return "val" if share < val_share else "train"
        if picture.split:
            return picture.split
        return "test" if share < test_share else "val" if share < test_share + val_share else "train"

    return [replace(picture, split=split_of(picture)) for picture in pictures]


def _share(identity: str) -> float:
    """A number in [0, 1) that depends on the identity alone."""
    return int.from_bytes(hashlib.sha256(identity.encode(errors="surrogateescape")).digest()[:8], "big") / 2**64


def split_conflicts(pictures: Sequence[Picture]) -> list[Picture]:
    """Pictures to leave out so that no identity is in two splits: what is held out stays, test before val."""
    held: dict[str, str] = {}
    for split in ("test", "val", "train"):
        for picture in pictures:
            if picture.split == split:
                held.setdefault(picture.identity, split)
    return [picture for picture in pictures if held[picture.identity] != picture.split]
