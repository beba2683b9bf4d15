"""Prepare: pictures -> faces found and aligned -> duplicates and split conflicts out -> one pack and its report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.table import Table
from rich.text import Text

from ..calibration.crops import outside_share
from ..calibration.duplicates import find_duplicates, fingerprint
from ..calibration.moments import DIGITS, sha256_of
from ..runtime.alive import exit_with_parent
from ..runtime.bundle import default_detector
from ..runtime.detect import Detector
from ..runtime.errors import FsrError, GeometryError, InputError, OutputError, UsageError
from ..runtime.files import require_writable, write_text
from ..runtime.geometry import (
    Landmarks,
    Transform,
    compose,
    crop_from_landmarks,
    framing,
    native_size,
    resize,
    scaling,
    warp,
)
from ..runtime.machine import cores
from ..runtime.media.images import read_image
from ..runtime.pixels import RgbImage
from ..runtime.search import DETECTABLE, FaceSearch, width_of
from .face_prior import face_prior, no_prior
from .faces import Picture, celeba_pictures, folder_pictures, split_conflicts
from .landmarker import KNOWN_SHA256, Landmarker, landmarker_sha256
from .pack import SPLITS, Face, PackInfo, read_prior, write_pack

CELEBA_SIZE_WH = (178, 218)
CELEBA_ROWS = (20, 198)
"""Rows of CelebA's aligned pictures that the published protocol keeps."""


@dataclass(frozen=True)
class PrepareConfig:
    """What to prepare."""

    input: Path
    output: Path
    source: str
    """Name of the collection, kept with every model trained on it."""
    licence: str
    """Licence of the pictures, kept likewise."""
    layout: str = "folder"
    """folder or celeba."""
    framing: str = "runtime"
    size: int = 128
    copies: int = 1
    """Crops of each training face: the first aligned exactly, the others turned, scaled and shifted a little."""
    identity: str = "picture"
    val_share: float = 0.05
    test_share: float = 0.05
    max_upscale: float = 1.35
    """A face is left out if its crop would enlarge the picture by more than this."""
    max_outside: float = 0.15
    """A face is left out if more than this share of its crop lies outside the picture."""
    workers: int = 0
    """Processes; 0 takes one a core."""
    seed: int = 0
    priors: bool = False
    """Also compute facial priors."""
    landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, for priors."""

    def __post_init__(self) -> None:
        framing(self.framing)
        if self.output.suffix != ".safetensors":
            raise UsageError(f"--output: got {self.output}, expected a name that ends in .safetensors")
        if not self.source.strip() or not self.licence.strip():
            raise UsageError("--source, --licence: got an empty text, expected what the pictures are and their licence")
        if self.size < 16 or self.size % 16:
            raise UsageError(f"--size: got {self.size}, expected a multiple of 16, such as 128")
        if self.copies < 1:
            raise UsageError(f"--copies: got {self.copies}, expected at least 1")
        if self.workers < 0:
            raise UsageError(f"--workers: got {self.workers}, expected 0 (one a core) or more")
        if not (self.val_share >= 0 and self.test_share >= 0 and self.val_share + self.test_share < 1):
            raise UsageError(
                f"--val-share, --test-share: got {self.val_share}, {self.test_share}, expected two from 0 on with a "
                "sum below 1"
            )
        if self.priors and self.landmarker is None:
            raise UsageError("--priors: got no --landmarker, expected one naming MediaPipe's face_landmarker.task")
        if self.landmarker is not None and not self.priors:
            raise UsageError("--landmarker: got no --priors; add it, or leave --landmarker out")


@dataclass(frozen=True, eq=False)
class Crop:
    """One crop of a face."""

    pixels: RgbImage
    prior: Mapping[str, NDArray]
    """One face's share of `pack.PRIORS`; empty without --priors."""


@dataclass(frozen=True)
class Report:
    """What came of every picture."""

    pack: PackInfo
    skipped: dict[str, str]
    """Reason by picture name."""


