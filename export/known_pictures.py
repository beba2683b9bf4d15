"""Pictures that a bundle has seen before, by their SHA-256: those its models learned from, and those behind its int8.

Nothing may be judged on them. `calibration.json` describes the calibration set, `training.json` the training pictures;
a bundle keeps neither of the pictures themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..calibration.calibration_set import read_description
from ..calibration.moments import DIGITS
from ..runtime.bundle import Bundle
from ..runtime.errors import BundleError
from ..runtime.files import write_text
from ..runtime.strict_json import from_json

CALIBRATION, TRAINING = "calibration.json", "training.json"
VERSION = 1
"""Of `training.json`; raised when a field changes its meaning."""

IN_CALIBRATION, IN_TRAINING = "in the calibration set", "in the training data"


@dataclass(frozen=True)
class TrainingPictures:
    """What `training.json` holds."""

    version: int
    digits: int
    """Of each SHA-256."""
    sources: dict[str, list[str]]
    """Of every picture that one of the models, or a model that it started from or was taught by, learned from."""
    unknown: list[str]
    """Sources of data whose packs kept no hashes."""

    @property
    def pictures(self) -> frozenset[str]:
        return frozenset(sha256 for some in self.sources.values() for sha256 in some)


@dataclass(frozen=True)
class KnownPictures:
    """The first `DIGITS` of the SHA-256 of what a bundle has seen; None where it does not say."""

    calibration: frozenset[str] | None = None
    """Of every picture and video behind int8."""
    training: frozenset[str] | None = None
    """Of every training picture."""
    unknown: tuple[str, ...] = ()
    """Sources of training pictures that are not among those."""

    def why(self, sha256: str | None) -> str | None:
        """Why nothing may be judged on a picture of that SHA-256, or the first of it; None where it may."""
        first = (sha256 or "")[:DIGITS]
        if first in (self.training or ()):
            return IN_TRAINING
        return IN_CALIBRATION if first in (self.calibration or ()) else None

    @property
    def apart(self) -> str:
        """From what others are apart once those with a reason are left out, in a sentence."""
        both = {"calibration": self.calibration, "training": self.training}
        named = [f"{len(some):,} {what} pictures" for what, some in both.items() if some is not None]
        unnamed = [f"it names no {what} pictures" for what, some in both.items() if some is None]
        unnamed += [f"training pictures of {source} are not known" for source in self.unknown]
        return "; ".join([f"apart from the bundle's {' and '.join(named)} by SHA-256"] * bool(named) + unnamed)


def known_pictures(bundle: Bundle) -> KnownPictures:
    """What lies beside the manifest.

    Raises:
        CalibrationError, BundleError: a description is damaged.
    """
    set_path, training_path = bundle.folder / CALIBRATION, bundle.folder / TRAINING
    calibration = training = None
    unknown: list[str] = []
    if set_path.is_file():
        calibration = frozenset(source.sha256[:DIGITS] for source in read_description(set_path).sources)
    if training_path.exists():
        read = read_training(training_path)
        training, unknown = read.pictures, read.unknown
    return KnownPictures(calibration, training, tuple(unknown))


def read_training(path: Path) -> TrainingPictures:
    """Read `training.json`.

    Raises:
        BundleError: damaged, or of another version.
    """
    try:
        read = from_json(TrainingPictures, json.loads(path.read_text(encoding="utf-8")), str(path), BundleError)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read: {error}; get the bundle again") from error
    if (read.version, read.digits) != (VERSION, DIGITS):
        raise BundleError(
            f"{path}: got version {read.version} with {read.digits} digits, expected {VERSION} with {DIGITS}; upgrade "
            "fsr-edge"
        )
    return read


def training_pictures(data: Iterable[Mapping[str, Any]]) -> TrainingPictures:
    """Of the data that checkpoints learned from; see `train.checkpoint.data_behind`."""
    sources: dict[str, set[str]] = {}
    unknown: dict[str, None] = {}
    for entry in data:
        if pictures := entry.get("pictures"):
            sources.setdefault(entry["source"], set()).update(pictures)
        else:
            unknown[entry["source"]] = None
    return TrainingPictures(VERSION, DIGITS, {name: sorted(some) for name, some in sources.items()}, list(unknown))


def write_training(folder: Path, pictures: TrainingPictures) -> None:
    """Write `training.json` into a bundle's folder."""
    write_text(folder / TRAINING, json.dumps(asdict(pictures), indent=1) + "\n")
