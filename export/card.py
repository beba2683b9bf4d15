"""The card of a bundle: what its models are, were trained on, reach and cannot do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.bundle import CARD, Manifest, ModelEntry, ParitySet
from ..runtime.files import write_text
from ..runtime.geometry import resize
from ..runtime.media.images import read_image, write_image
from ..runtime.pixels import RgbBatch
from ..runtime.tiles import untile
from ..train.checkpoint import Checkpoint
from ..train.degrade import ROBUST
from ..train.loop import LOG_FILE, read_log
from ..train.pictures import save_training_curve, sheet

SHEET_FACES = (0, 1, 4, 5)
"""Of the parity faces: two of each portrait."""

LIMITS = """
- Detail is invented: what comes out is a plausible face, not evidence of who someone is. Never identify people by it.
- {seen}
- Frontal and half-profile faces aligned by five points; full profiles and hidden faces are outside the training data.
- PSNR and SSIM are means over one test set each; they say little about any one face or group of people.
"""

SEEN_CLEAN = "Trained on faces shrunk by antialiased bicubic alone: noise, compression and blur are taken for detail."
SEEN_ROBUST = (
    "Trained on faces as cameras make them: a little out of focus, noisy, coded as JPEG down to quality 40. Motion "
    "blur, heavier noise and heavier compression are passed on."
)


def write_card(folder: Path, manifest: Manifest, checkpoints: Mapping[Path, Checkpoint]) -> None:
    """Write the card and its pictures: training curves, and public-domain faces before and after.

    checkpoints: of the manifest's models, in their order, by the path that each was read from.
    """
    sections = []
    for model, (path, checkpoint) in zip(manifest.models, checkpoints.items(), strict=True):
        pictures = [f"sheet-{model.name}.png"]
        write_image(folder / pictures[0], _sheet(folder, manifest.parity_set, model))
        log = path.parent / LOG_FILE
        if log.is_file():
            pictures.append(f"training-{model.name}.png")
            save_training_curve(folder / pictures[1], read_log(log))
        sections.append(_section(model, pictures) + commands(checkpoint.training))
    curves = "".join(f"![gain against native size]({path.name})\n" for path in sorted(folder.glob("native_size_*.png")))
    detector = f"{manifest.detector.name}, {manifest.detector.licence}"
    head = f"# Bundle `{manifest.name}`\n\nLicence of the weights: {manifest.licence}. Detector: {detector}. "
    head += f"Made with {manifest.created_with}.\n"
    faces = f"The faces on this page: {manifest.parity_set.origin} ({manifest.parity_set.licence}).\n"
    native = f"\n## Which model serves which size\n\n{_ranges(manifest)}\n{curves}"
    robust = all(checkpoint.training.get("degradation") == ROBUST for checkpoint in checkpoints.values())
    limits = LIMITS.format(seen=SEEN_ROBUST if robust else SEEN_CLEAN)
    write_text(folder / CARD, "\n".join([head, *sections]) + native + f"\n## Limits\n{limits}\n{faces}")


def _section(model: ModelEntry, pictures: Sequence[str]) -> str:
    data = "; ".join(f"{entry.source}, {entry.faces:,} crops ({entry.licence})" for entry in model.data)
    lines = [
        f"## {model.name}: {model.input_size} -> {model.output_size} px, {model.framing} framing",
        "",
        f"- Network: {model.network}, {model.multiply_accumulates / 1e6:.0f} MMACs a face.",
        f"- Trained on: {data}.",
        f"- Training: {model.training}.",
        "",
        *_quality_table(model),
        *(
            f"- ONNX {p.precision} against PyTorch on {p.faces} faces ({p.data}): at most {p.max_difference} "
            f"grey level(s) apart, {p.mean_difference:.5f} on average."
            for p in model.parity
        ),
        "",
        *(
            f"![{'low, bicubic, restored, original' if 'sheet' in name else 'training curve'}]({name})\n"
            for name in pictures
        ),
    ]
    return "\n".join(lines)


def commands(training: Mapping[str, Any]) -> str:
    """The command lines that made a checkpoint, in their order, as a block of code; nothing where none was kept."""
    runs = [training]
    while runs[0].get("init"):
        runs.insert(0, runs[0]["init"])
    if not any(run.get("command") for run in runs):
        return ""
    lines = [line for run in runs for line in _command(run)]
    return "\n".join(["\nMade by", "", "```bash", *lines, "```", ""])


def _command(run: Mapping[str, Any]) -> list[str]:
    """Of one run; one by the clock, with which every machine gets another number of steps, with that number."""
    command = run.get("command")
    if command is None:
        return [f"# {run['faces_seen']:,} faces; the command was not kept"]
    by_the_clock = re.search(r" --minutes [\d.]+", command)
    if by_the_clock is None:
        return [command]
    return [f"# for as many steps on any machine: --steps {run['steps']} in place of{by_the_clock[0]}", command]


def _quality_table(model: ModelEntry) -> list[str]:
    if not model.quality:
        return ["Quality was not measured.", ""]
    rows = [
        f"| {q.data} | {q.faces} | {q.protocol} | {q.bicubic_psnr:.2f} / {q.bicubic_ssim:.4f} "
        f"| {q.psnr:.2f} / {q.ssim:.4f} | {q.psnr - q.bicubic_psnr:+.2f} |"
        for q in model.quality
    ]
    return [
        "| data | faces | protocol | bicubic PSNR / SSIM | model PSNR / SSIM | gain dB |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _ranges(manifest: Manifest) -> str:
    lines = [
        f"- `{m.name}`: native crops of {m.native_from:g} to {m.native_to:g} px"
        if m.native_to
        else f"- `{m.name}`: at no native size the best choice"
        for m in manifest.models
    ]
    if all(model.native_measured for model in manifest.models):
        lines.append(
            "- Larger faces are left as they are: on the validation faces no model gains 0.1 dB there without leaving "
            "more than one in twenty worse."
        )
    else:
        lines.append("- Not measured: each model is used up to its input size.")
    return "\n".join(lines) + "\n"


def _sheet(folder: Path, parity: ParitySet, model: ModelEntry) -> np.ndarray:
    """Low | bicubic | restored | original, of a few parity faces."""
    output = next(output for output in parity.outputs if output.model == model.name)
    high_entry = parity.high[f"{model.framing}-{model.output_size}"]

    def some(file: str) -> RgbBatch:
        return untile(read_image(folder / file), parity.faces, parity.columns)[list(SHEET_FACES)]

    low, restored, high = some(output.low.file), some(output.restored.file), some(high_entry.file)
    bicubic = np.stack([resize(face, (model.output_size, model.output_size)) for face in low])
    return sheet([low, bicubic, restored, high])