def prepare(config: PrepareConfig, console: Console) -> Report:
    """Make the pack of `config`; raises `InputError` if no face is left."""
    if config.output.exists():
        raise OutputError(f"{config.output}: exists already; choose another --output or remove it")
    pictures = find_pictures(config)
    require_writable(config.output.parent)
    if config.landmarker:
        check_landmarker(config.landmarker, console)
    skipped = {picture.name: "its identity is held out in another split" for picture in split_conflicts(pictures)}
    pictures = [picture for picture in pictures if picture.name not in skipped]
    crops: dict[str, list[Crop]] = {}
    with Progress(*Progress.get_default_columns(), RateColumn(), console=console) as progress:
        task = progress.add_task("faces", total=len(pictures))
        for picture, result in zip(pictures, crop_all(pictures, config), strict=True):
            progress.advance(task)
            if isinstance(result, str):
                skipped[picture.name] = result
            else:
                crops[picture.name] = result
    if not crops:
        write_report(config, dict.fromkeys(SPLITS, 0), skipped, dict.fromkeys(SPLITS, 0))
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(skipped.values()).most_common(3))
        raise InputError(f"{config.input}: no face could be prepared from {len(pictures)} pictures: {reasons}")
    # Held-out faces come first: of two copies the one in training goes.
    order = sorted((p for p in pictures if p.name in crops), key=lambda p: -SPLITS.index(p.split))
    duplicates = find_duplicates(np.stack([fingerprint(crops[picture.name][0].pixels) for picture in order]))
    for copy, original in duplicates.items():
        if config.layout == "celeba" and order[copy].split != "train":
            continue  # published tables are over the whole official split, its few repeated faces included
        skipped[order[copy].name] = f"duplicate of {order[original].name}"
    pack = pack_faces([p for p in pictures if p.name in crops and p.name not in skipped], crops, config)
    reliable = count_reliable(pack)
    write_report(config, {split: pack.count(split) for split in SPLITS}, skipped, reliable)
    if pack.priors:
        from .priors_sheet import save_priors_sheet  # torch, which workers do without

        save_priors_sheet(pack, config.output.with_suffix(".priors.png"))
    console.print(summary(pack, skipped, reliable))
    return Report(pack, skipped)


def check_landmarker(path: Path, console: Console) -> None:
    """Open it once before the work starts; another file than the known one is used, but said."""
    Landmarker.open(path)
    if landmarker_sha256(path) != KNOWN_SHA256:
        console.print(
            f"{path}: not the landmarker this program was measured with (sha256 {KNOWN_SHA256[:8]}...); "
            "look at the sheet of priors"
        )


def count_reliable(pack: PackInfo) -> dict[str, int]:
    """Faces of each split whose priors are relied on; nothing for a pack without priors."""
    return {split: int(read_prior(pack, split, "reliable").sum()) for split in SPLITS} if pack.priors else {}


def write_report(
    config: PrepareConfig, faces: Mapping[str, int], skipped: Mapping[str, str], reliable: Mapping[str, int]
) -> None:
    """How many faces each split has, and why each other picture has none."""
    report = {"faces": faces, "skipped": skipped}
    if config.priors:
        report["reliable priors"] = reliable
    write_text(config.output.with_suffix(".report.json"), json.dumps(report, indent=1) + "\n")


