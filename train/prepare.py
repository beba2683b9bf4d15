"""Prepare: pictures -> faces found and aligned -> duplicates and split conflicts out -> one pack and its report."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.table import Table
from rich.text import Text

from ..runtime.bundle import default_detector
from ..runtime.detect import Detector
from ..runtime.errors import FsrError, GeometryError, InputError, OutputError, UsageError
from ..runtime.files import require_writable, write_text
from ..runtime.geometry import (
    Transform,
    compose,
    crop_from_landmarks,
    framing,
    invert,
    native_size,
    resize,
    scaling,
    transform_points,
    warp,
)
from ..runtime.media.images import read_image
from ..runtime.pixels import RgbImage
from .duplicates import find_duplicates, fingerprint
from .faces import Picture, celeba_pictures, folder_pictures, split_conflicts
from .pack import SPLITS, Face, PackInfo, write_pack

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
                f"--val-share, --test-share: got {self.val_share}, {self.test_share}, expected a sum below 1"
            )


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
    skipped = {picture.name: "its identity is held out in another split" for picture in split_conflicts(pictures)}
    pictures = [picture for picture in pictures if picture.name not in skipped]
    crops: dict[str, list[RgbImage]] = {}
    with Progress(*Progress.get_default_columns(), RateColumn(), console=console) as progress:
        task = progress.add_task("faces", total=len(pictures))
        for picture, result in zip(pictures, crop_all(pictures, config), strict=True):
            progress.advance(task)
            if isinstance(result, str):
                skipped[picture.name] = result
            else:
                crops[picture.name] = result
    if not crops:
        write_report(config, dict.fromkeys(SPLITS, 0), skipped)
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(skipped.values()).most_common(3))
        raise InputError(f"{config.input}: no face could be prepared from {len(pictures)} pictures: {reasons}")
    # Held-out faces come first: of two copies the one in training goes.
    order = sorted((p for p in pictures if p.name in crops), key=lambda p: -SPLITS.index(p.split))
    duplicates = find_duplicates(np.stack([fingerprint(crops[picture.name][0]) for picture in order]))
    for copy, original in duplicates.items():
        if config.layout == "celeba" and order[copy].split != "train":
            continue  # published tables are over the whole official split, its few repeated faces included
        skipped[order[copy].name] = f"duplicate of {order[original].name}"
    pack = pack_faces([p for p in pictures if p.name in crops and p.name not in skipped], crops, config)
    write_report(config, {split: pack.count(split) for split in SPLITS}, skipped)
    console.print(summary(pack, skipped))
    return Report(pack, skipped)


def write_report(config: PrepareConfig, faces: Mapping[str, int], skipped: Mapping[str, str]) -> None:
    """How many faces each split has, and why each other picture has none."""
    report = {"faces": faces, "skipped": skipped}
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


def crop_all(pictures: Sequence[Picture], config: PrepareConfig) -> Iterator[list[RgbImage] | str]:
    """Crops of every picture in order, or the reason why there are none."""
    work = partial(crop_one, config=config)
    workers = config.workers or os.cpu_count() or 1
    if workers == 1:
        yield from map(work, pictures)
        return
    # spawn: a fork of a process with running threads (progress bar, ONNX Runtime) can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, pictures, chunksize=16)


def crop_one(picture: Picture, config: PrepareConfig) -> list[RgbImage] | str:
    """The crops of one picture, or why there are none. Runs in a worker process."""
    try:
        image = read_image(picture.path)
        size_wh = (config.size, config.size)
        if config.framing == "celeba178" and config.layout == "celeba":
            crop_from_image, first = celeba_crop(image, config.size)
        else:
            crop_from_image = align(image, config)
            first = warp(image, crop_from_image, size_wh)
        jitter = np.random.default_rng([config.seed, *picture.name.encode(errors="surrogateescape")])
        copies = config.copies if picture.split == "train" else 1
        others = [warp(image, shaken(crop_from_image, config.size, jitter), size_wh) for _ in range(copies - 1)]
        return [first, *others]
    except FsrError as error:
        path = str(picture.path)  # the report names pictures itself, and counts equal reasons
        return str(error).removeprefix(f"{path}: ").replace(f" {path!r}", "")


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


def align(image: RgbImage, config: PrepareConfig) -> Transform:
    """crop_from_image of the largest face; an error says why it cannot be used."""
    faces = _detector()(image)
    if not faces:
        raise InputError("no face found")
    face = max(faces, key=lambda face: float(np.prod(face.box_xyxy[2:] - face.box_xyxy[:2])))
    crop_from_image = crop_from_landmarks(face.landmarks, config.framing, config.size)
    native = native_size(crop_from_image, config.size)
    if native * config.max_upscale < config.size:
        raise GeometryError(f"face too small: its crop has fewer than {config.size / config.max_upscale:.0f} px")
    if outside_share(crop_from_image, config.size, image) > config.max_outside:
        raise GeometryError("face at the border: too much of its crop lies outside the picture")
    return crop_from_image


def outside_share(crop_from_image: Transform, size: int, image: RgbImage) -> float:
    """Share of the crop that lies outside the picture, on a 16x16 grid of points."""
    ticks = (np.arange(16) + 0.5) / 16 * size - 0.5
    points = transform_points(invert(crop_from_image), np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2))
    inside = (points > -0.5).all(1) & (points < np.array(image.shape[1::-1]) - 0.5).all(1)
    return float(1 - inside.mean())


def shaken(crop_from_image: Transform, size: int, rng: np.random.Generator) -> Transform:
    """The same crop turned by about 4 degrees, scaled by about 5 % and shifted by about 2 % of its side."""
    angle, zoom = rng.normal(0, np.radians(4)), np.exp(rng.normal(0, 0.05))
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    centre = np.full(2, (size - 1) / 2)
    shift = centre - linear @ centre + rng.normal(0, 0.02 * size, 2)
    return compose(np.column_stack([linear, shift]), crop_from_image)


def pack_faces(pictures: Sequence[Picture], crops: dict[str, list[RgbImage]], config: PrepareConfig) -> PackInfo:
    """Write the pack, split by split, every copy of a face beside the first."""
    pixels, faces = {}, {}
    for split in SPLITS:
        chosen = [picture for picture in pictures if picture.split == split]
        faces[split] = [Face(p.name, p.identity) for p in chosen for _ in crops[p.name]]
        pixels[split] = np.empty((len(faces[split]), config.size, config.size, 3), np.uint8)
        every = (crop for picture in chosen for crop in crops.pop(picture.name))  # popped: memory holds each once
        for index, crop in enumerate(every):
            pixels[split][index] = crop
    return write_pack(
        config.output, pixels, faces, framing=config.framing, source=config.source, licence=config.licence
    )


def summary(pack: PackInfo, skipped: dict[str, str]) -> Table:
    table = Table("what", "pictures", title=str(pack.path))
    for split in SPLITS:
        table.add_row(split, str(pack.count(split)))
    reasons = Counter(
        reason.split(" of ")[0] if reason.startswith("duplicate") else reason for reason in skipped.values()
    )
    for reason, count in reasons.most_common(12):
        table.add_row(f"skipped: {reason}", str(count))
    return table


@lru_cache(maxsize=1)
def _detector() -> Detector:
    return Detector.open(default_detector())
