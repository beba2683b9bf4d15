"""fsr-train: from folders of pictures to trained, evaluated networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..runtime.command_line import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fsr-edge")
def main() -> None:
    """Train face super-resolution networks.

    \b
    prepare    pictures -> one pack of aligned faces
    edge       a pack -> an edge student
    evaluate   checkpoints, bundles and bicubic by the field's protocols
    """


@main.command()
@click.option("-i", "--input", type=click.Path(path_type=Path), required=True, help="Folder of pictures.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Pack to write (.safetensors).")
@click.option("--source", required=True, help="Name of the collection; kept with every model trained on it.")
@click.option("--licence", required=True, help="Licence of the pictures; kept likewise.")
@click.option(
    "--layout",
    type=click.Choice(["folder", "celeba"]),
    default="folder",
    show_default=True,
    help="folder: any pictures, one face each. celeba: img_align_celeba with its official splits.",
)
@click.option(
    "--framing",
    type=click.Choice(["runtime", "celeba178"]),
    default="runtime",
    show_default=True,
    help="runtime: aligned by five points, for deployment. celeba178: the crop of published tables.",
)
@click.option("--size", default=128, show_default=True, help="Side of the crops in pixels.")
@click.option("--copies", default=1, show_default=True, help="Crops of each training face, all but the first shaken.")
@click.option(
    "--identity",
    type=click.Choice(["picture", "folder"]),
    default="picture",
    show_default=True,
    help="Who is who in --layout folder: every picture another person, or every sub-folder.",
)
@click.option("--val-share", default=0.05, show_default=True, help="Share of identities held out for validation.")
@click.option("--test-share", default=0.05, show_default=True, help="Share of identities held out for testing.")
@click.option("--workers", default=0, help="Processes; 0 takes one a core.")
def prepare(**options: Any) -> None:
    """Find, align and pack the faces of a folder.

    Pictures that cannot be read, hold no face, or show the same face again are skipped; OUTPUT.report.json names each
    with the reason. Sub-folders called train, val and test are taken as the splits.
    """
    from rich.console import Console

    from .prepare import PrepareConfig
    from .prepare import prepare as run

    run(PrepareConfig(**options), Console(stderr=True))


@main.command()
@click.option(
    "-p",
    "--pack",
    "packs",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Pack made by prepare; may be given several times.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the run.")
@click.option("--tier", default="M", show_default=True, help="S, M or L: about 33, 180 or 435 MMACs a face.")
@click.option("--input-size", default=32, show_default=True, help="Side of the low-resolution crop in pixels.")
@click.option("--scale", default=4, show_default=True, help="Magnification.")
@click.option("--minutes", type=float, help="Train this long; the learning rate is annealed to it.")
@click.option("--steps", type=int, help="Train exactly this many steps, repeatable to the bit.")
@click.option("--batch", default=32, show_default=True, help="Faces a step.")
@click.option("--lr", default=2e-3, show_default=True, help="Highest learning rate.")
@click.option(
    "--native-span",
    default=1.0,
    show_default=True,
    help="Train on faces seen at the input size divided and multiplied by up to this. 1: exactly the input size, "
    "as tables are made; 1.5: what a camera sees.",
)
@click.option(
    "--loss",
    type=click.Choice(["l1", "psnr"]),
    default="l1",
    show_default=True,
    help="psnr: the mean of the faces' dB, which tables are ranked by.",
)
@click.option(
    "--positions",
    is_flag=True,
    help="Learn a value for every place of the aligned face; costs no arithmetic. --init may lack them.",
)
@click.option("--init", type=click.Path(path_type=Path), help="Checkpoint of the same network to start from.")
@click.option("--resume", is_flag=True, help="Go on with the run in --output.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "fp32"]),
    default="auto",
    show_default=True,
    help="auto: bf16 where the processor multiplies it.",
)
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads; by default one a core.")
@click.option("--seed", default=0, show_default=True)
def edge(
    packs: tuple[Path, ...], output: Path, tier: str, input_size: int, scale: int, minutes: float | None,
    steps: int | None, batch: int, lr: float, loss: str, native_span: float, positions: bool, init: Path | None,
    resume: bool, precision: str, threads: int | None, seed: int,
) -> None:  # fmt: skip
    """Train an edge student.

    OUTPUT receives model.safetensors (averaged weights), log.csv, curve.png, samples.png (low | bicubic | restored |
    original) and state.safetensors, from which --resume goes on after a kill.

    \b
    fsr-train edge -p faces.safetensors --tier L --minutes 60 -o runs/edge-L
    """
    import torch

    from .loop import LoopConfig
    from .networks.edge import EdgeConfig
    from .recipes.edge import EdgeRecipe, train_edge

    if threads is not None:
        torch.set_num_threads(max(1, threads))
    loop = LoopConfig(minutes=minutes, steps=steps, learning_rate=lr, precision=precision, seed=seed)
    network = EdgeConfig(tier, input_size, scale, positions)
    recipe = EdgeRecipe(packs, network, output, loop, batch, loss, native_span, init, resume)
    click.echo(train_edge(recipe))


@main.command()
@click.argument("models", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "-p",
    "--pack",
    "packs",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Pack to measure on; may be given several times.",
)
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice(["sparnet", "dic", "hit", "rgb"]),
    multiple=True,
    default=("sparnet",),
    show_default=True,
    help="Rules of PSNR and SSIM; may be given several times.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for results.json, a sheet of faces and the curve.",
)
@click.option("--native-sizes", is_flag=True, help="Also measure the gain against native size, 8 to 96 px.")
def evaluate(
    models: tuple[Path, ...], packs: tuple[Path, ...], split: str, protocols: tuple[str, ...], output: Path | None,
    native_sizes: bool,
) -> None:  # fmt: skip
    """Score checkpoints and bundles beside bicubic.

    MODELS are checkpoints (model.safetensors) and bundles' folders; without any, bicubic x8 alone is scored.

    \b
    fsr-train evaluate runs/edge-L/model.safetensors -p faces.safetensors --protocol sparnet --protocol dic
    """
    from rich.console import Console

    from .evaluate import run_evaluation

    if native_sizes and output is None:
        raise click.UsageError("--native-sizes draws a curve: say where with --output DIR")
    Console().print(*run_evaluation(models, packs, split, protocols, output, native_sizes), sep="\n")
