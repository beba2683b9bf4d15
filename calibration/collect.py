"""Collect a calibration set: find -> look -> duplicates out -> choose -> cut -> describe -> write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from ..runtime.bundle import Bundle, default_folder, open_bundle
from ..runtime.detect import Detector
from ..runtime.engines import Network, open_network
from ..runtime.errors import CalibrationError, OutputError, UsageError
from ..runtime.files import require_writable
from ..runtime.machine import cores
from ..runtime.pixels import RgbBatch
from ..runtime.runs.failure import reason
from ..runtime.runs.ordered import ordered_map
from ..runtime.runs.progress import progress
from ..runtime.search import FaceSearch
from .calibration_set import (
    MINIMUM,
    VERSION,
    CalibrationSet,
    Description,
    SourceEntry,
    require_enough,
    write_set,
)
from .coverage import coverage
from .crops import native_ranges
from .cut import Cut, Pieces, tasks
from .detector_frames import COUNT, MIN_FACE, group_views
from .duplicates import find_duplicates
from .look import Candidate, Look
from .moments import find_files, hashed, moments, thinned
from .select import choose, features
from .sheet import make_sheet

LOOKED_AT = 20
"""Pictures looked at, at most, for each face asked for: the faces of more would hardly cover more."""


@dataclass(frozen=True)
class CollectConfig:
    """What to collect."""

    inputs: Sequence[Path]
    """Folders of pictures, pictures and videos."""
    output: Path
    count: int = 1000
    bundle: Path | None = None
    """Whose detector, input sizes and framing; None is the default bundle."""
    seed: int = 0
    source: str = "not stated"
    licence: str = "not stated"
    workers: int = 0
    """Threads; 0 takes one a core. The set does not depend on them."""

    def __post_init__(self) -> None:
        if self.count < MINIMUM:
            raise UsageError(f"--count: got {self.count}, expected at least {MINIMUM}, better 500 or more")
        if self.seed < 0:
            raise UsageError(f"--seed: got {self.seed}, expected 0 or more")
        if self.workers < 0:
            raise UsageError(f"--workers: got {self.workers}, expected 0 (one a core) or more")

    @property
    def threads(self) -> int:
        return self.workers or cores()


@dataclass
class Found:
    """What looking at everything gave."""

    candidates: list[Candidate] = field(default_factory=list)
    faceless: list[str] = field(default_factory=list)
    """Names of pictures and seconds of videos without a face that could be used."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by path."""
    counts: Counter[str] = field(default_factory=Counter)

    def fail(self, path: Path, error: Exception) -> None:
        self.failed[str(path)] = reason(str(path), error)


@dataclass(frozen=True, eq=False)
class Report:
    """The set and what was left out on the way."""

    collected: CalibrationSet
    found: Found


def collect(config: CollectConfig, console: Console) -> Report:
    """Make the set of `config`, whole or not at all; the same files and seed give the same bytes.

    Raises:
        CalibrationError: too few different faces.
        OutputError: the output exists or cannot be written.
        InputError, UsageError, BundleError: an input or the bundle is missing or unfit.
    """
    if config.output.exists():
        raise OutputError(f"{config.output}: exists already; choose another --output or remove it")
    bundle = open_bundle(config.bundle or default_folder())
    framing = framing_of(bundle)
    files = find_files(config.inputs, config.output)
    require_writable(config.output.parent)
    network = open_network("onnxruntime", bundle.path(bundle.manifest.detector.files["fp32"]))
    cv2.setNumThreads(1)  # the workers are the threads
    found = look_at(thinned(files, LOOKED_AT * config.count, config.seed), network, bundle, config, console)
    different = without_duplicates(found)
    require_enough(len(different), f"{config.output}: of {counted({'files': len(files), **found.counts})}")
    points = features([face.measures for face in different])
    chosen = [different[i] for i in choose(points, [f.moment.key for f in different], config.count, config.seed)]
    require_enough(len(chosen), str(config.output))
    faces, frames = cut_out(
        chosen, Cut(network, framing, native_ranges(bundle.manifest.models), config.seed), config, console
    )
    draft = Description(
        version=VERSION,
        id="",
        created_with=f"fsr-edge {version('fsr-edge')}",
        bundle=bundle.manifest.name,
        detector_sha256=bundle.manifest.detector.files["fp32"].sha256,
        framing=framing,
        seed=config.seed,
        source=config.source,
        licence=config.licence,
        faces=len(chosen),
        frames=len(frames),
        counts={"files": len(files), **found.counts},
        coverage=coverage([f.measures for f in chosen], [f.measures for f in different]),
        sources=sources_of(chosen),
        files={},
    )
    return Report(write_set(config.output, draft, faces, frames, make_sheet(faces[max(faces)], frames)), found)


