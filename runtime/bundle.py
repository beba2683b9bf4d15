"""Bundles: the hand-over from training to a device, and the only place that knows a manifest's fields.

A bundle is a folder: `manifest.json`, the ONNX files of its models in their precisions, the detector, and a
parity set (faces with what PyTorch made of them). The manifest names each of them with its SHA-256, and nothing of it
is used before that hash holds; the card and its pictures are for people and not named. Engines are never in a bundle:
they are built on the target.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from .errors import BundleError, GeometryError
from .files import write_text
from .geometry import framing
from .strict_json import from_json

MANIFEST = "manifest.json"
CARD = "CARD.md"
"""For people."""
VERSION = 1
"""Raised when a field changes its meaning; an older program refuses a newer manifest."""


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle."""

    file: str
    """Path below the bundle's folder, with forward slashes."""
    sha256: str


@dataclass(frozen=True)
class DetectorEntry:
    """The face detector."""

    name: str
    files: dict[str, FileEntry]
    """By precision: fp32, always, and int8 where that holds its boxes and points."""
    licence: str
    source: str


@dataclass(frozen=True)
class DataEntry:
    """A collection that a model was trained on."""

    source: str
    licence: str
    faces: int
    sha256: str
    """Of the training pixels in their pack."""


@dataclass(frozen=True)
class QualityEntry:
    """A measured quality: mean over `faces` faces of the test split of `data`."""

    data: str
    protocol: str
    faces: int
    psnr: float
    ssim: float
    bicubic_psnr: float
    bicubic_ssim: float


@dataclass(frozen=True)
class ParityEntry:
    """How far one ONNX file is from PyTorch in float32, in grey levels of 255; None where a figure was not measured."""

    precision: str
    data: str
    faces: int
    max_difference: int
    mean_difference: float
    psnr_to_fp32: float | None = None
    """dB over all faces' pixels together; None, too, where no pixel differs."""
    loss_db: float | None = None
    """PSNR against the original faces below that of float32, mean over faces."""
    loss_db_upper: float | None = None
    """Upper end of its paired 95 % interval: the gate of int8."""
    worst_loss_db: float | None = None
    """Of the face that lost most."""


@dataclass(frozen=True)
class ModelEntry:
    """One super-resolution model in its precisions."""

    name: str
    task: str
    """`face-super-resolution`."""
    network: str
    tier: str
    """`S`, `M` or `L`: how much arithmetic it takes; one tier serves all native sizes together."""
    scale: int
    input_size: int
    """Side of the square crops it takes, in pixels."""
    output_size: int
    framing: str
    template: list[list[float]]
    """Where the five landmarks of the mean face lie, as shares of the crop."""
    colour_order: str
    """`rgb`: order of the last axis of uint8 (N, H, W, 3) input and output."""
    value_range: str
    """`uint8`: 0 to 255."""
    files: dict[str, FileEntry]
    """By precision: fp32, fp16, int8."""
    data: list[DataEntry]
    training: str
    """What was trained how long, in a sentence."""
    licence: str
    """What may be done with the weights."""
    multiply_accumulates: int
    """For one face."""
    native_from: float
    """Smallest native crop size in pixels that the model is used for."""
    native_to: float
    """Native crop size from which another model, or none, does better; equal to `native_from` where it is never best.

    Of a bundle made without measuring, each model reaches from the next smaller one's input size to its own.
    """
    quality: list[QualityEntry] = field(default_factory=list)
    parity: list[ParityEntry] = field(default_factory=list)
    native_measured: bool = False
    """Whether the range of native sizes was measured on validation faces."""
    calibration_set: str | None = None
    """Id of the calibration set behind int8."""


@dataclass(frozen=True)
class ParityOutput:
    """What PyTorch made, in float32, of the parity faces for one model."""

    model: str
    low: FileEntry
    restored: FileEntry


@dataclass(frozen=True)
class ParitySet:
    """Faces for checking an engine on its target: square tiles in rows of `columns`, in lossless pictures."""

    faces: int
    columns: int
    origin: str
    licence: str
    high: dict[str, FileEntry]
    """High-resolution faces, by framing and size, such as `runtime-128`."""
    outputs: list[ParityOutput]
    pictures: list[str] = field(default_factory=list)
    """SHA-256 of the pictures that the faces are from."""


