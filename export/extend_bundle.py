"""A bundle with one more precision: a copy of it, the new files, their entries in the manifest, lines on the card."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..runtime.bundle import CARD, Bundle, Manifest, ModelEntry, ParityEntry, file_entry, write_manifest
from ..runtime.errors import UsageError
from ..runtime.files import new_folder, write_bytes, write_text
from .parity import GATE_RULES

DETECTOR = "detector"
"""What the command line calls the detector, beside the models' names."""


@dataclass(frozen=True)
class Reduced:
    """One model, or the detector, in another precision, that passed its gate."""

    name: str
    data: bytes
    figures: str
    """For the card, in words."""
    parity: Sequence[ParityEntry] = ()


@contextmanager
def copied(bundle: Bundle, output: Path) -> Iterator[Path]:
    """Yield a copy of the bundle's folder that becomes `output`, whole or not at all."""
    with new_folder(output) as folder:
        shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)  # of a link the file: an editable install has links
        yield folder


def chosen_parts(bundle: Bundle, names: Sequence[str], precision: str) -> tuple[list[ModelEntry], bool]:
    """The models of those names, and whether the detector is among them; everything if none is given.

    Raises:
        BundleError, UsageError: as of `chosen_models`, of the detector too.
    """
    of_models = [name for name in names if name != DETECTOR]
    models = chosen_models(bundle, of_models, precision) if of_models or not names else []
    with_detector = not names or DETECTOR in names
    if with_detector and precision in bundle.manifest.detector.files:
        raise UsageError(f"{bundle.folder}: the detector has {precision} already; start from a bundle without it")
    return models, with_detector


def chosen_models(bundle: Bundle, names: Sequence[str], precision: str) -> list[ModelEntry]:
    """The models of those names, all if none is given.

    Raises:
        BundleError: no model of a name.
        UsageError: one lacks fp32, or has that precision already.
    """
    models = [bundle.model(name) for name in names] or bundle.manifest.models
    for model in models:
        if precision in model.files:
            raise UsageError(f"{bundle.folder}: {model.name} has {precision} already; start from a bundle without it")
        if "fp32" not in model.files:
            raise UsageError(f"{bundle.folder}: {model.name} has no fp32 to start from, only {', '.join(model.files)}")
    return models


def add_precision(
    folder: Path, manifest: Manifest, precision: str, reduced: Sequence[Reduced], calibration_set: str | None = None
) -> Manifest:
    """Write the files into `folder` and the manifest that names them."""
    by_name = {item.name: item for item in reduced}
    for item in reduced:
        write_bytes(folder / _file(item.name, precision), item.data)

    def extended(model: ModelEntry) -> ModelEntry:
        if (item := by_name.get(model.name)) is None:
            return model
        return replace(
            model,
            files={**model.files, precision: file_entry(folder, _file(model.name, precision))},
            parity=[*model.parity, *item.parity],
            calibration_set=calibration_set or model.calibration_set,
        )

    detector = manifest.detector
    if DETECTOR in by_name:
        files: Mapping[str, object] = {precision: file_entry(folder, _file(DETECTOR, precision))}
        detector = replace(detector, files={**detector.files, **files})
    changed = replace(manifest, models=[extended(model) for model in manifest.models], detector=detector)
    write_manifest(folder, changed)
    return changed


def _file(name: str, precision: str) -> str:
    return f"{name}.{precision}.onnx"


def add_to_card(folder: Path, precision: str, reduced: Sequence[Reduced], note: str = "") -> None:
    """A section at the card's end: what each file is, and what it has to hold."""
    card = folder / CARD
    text = card.read_text(encoding="utf-8").rstrip() + "\n\n" if card.is_file() else ""
    lines = [f"- `{item.name}`: {item.figures}" for item in reduced]
    text += (
        f"## {precision.upper()}\n\nGate of the models: {GATE_RULES[precision]}.{note}\n\n" + "\n".join(lines) + "\n"
    )
    write_text(card, text)