def counted(counts: Mapping[str, int]) -> str:
    """What came of the files, in a sentence."""
    n = {name: counts.get(name, 0) for name in (*counts, "moments", "faces", "unfit", "repeated")}
    return (
        f"{n['faces']} faces in {n['moments']} pictures and frames of {n['files']} files: {n['repeated']} repeated, "
        f"{n['unfit']} unfit (unreliable, too small, or reaching beyond the picture)"
    )


def framing_of(bundle: Bundle) -> str:
    """The framing of every model of the bundle."""
    if len(framings := sorted({model.framing for model in bundle.manifest.models})) != 1:
        raise CalibrationError(
            f"{bundle.folder}: got models in {' and '.join(framings) or 'no'} framing, expected one framing a bundle"
        )
    return framings[0]


def look_at(
    files: Sequence[tuple[Path, str]], network: Network, bundle: Bundle, config: CollectConfig, console: Console
) -> Found:
    """Every usable face of the files, in their order."""
    found, models = Found(), bundle.manifest.models
    smallest = min((m.native_from for m in models if m.native_to > m.native_from), default=0.0)
    look = Look(FaceSearch(Detector(network), MIN_FACE), models, smallest)
    every = moments(hashed(files, found.fail), found.fail)
    with (
        progress(console, "looking", len(files), "picture") as advance,
        closing(ordered_map(look, every, config.threads)) as looked,
    ):
        for seen in looked:
            advance()
            found.candidates += seen.faces
            found.counts.update(moments=1, faces=len(seen.faces) + seen.unfit, unfit=seen.unfit)
            if seen.error is not None:
                found.failed[str(seen.moment.source.path)] = seen.error
            elif not seen.faces:
                found.faceless.append(seen.moment.name)
    found.counts.update(unreadable=len(found.failed), without_face=len(found.faceless))
    return found


def without_duplicates(found: Found) -> list[Candidate]:
    """The faces that repeat no earlier one, re-encoded or resized."""
    if not found.candidates:
        return []
    repeated = find_duplicates(np.stack([face.fingerprint for face in found.candidates]))
    found.counts.update(repeated=len(repeated))
    return [face for index, face in enumerate(found.candidates) if index not in repeated]


def cut_out(
    chosen: Sequence[Candidate], cut: Cut, config: CollectConfig, console: Console
) -> tuple[Mapping[int, RgbBatch], RgbBatch]:
    """Faces by input size, in the order of `chosen`, and the detector's frames."""
    with (
        progress(console, "cutting", None, "picture") as advance,
        closing(ordered_map(cut, tasks(chosen, COUNT // 2), config.threads)) as made,
    ):
        pieces: list[Pieces] = []
        for piece in made:
            advance()
            pieces.append(piece)
    crops = {rank: crop for piece in pieces for rank, crop in piece.crops.items()}
    portraits = {rank: picture for piece in pieces for rank, picture in piece.portraits.items()}
    ranks = range(len(chosen))
    faces = {size: np.stack([crops[rank][size] for rank in ranks]) for size in cut.ranges}
    views = [piece.view for piece in sorted(pieces, key=lambda piece: piece.rank) if piece.view is not None]
    groups = group_views(cut.network, [portraits[rank] for rank in ranks], COUNT // 2, config.seed)
    return faces, np.stack([*views, *groups])


def sources_of(chosen: Sequence[Candidate]) -> list[SourceEntry]:
    """By name, each file once."""
    faces = Counter((face.moment.source.name, face.moment.source.sha256) for face in chosen)
    return [SourceEntry(name, sha256, count) for (name, sha256), count in sorted(faces.items())]
