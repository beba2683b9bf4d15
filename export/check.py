"""The parity check: bundle -> faces -> every precision by every engine at hand -> figures -> gates -> report.

It needs neither torch nor onnx: what PyTorch made is stored in the bundle's parity set. On faces of one's own, ONNX
Runtime in float32 stands for it, after it was held against the parity set in the same run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from rich.console import Console

from ..calibration.drift import (
    SAME_PERSON,
    IdentityDrift,
    IdentityNetwork,
    LandmarkDrift,
    embeddings,
    find_faces,
    identity_drift,
    landmark_drift,
)
from ..runtime.bundle import Bundle, ModelEntry, check_file, default_folder, open_bundle
from ..runtime.detect import Detector
from ..runtime.engines import OPENERS, Engine, open_engine, require_engine
from ..runtime.errors import EngineUnavailableError, FsrError, UsageError
from ..runtime.files import require_writable, write_text
from ..runtime.machine import this_machine
from ..runtime.media.images import find_images, read_image
from ..runtime.pixels import RgbBatch, RgbImage
from ..runtime.runs.progress import progress
from ..train.metrics import protocol_named, ssim_batch
from .check_result import Checked, CheckResult, DetectorRow, Row, Variant, Worst, finite
from .detector_parity import at_sizes, gate_detector, measure_detector
from .parity import GATE_RULES, ParityFaces, ParityFigures, decibel, figures, gate, restore, squared_difference
from .parity_faces import Originals, open_originals, own_faces, spread, stored_faces
from .report import write_report

REFERENCE = "onnxruntime"
"""The engine whose float32 stands for PyTorch once it has proved equal."""

PROTOCOL = "sparnet"
"""Of SSIM; see `train.metrics`. PSNR is that of `parity`, over all colours."""

SSIM_FACES, DRIFT_FACES, IDENTITY_FACES = 32, 64, 16
"""Of each set, spread evenly: enough for a mean, and these cost more than the network itself."""
DETECTOR_PICTURES = 40
WORST_SHOWN = 3


@dataclass(frozen=True)
class CheckConfig:
    """What to check."""

    bundle: Path | None = None
    """None: the default bundle."""
    faces: Path | None = None
    """Folder of pictures or a pack, besides the parity set."""
    count: int = 500
    """Of those, at most."""
    precision: str = "all"
    engine: str = "all"
    models: Sequence[str] = ()
    """All if empty."""
    report: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 2:
            raise UsageError(f"--count: got {self.count}, expected at least 2 faces")
        for flag, path in (("--report", self.report), ("--json", self.json)):
            if path is not None and path.is_dir():
                raise UsageError(f"{flag}: got the folder {path}, expected a file")


def check(config: CheckConfig, console: Console) -> CheckResult:
    """Run the check and write its report and JSON.

    Raises:
        BundleError, InputError, UsageError, EngineUnavailableError: an input is missing, damaged or unfit.
        OutputError: the report cannot be written.
    """
    started = time.perf_counter()
    for path in (config.report, config.json):
        if path is not None:
            require_writable(path.parent)
    bundle = open_bundle(config.bundle or default_folder())
    models = [bundle.model(name) for name in config.models] or bundle.manifest.models
    engines, not_run = engines_here(config.engine)
    precisions = precisions_of(bundle, models, config.precision)
    originals = _originals(config, bundle, models, console)
    tools = Tools(bundle)
    checked: list[Checked] = []
    unproved: list[str] = []
    with progress(console, "models", len(models), "model") as advance:
        for model in models:
            variants = open_variants(bundle, model, precisions, engines, not_run)
            unproved += unrun(model.name, [p for p in precisions if p in model.files], variants)
            checked += check_model(bundle, model, variants, originals, tools)
            advance()
    frames = detector_frames(bundle, config.faces)
    detector = list(check_detector(bundle, precisions, engines, frames, not_run))
    if not any(c.rows for c in checked) and not detector:
        raise EngineUnavailableError("nothing could be checked here: " + "; ".join(not_run))
    result = CheckResult(
        bundle.manifest.name,
        str(bundle.folder),
        this_machine(),
        checked,
        detector,
        not_run,
        unproved,
        notes(bundle, originals, tools),
        time.perf_counter() - started,
        dict(originals.left_out) if originals else {},
    )
    if config.report is not None:
        write_report(config.report, result)
    if config.json is not None:
        write_text(config.json, json.dumps(result.to_json(), indent=1) + "\n")
    return result


def engines_here(wanted: str) -> tuple[list[str], list[str]]:
    """Engines that run here, and why others do not; one asked for by name must.

    Raises:
        EngineUnavailableError: it does not.
    """
    if wanted != "all":
        require_engine(wanted)
        return [wanted], []
    here, missing = [], []
    for name in OPENERS:
        try:
            require_engine(name)
            here.append(name)
        except EngineUnavailableError as error:
            missing.append(f"{name}: {error}")
    return here, missing


def precisions_of(bundle: Bundle, models: Sequence[ModelEntry], wanted: str) -> list[str]:
    """Those of the bundle, or the one asked for.

    Raises:
        UsageError: nothing in the bundle has it.
    """
    files = [bundle.manifest.detector.files, *(model.files for model in models)]
    there = [precision for precision in GATE_RULES if any(precision in by_precision for by_precision in files)]
    if wanted == "all":
        return there
    if wanted not in there:
        raise UsageError(f"--precision: got {wanted}, expected one that {bundle.folder} has: {', '.join(there)}")
    return [wanted]


def _originals(config: CheckConfig, bundle: Bundle, models: Sequence[ModelEntry], console: Console) -> Originals | None:
    if config.faces is None:
        return None
    with progress(console, "finding faces", None, "picture") as advance:
        return open_originals(config.faces, bundle, models, config.count, advance)


def open_variants(
    bundle: Bundle, model: ModelEntry, precisions: Sequence[str], engines: Sequence[str], not_run: list[str]
) -> dict[Variant, Engine]:
    """A model in every precision by every engine; what an engine refuses goes into `not_run`."""
    opened: dict[Variant, Engine] = {}
    for precision in precisions:
        if (entry := model.files.get(precision)) is None:
            continue
        for engine in engines:
            try:
                data = check_file(bundle.folder, entry)
                opened[Variant(precision, engine)] = open_engine(engine, data, precision)
            except EngineUnavailableError as error:
                not_run.append(f"{model.name} {precision} {engine}: {error}")
    return opened


def unrun(model: str, precisions: Sequence[str], variants: Mapping[Variant, Engine]) -> list[str]:
    """Precisions that no engine opened."""
    run = {variant.precision for variant in variants}
    return [f"{model} {precision}" for precision in precisions if precision not in run]


class Tools:
    """The detector and, where it is installed, the identity network that look at restored faces."""

    def __init__(self, bundle: Bundle) -> None:
        self.detector = Detector.open(check_file(bundle.folder, bundle.manifest.detector.files["fp32"]))
        self.identity: IdentityNetwork | None = None
        try:
            self.identity = IdentityNetwork()
            self.identity_note = (
                f"identity: distance of dlib's embeddings, below {SAME_PERSON} one person; {IDENTITY_FACES} faces"
            )
        except EngineUnavailableError as error:
            self.identity_note = f"identity drift was not measured: {error}"


def check_model(
    bundle: Bundle, model: ModelEntry, variants: Mapping[Variant, Engine], originals: Originals | None, tools: Tools
) -> Iterator[Checked]:
    """One model on the parity set, then on faces of one's own if there are any for it."""
    yield check_faces(model, stored_faces(bundle, model), "PyTorch fp32, stored in the bundle", variants, tools)
    if originals is None or (model.framing, model.output_size) not in originals.crops:
        return
    stand_in = variants.get(Variant("fp32", REFERENCE)) or open_engine(
        REFERENCE, check_file(bundle.folder, model.files["fp32"])
    )
    others = {variant: engine for variant, engine in variants.items() if engine is not stand_in}
    faces = own_faces(originals, model, stand_in)
    yield check_faces(model, faces, "ONNX Runtime fp32", others, tools)