@dataclass(frozen=True)
class Manifest:
    """Everything a bundle says of itself."""

    version: int
    name: str
    licence: str
    """Of the bundle as a whole: the narrowest of its parts."""
    created_with: str
    detector: DetectorEntry
    models: list[ModelEntry]
    parity_set: ParitySet

    def file_entries(self) -> list[FileEntry]:
        """Every file of the bundle."""
        models = [entry for model in self.models for entry in model.files.values()]
        parity = [*self.parity_set.high.values()]
        parity += [entry for output in self.parity_set.outputs for entry in (output.low, output.restored)]
        return [*self.detector.files.values(), *models, *parity]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle whose hashes held."""

    folder: Path
    manifest: Manifest

    def path(self, entry: FileEntry) -> Path:
        return self.folder / entry.file

    def model(self, name: str) -> ModelEntry:
        """The model called `name`; `BundleError` names those there are."""
        for model in self.manifest.models:
            if model.name == name:
                return model
        raise BundleError(f"{self.folder}: got model {name!r}, expected one of {', '.join(self.names)}")

    @property
    def names(self) -> list[str]:
        return [model.name for model in self.manifest.models]


def open_bundle(folder: Path) -> Bundle:
    """Open a bundle once its manifest is understood and every hash holds.

    Raises:
        BundleError: no bundle, a newer manifest, unknown or missing fields, a path that leaves the bundle, or a file
            that is missing or differs from its hash.
    """
    manifest = read_manifest(folder)
    for entry in manifest.file_entries():
        check_file(folder, entry)
    return Bundle(folder, manifest)


def read_manifest(folder: Path) -> Manifest:
    """Parse and check `manifest.json`, without its files."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: not a bundle: there is no {MANIFEST}; make one with fsr-export bundle")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not JSON: {error}") from error
    version = data.get("version") if isinstance(data, dict) else None
    if type(version) is not int:  # true is an int too
        raise BundleError(f"{path}: got no version number, expected {VERSION}")
    if version > VERSION:
        raise BundleError(
            f"{path}: got manifest version {version}, this program reads up to {VERSION}; upgrade fsr-edge"
        )
    manifest = from_json(Manifest, data, str(path), BundleError)
    if "fp32" not in manifest.detector.files:
        raise BundleError(
            f"{path}: got a detector in {', '.join(manifest.detector.files) or 'no precision'}, expected fp32"
        )
    for model in manifest.models:
        _check_model(model, str(path))
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_text(folder / MANIFEST, json.dumps(asdict(manifest), indent=1) + "\n")


def file_entry(folder: Path, file: str) -> FileEntry:
    """The entry of a file that lies in `folder` already."""
    return FileEntry(file, hashlib.sha256((folder / file).read_bytes()).hexdigest())


def check_file(folder: Path, entry: FileEntry) -> bytes:
    """Read a file of a bundle and return its bytes if they have the hash that the manifest says."""
    path = folder / entry.file
    # By name alone: an editable install links files from elsewhere, and what a link leads to has its hash checked.
    inside = PurePosixPath(entry.file)
    if inside.is_absolute() or ".." in inside.parts or "\\" in entry.file or ":" in entry.file:
        raise BundleError(
            f"{folder}: manifest names {entry.file!r}, which lies outside the bundle; do not use this bundle"
        )
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have, such as one with a NUL
        raise BundleError(f"{folder}: the manifest names {entry.file!r}, which cannot be read: {error}") from error
    if (got := hashlib.sha256(data).hexdigest()) != entry.sha256:
        raise BundleError(
            f"{path}: got sha256 {got[:12]}..., the manifest says {entry.sha256[:12]}...; get the bundle again"
        )
    return data


def default_folder() -> Path:
    """The bundle inside the installed package."""
    return Path(__file__).parent / "default_bundle"


def default_detector() -> bytes:
    """The default bundle's detector in fp32, its hash checked; the bundle's other files are not read."""
    folder = default_folder()
    return check_file(folder, read_manifest(folder).detector.files["fp32"])


def _check_model(model: ModelEntry, where: str) -> None:
    try:
        template = framing(model.framing).template
    except GeometryError as error:
        raise BundleError(f"{where}: model {model.name!r}: {error}") from error
    if model.template != template.tolist():
        raise BundleError(
            f"{where}: model {model.name!r} was trained with another {model.framing!r} template than this program has; "
            "use the fsr-edge version that made the bundle"
        )
    expected = {"task": "face-super-resolution", "colour_order": "rgb", "value_range": "uint8"}
    for key, value in expected.items():
        if getattr(model, key) != value:
            raise BundleError(f"{where}: model {model.name!r}: got {key} {getattr(model, key)!r}, expected {value!r}")
    if model.output_size != model.input_size * model.scale or not model.files:
        raise BundleError(
            f"{where}: model {model.name!r}: sizes {model.input_size} x {model.scale} -> {model.output_size} "
            "do not agree, or it has no file"
        )
