"""The parity check: bundle -> faces -> every precision by every engine at hand -> figures -> gates -> report.

It needs neither torch nor onnx: what PyTorch made is stored in the bundle's parity set. On faces of one's own, ONNX
Runtime in float32 stands for it, after it was held against the parity set in the same run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..runtime.bundle import Bundle, ModelEntry, check_file, default_folder, open_bundle
from ..runtime.engines import OPENERS, Engine, open_engine, require_engine
from ..runtime.errors import EngineUnavailableError, OutputError, UsageError
from ..runtime.files import require_new_file, write_text
from ..runtime.machine import this_machine
from ..runtime.runs.progress import progress
from ..train.metrics import protocol_named
from .check_detector import check_detector, detector_frames
from .check_faces import DRIFT_FACES, PROTOCOL, SSIM_FACES, Tools, check_model
from .check_result import Checked, CheckResult, Variant
from .known_pictures import known_pictures
from .parity import GATE_RULES
from .parity_faces import Originals, open_originals
from .report import write_report


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

    def require_outputs(self) -> None:
        """Prove that what is to be written can be, and replaces nothing; `OutputError` if not."""
        for option, path in (("--report", self.report), ("--json", self.json)):
            if path is not None:
                require_new_file(path, option)
        if self.report is not None and self.json is not None and self.report.resolve() == self.json.resolve():
            raise OutputError(f"--json: got {self.json}, where --report writes; give it another file")


def check(config: CheckConfig, console: Console) -> CheckResult:
    """Run the check and write its report and JSON.

    Raises:
        BundleError, InputError, UsageError, EngineUnavailableError: an input is missing, damaged or unfit.
        OutputError: the report or JSON exists or cannot be written.
    """
    started = time.perf_counter()
    config.require_outputs()
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
            if originals and (model.framing, model.output_size) not in originals.crops:
                not_run.append(f"{model.name} on {originals.data}: no face of {model.output_size} px there")
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


def notes(bundle: Bundle, originals: Originals | None, tools: Tools) -> list[str]:
    parity, known = bundle.manifest.parity_set, known_pictures(bundle)
    seen = [reason for sha256 in parity.pictures if (reason := known.why(sha256))]
    apart = f"; a picture of it is {seen[0]}" if seen else f"; {known.apart}" if parity.pictures else ""
    said = [
        f"parity set: {parity.faces} faces; {parity.origin} ({parity.licence}); half of the inputs are degraded too"
        f"{apart}",
        f"PSNR over red, green and blue, no border cut; a loss is paired face by face; SSIM of {SSIM_FACES} faces: "
        f"{protocol_named(PROTOCOL).rule}",
        f"points moved: the detector's five, on {DRIFT_FACES} restored faces of each set",
        tools.identity_note,
    ]
    return said if originals is None else [*said, f"{originals.data}: {originals.apart}"]