def check_faces(
    model: ModelEntry, faces: ParityFaces, reference: str, variants: Mapping[Variant, Engine], tools: Tools
) -> Checked:
    restored = {variant: restore(engine, faces.low) for variant, engine in variants.items()}
    few = spread(len(faces.low), SSIM_FACES)
    looker = Looker(faces, tools)
    measured = {variant: figures(pictures, faces) for variant, pictures in restored.items()}
    rows = [
        Row(
            variant,
            measured[variant],
            mean_psnr(measured[variant].squared_to_high),
            mean_ssim(restored[variant], faces.high, few),
            *looker.drift(restored[variant]),
            gate(measured[variant], variant.precision),
            worst_faces(faces, restored[variant], measured[variant]),
        )
        for variant in variants
    ]
    to_high = squared_difference(faces.reference, faces.high) if faces.high is not None else None
    pictures = {"original": faces.high, reference: faces.reference, **{str(v): r for v, r in restored.items()}}
    return Checked(
        model.name,
        faces.data,
        len(faces.low),
        reference,
        mean_psnr(to_high),
        mean_ssim(faces.reference, faces.high, few),
        len(few),
        rows,
        psnr_between({name: batch for name, batch in pictures.items() if batch is not None}),
    )


def mean_psnr(squared: np.ndarray | None) -> float | None:
    return None if squared is None else finite(float(decibel(squared).mean()))


def mean_ssim(restored: RgbBatch, high: RgbBatch | None, few: Sequence[int]) -> float | None:
    return None if high is None else finite(float(ssim_batch(PROTOCOL, restored[few], high[few]).mean()), 5)