class RateColumn(ProgressColumn):
    """Pictures a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f}/s" if speed else "")


def find_pictures(config: PrepareConfig) -> list[Picture]:
    if config.layout == "celeba":
        return celeba_pictures(config.input)
    return folder_pictures(
        config.input, identity=config.identity, val_share=config.val_share, test_share=config.test_share
    )


def crop_all(pictures: Sequence[Picture], config: PrepareConfig) -> Iterator[list[Crop] | str]:
    """Crops of every picture in order, or the reason why there are none."""
    work = partial(crop_one, config=config)
    workers = config.workers or cores()
    if workers == 1:
        yield from map(work, pictures)
        return
    # spawn: a fork of a process with running threads (progress bar, ONNX Runtime) can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=exit_with_parent) as pool:
        yield from pool.map(work, pictures, chunksize=16)


def crop_one(picture: Picture, config: PrepareConfig) -> list[Crop] | str:
    """The crops of one picture, or why there are none. Runs in a worker process."""
    try:
        image = read_image(picture.path)
        size_wh = (config.size, config.size)
        if config.framing == "celeba178" and config.layout == "celeba":
            crop_from_image, first = celeba_crop(image, config.size)
            landmarks = find_landmarks(image) if config.landmarker else None
        else:
            landmarks = find_landmarks(image)
            if landmarks is None:
                raise InputError("no face found")
            crop_from_image = align(image, landmarks, config)
            first = warp(image, crop_from_image, size_wh)
        jitter = np.random.default_rng([config.seed, *picture.name.encode(errors="surrogateescape")])
        copies = config.copies if picture.split == "train" else 1
        transforms = [shaken(crop_from_image, config.size, jitter) for _ in range(copies - 1)]
        pixels = [first, *(warp(image, transform, size_wh) for transform in transforms)]
        priors = priors_of(image, landmarks, [crop_from_image, *transforms], config)
        return [Crop(*crop) for crop in zip(pixels, priors, strict=True)]
    except FsrError as error:
        path = str(picture.path)  # the report names pictures itself, and counts equal reasons
        return str(error).removeprefix(f"{path}: ").replace(f" {path!r}", "")


def priors_of(
    image: RgbImage, landmarks: Landmarks | None, transforms: Sequence[Transform], config: PrepareConfig
) -> list[dict[str, NDArray]]:
    """The prior in each crop; the mesh is found once, in the picture itself, and moved exactly as its pixels are."""
    if config.landmarker is None:
        return [{} for _ in transforms]
    if landmarks is None:
        return [no_prior(config.size) for _ in transforms]
    prior = face_prior(image, landmarks, _landmarker(config.landmarker))
    return [prior.in_crop(crop_from_image, config.size) for crop_from_image in transforms]


def celeba_crop(image: RgbImage, size: int) -> tuple[Transform, RgbImage]:
    """The published crop of an aligned CelebA picture: rows 20 to 198, resized by antialiased bicubic."""
    height, width = image.shape[:2]
    if (width, height) != CELEBA_SIZE_WH:
        raise InputError(
            f"got {width}x{height} pixels, expected {CELEBA_SIZE_WH[0]}x{CELEBA_SIZE_WH[1]} of img_align_celeba"
        )
    top, bottom = CELEBA_ROWS
    shift_up = np.array([[1, 0, 0], [0, 1, -top]], np.float64)
    return compose(scaling(size / width), shift_up), resize(np.ascontiguousarray(image[top:bottom]), (size, size))


def find_landmarks(image: RgbImage) -> Landmarks | None:
    """The five points of the widest face, None if there is none.

    The picture is searched as it is, which places the points best, and, where it is large, a quarter as large and so
    on, for faces that are too wide for the detector.
    """
    search = _search()
    faces = [seen.face for seen in search.first_look(image) if search.is_face(seen.face)]
    return max(faces, key=width_of).landmarks if faces else None


def align(image: RgbImage, landmarks: Landmarks, config: PrepareConfig) -> Transform:
    """crop_from_image of a face; an error says why it cannot be used."""
    crop_from_image = crop_from_landmarks(landmarks, config.framing, config.size)
    native = native_size(crop_from_image, config.size)
    if native * config.max_upscale < config.size:
        raise GeometryError(f"face too small: its crop has fewer than {config.size / config.max_upscale:.0f} px")
    if outside_share(crop_from_image, config.size, image) > config.max_outside:
        raise GeometryError("face at the border: too much of its crop lies outside the picture")
    return crop_from_image


def shaken(crop_from_image: Transform, size: int, rng: np.random.Generator) -> Transform:
    """The same crop turned by about 4 degrees, scaled by about 5 % and shifted by about 2 % of its side."""
    angle, zoom = rng.normal(0, np.radians(4)), np.exp(rng.normal(0, 0.05))
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    centre = np.full(2, (size - 1) / 2)
    shift = centre - linear @ centre + rng.normal(0, 0.02 * size, 2)
    return compose(np.column_stack([linear, shift]), crop_from_image)


def pack_faces(pictures: Sequence[Picture], crops: dict[str, list[Crop]], config: PrepareConfig) -> PackInfo:
    """Write the pack, split by split, every copy of a face beside the first."""
    pixels, faces, priors = {}, {}, {}
    for split in SPLITS:
        chosen = [picture for picture in pictures if picture.split == split]
        faces[split] = [
            face for p in chosen for face in [Face(p.name, p.identity, sha256_of(p.path)[:DIGITS])] * len(crops[p.name])
        ]
        pixels[split] = np.empty((len(faces[split]), config.size, config.size, 3), np.uint8)
        blank = no_prior(config.size) if config.landmarker else {}
        priors[split] = {name: np.empty((len(faces[split]), *one.shape), one.dtype) for name, one in blank.items()}
        every = (crop for picture in chosen for crop in crops.pop(picture.name))  # popped: memory holds each once
        for index, crop in enumerate(every):
            pixels[split][index] = crop.pixels
            for name, value in crop.prior.items():
                priors[split][name][index] = value
    return write_pack(
        config.output,
        pixels,
        faces,
        framing=config.framing,
        source=config.source,
        licence=config.licence,
        priors=priors if config.landmarker else None,
        landmarker=landmarker_sha256(config.landmarker) if config.landmarker else "",
    )


def summary(pack: PackInfo, skipped: Mapping[str, str], reliable: Mapping[str, int]) -> Table:
    table = Table("what", "pictures", title=str(pack.path))
    for split in SPLITS:
        table.add_row(split, str(pack.count(split)))
    for split, count in reliable.items():
        table.add_row(f"{split}: prior not reliable", str(pack.count(split) - count))
    reasons = Counter(
        reason.split(" of ")[0] if reason.startswith("duplicate") else reason for reason in skipped.values()
    )
    for reason, count in reasons.most_common(12):
        table.add_row(f"skipped: {reason}", str(count))
    return table


@lru_cache(maxsize=1)
def _search() -> FaceSearch:
    return FaceSearch(Detector.open(default_detector()), DETECTABLE)


@lru_cache(maxsize=1)
def _landmarker(path: Path) -> Landmarker:
    return Landmarker.open(path)
