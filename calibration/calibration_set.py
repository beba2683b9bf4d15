"""Calibration sets: faces and detector frames that int8 ranges are measured on, with all that is known of them.

A set is a folder: `set.json`, the faces at every input size of a bundle as `faces-SIZE.npy`, the detector's frames as
`frames.npy`, and a contact sheet for people. `set.json` names each with its SHA-256, and nothing is used before that
holds. It goes into the bundle that was calibrated, as `calibration.json`; the pictures do not.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.errors import CalibrationError
from ..runtime.files import new_folder, write_bytes, write_text
from ..runtime.media.images import write_image
from ..runtime.pixels import RgbBatch, RgbImage
from ..runtime.strict_json import from_json
from .coverage import Histogram

DESCRIPTION = "set.json"
FRAMES, SHEET = "frames.npy", "sheet.png"
VERSION = 1
"""Raised when a field changes its meaning; an older program refuses a newer set."""
MINIMUM, ADVISED = 200, 500
"""Faces: ranges of fewer than the first are luck; NVIDIA advises the second or more."""


@dataclass(frozen=True)
class SourceEntry:
    """A picture or video that something of the set is from."""

    name: str
    """Below the folder that it was found in, with forward slashes."""
    sha256: str
    faces: int
    """Of the set."""


@dataclass(frozen=True)
class Description:
    """Everything a set says of itself."""

    version: int
    id: str
    """The first half of the SHA-256 of all the rest."""
    created_with: str
    bundle: str
    """Name of the bundle whose detector found the faces and whose input sizes they have."""
    detector_sha256: str
    framing: str
    seed: int
    source: str
    """What the pictures are, in the words of whoever collected them."""
    licence: str
    """Of the pictures, likewise."""
    faces: int
    frames: int
    counts: dict[str, int]
    """What was looked at on the way: pictures, faces found, and all that was left out, by reason."""
    coverage: list[Histogram]
    sources: list[SourceEntry]
    files: dict[str, str]
    """SHA-256 by file name."""

    @property
    def input_sizes(self) -> list[int]:
        """Of the models that the set can calibrate."""
        named = (name.removeprefix("faces-").removesuffix(".npy") for name in self.files if name.startswith("faces-"))
        return sorted(int(size) for size in named if size.isdecimal())

    @property
    def warning(self) -> str | None:
        """What to mind when it is used."""
        if self.faces < ADVISED:
            return f"got {self.faces} faces, {ADVISED} or more are advised; collect from more pictures"
        return None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """An opened set whose hashes held."""

    folder: Path
    description: Description

    @property
    def id(self) -> str:
        return self.description.id

    def faces(self, input_size: int) -> RgbBatch:
        """uint8 (N, input_size, input_size, 3) RGB, the same faces in the same order at every size.

        Raises:
            CalibrationError: the set has none of that size, or the file has changed since.
        """
        if input_size not in (known := self.description.input_sizes):
            raise CalibrationError(
                f"{self.folder}: got no faces of {input_size} px, expected one of {', '.join(map(str, known))}; "
                "collect a set with the --bundle that it is for"
            )
        return self._load(faces_file(input_size), (self.description.faces, input_size, input_size, 3))

    def frames(self) -> RgbBatch:
        """uint8 (N, H, W, 3) RGB, as the search hands them to the detector; sides are multiples of 32.

        Raises:
            CalibrationError: the file has changed since the set was opened.
        """
        return self._load(FRAMES, (self.description.frames, None, None, 3))

    def require_framing(self, framing: str) -> None:
        """Refuse, by `CalibrationError`, models whose crops frame a face otherwise."""
        if framing != self.description.framing:
            raise CalibrationError(
                f"{self.folder}: got faces in {self.description.framing} framing, expected {framing}; "
                "collect a set with the --bundle that it is for"
            )

    def _load(self, file: str, shape: tuple[int | None, ...]) -> RgbBatch:
        data = checked_bytes(self.folder, file, self.description.files[file])
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise CalibrationError(f"{self.folder / file}: is no array: {error}; collect the set again") from error
        fits = isinstance(array, np.ndarray) and len(array.shape) == len(shape) and array.dtype == np.uint8
        if not fits or any(want not in (None, got) for got, want in zip(array.shape, shape, strict=True)):
            raise CalibrationError(
                f"{self.folder / file}: got {array.dtype} {array.shape}, expected uint8 {shape}; collect the set again"
            )
        return array


def open_set(folder: Path) -> CalibrationSet:
    """Open a set once its description is understood and every hash holds.

    Raises:
        CalibrationError: no set, a newer one, one changed by hand, damaged files, or too few faces.
    """
    description = read_description(folder / DESCRIPTION)
    for file in {*map(faces_file, description.input_sizes), FRAMES, SHEET} | set(description.files):
        if (sha256 := description.files.get(file)) is None:
            raise CalibrationError(f"{folder / DESCRIPTION}: does not name {file}; collect the set again")
        checked_bytes(folder, file, sha256)
    require_enough(description.faces, str(folder))
    if not description.input_sizes:
        raise CalibrationError(f"{folder / DESCRIPTION}: names no faces; collect the set again")
    return CalibrationSet(folder, description)


def read_description(path: Path) -> Description:
    """Parse and check `set.json`, or the copy of it in a bundle.

    Raises:
        CalibrationError: missing, not JSON, newer than this program, unknown or missing fields, or another id than
            its content's.
    """
    if not path.is_file():
        raise CalibrationError(
            f"{path.parent}: not a calibration set: there is no {path.name}; make one with fsr-calibrate collect"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CalibrationError(f"{path}: not JSON: {error}; collect the set again") from error
    version = data.get("version") if isinstance(data, dict) else None
    if type(version) is not int or version > VERSION:
        got = f"version {version}" if type(version) is int else "no version number"
        raise CalibrationError(f"{path}: got {got}, this program reads {VERSION}; upgrade fsr-edge or collect again")
    description = from_json(Description, data, str(path), CalibrationError)
    if description.id != id_of(description):
        raise CalibrationError(f"{path}: was changed after it was made: its id does not hold; collect the set again")
    return description


def write_set(
    output: Path, draft: Description, faces: Mapping[int, RgbBatch], frames: RgbBatch, sheet: RgbImage
) -> CalibrationSet:
    """Write a set, whole or not at all; `draft` lacks its id and files.

    faces: by input size, uint8 (N, size, size, 3).

    Raises:
        CalibrationError: too few faces.
        OutputError: the output exists or cannot be written.
    """
    require_enough(draft.faces, str(output))
    with new_folder(output) as folder:
        for file, array in {**{faces_file(size): batch for size, batch in faces.items()}, FRAMES: frames}.items():
            write_bytes(folder / file, npy_bytes(array))
        write_image(folder / SHEET, sheet)
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
        described = replace(draft, files=files)
        write_text(folder / DESCRIPTION, replace(described, id=id_of(described)).to_json())
    return open_set(output)


def require_enough(faces: int, where: str) -> None:
    """Refuse, by `CalibrationError`, a set of too few faces."""
    if faces < MINIMUM:
        raise CalibrationError(
            f"{where}: got {faces} different faces, expected at least {MINIMUM}, better {ADVISED}; "
            "give more pictures with --input"
        )


def id_of(description: Description) -> str:
    """Of everything in the description but the id itself."""
    fields: dict[str, Any] = {**asdict(description), "id": ""}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]


def faces_file(input_size: int) -> str:
    return f"faces-{input_size}.npy"


def npy_bytes(array: RgbBatch) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def checked_bytes(folder: Path, file: str, sha256: str) -> bytes:
    """The bytes of one file of a set if they have the hash that its description says; else `CalibrationError`."""
    if Path(file).name != file or "\\" in file or ":" in file:
        raise CalibrationError(f"{folder}: names {file!r}, which lies outside the set; do not use this set")
    try:
        data = (folder / file).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise CalibrationError(f"{folder}: names {file!r}, which cannot be read: {reason}") from error
    if (got := hashlib.sha256(data).hexdigest()) != sha256:
        raise CalibrationError(
            f"{folder / file}: got sha256 {got[:12]}..., {DESCRIPTION} says {sha256[:12]}...; collect the set again"
        )
    return data