def psnr_between(pictures: Mapping[str, RgbBatch]) -> dict[str, dict[str, float | None]]:
    """dB over all faces' pixels together, of any two; None where they are equal."""
    between: dict[str, dict[str, float | None]] = {name: {} for name in pictures}
    for a, b in combinations(pictures, 2):
        apart = decibel(squared_difference(pictures[a], pictures[b]).mean())
        between[a][b] = between[b][a] = finite(float(apart), 2)
    return between


class Looker:
    """Looks at the reference's faces and the originals once, and at each variant's beside them."""

    def __init__(self, faces: ParityFaces, tools: Tools) -> None:
        self._tools, self._some = tools, spread(len(faces.low), DRIFT_FACES)
        self._found = find_faces(tools.detector, faces.reference[self._some])
        self._before = self._embedded(faces.reference[self._some])
        self._original = None if faces.high is None else self._embedded(faces.high[self._some])

    def drift(self, restored: RgbBatch) -> tuple[LandmarkDrift, IdentityDrift | None]:
        after = restored[self._some]
        landmarks = landmark_drift(self._found, find_faces(self._tools.detector, after))
        embedded = self._embedded(after)
        if self._before is None or embedded is None:
            return landmarks, None
        return landmarks, identity_drift(self._before, embedded, self._original)

    def _embedded(self, pictures: RgbBatch) -> np.ndarray | None:
        """Identities of `IDENTITY_FACES` of the faces looked at; None where there is no network for it."""
        if self._tools.identity is None:
            return None
        few = spread(len(pictures), IDENTITY_FACES)
        return embeddings(self._tools.identity, [self._found[index] for index in few], pictures[few])


def worst_faces(faces: ParityFaces, restored: RgbBatch, measured: ParityFigures) -> list[Worst]:
    """Those that lost most, or differ most where there are no originals."""
    losses = measured.losses
    order = np.argsort(-(measured.squared if losses is None else losses), kind="stable")[:WORST_SHOWN]
    return [
        Worst(
            faces.names[index],
            int(measured.largest[index]),
            None if losses is None else round(float(losses[index]), 4),
            faces.low[index],
            faces.reference[index],
            restored[index],
            None if faces.high is None else faces.high[index],
        )
        for index in map(int, order)
    ]


def detector_frames(bundle: Bundle, folder: Path | None) -> dict[str, list[RgbImage]]:
    """Frames to search: the parity set's sheets at three sizes, and some pictures of one's own."""
    sheets = [read_image(bundle.path(entry)) for entry in bundle.manifest.parity_set.high.values()]
    smallest = min(sheets, key=lambda sheet: sheet.size)
    frames = {"sheets of the parity set": at_sizes(smallest)}
    if folder is not None and folder.is_dir():
        pictures = find_images(folder)
        frames[str(folder)] = list(_readable(pictures[i] for i in spread(len(pictures), DETECTOR_PICTURES)))
    return frames


def _readable(pictures: Iterator[Path]) -> Iterator[RgbImage]:
    for picture in pictures:
        try:
            yield read_image(picture)
        except FsrError:  # counted among those left out
            continue


def check_detector(
    bundle: Bundle,
    precisions: Sequence[str],
    engines: Sequence[str],
    frames: Mapping[str, Sequence[RgbImage]],
    not_run: list[str],
) -> Iterator[DetectorRow]:
    """The detector in every precision by every engine, against ONNX Runtime in float32."""
    files = {p: check_file(bundle.folder, entry) for p, entry in bundle.manifest.detector.files.items()}
    reference = Detector.open(files["fp32"], REFERENCE)
    variants = [Variant(p, engine) for p in files if p in precisions for engine in engines]
    for variant in variants:
        if variant == Variant("fp32", REFERENCE):
            continue
        try:
            other = Detector.open(files[variant.precision], variant.engine, precision=variant.precision)
        except EngineUnavailableError as error:
            not_run.append(f"detector {variant}: {error}")
            continue
        for data, pictures in frames.items():
            measured = measure_detector(reference, other, pictures)
            yield DetectorRow(variant, data, measured, gate_detector(measured))


def notes(bundle: Bundle, originals: Originals | None, tools: Tools) -> list[str]:
    parity = bundle.manifest.parity_set
    said = [
        f"parity set: {parity.faces} faces; {parity.origin} ({parity.licence}); half of the inputs are degraded too",
        f"PSNR over red, green and blue, no border cut; a loss is paired face by face; SSIM of {SSIM_FACES} faces: "
        f"{protocol_named(PROTOCOL).rule}",
        f"points moved: the detector's five, on {DRIFT_FACES} restored faces of each set",
        tools.identity_note,
    ]
    return said if originals is None else [*said, f"{originals.data}: {originals.apart}"]
