"""fsr-train: from folders of pictures to trained, evaluated networks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..runtime.command_line import Commands, error_sentences, require_use
from ..runtime.errors import TrainingDivergedError, TrainingStoppedError
from .provenance import command_line

if TYPE_CHECKING:
    from .networks.edge import EdgeConfig

OF_TEACHERS = ("distill", "live_teacher", "teacher_cache")
OF_OUTPUT, OF_FEATURES = ("distill_weight",), ("feature_weight", "feature_layers", "distill_share")
"""Options of edge that only say something where there are teachers, and where these parts of theirs are distilled."""

PATIENCE = 3.0
"""Seconds that the other processes of a machine give the first one to say what went wrong, and torchrun to end all."""


@contextmanager
def one_voice() -> Iterator[None]:
    """Of several processes on a machine that fail alike, let the first one alone say why."""
    try:
        yield
    except Exception as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            time.sleep(PATIENCE)
            if isinstance(error, TrainingDivergedError | TrainingStoppedError):  # which all have agreed on
                sys.exit(error.exit_code)
        raise


class TogetherCommands(Commands):
    """Commands that torchrun may have started several times."""

    def invoke(self, ctx: click.Context) -> Any:
        with error_sentences(), one_voice():
            return click.Group.invoke(self, ctx)


@click.group(cls=TogetherCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fsr-edge")
def main() -> None:
    """Train face super-resolution networks.

    \b
    prepare    pictures -> one pack of aligned faces
    edge       a pack -> an edge student, taught by others or not
    teacher    a pack with priors -> a teacher that sees them
    student    a teacher -> a student that needs no prior
    evaluate   checkpoints, bundles and bicubic by the field's protocols

    edge, teacher and student train on a GPU if there is one, else on the CPU; on several GPUs and machines if torchrun
    starts them (edge --help shows a line; needs fsr-edge[distributed]).
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
@click.option("--priors", is_flag=True, help="Also compute facial priors, for teachers and multitask students.")
@click.option("--landmarker", type=click.Path(path_type=Path), help="MediaPipe's face_landmarker.task, for --priors.")
def prepare(**options: Any) -> None:
    """Find, align and pack the faces of a folder.

    Pictures that cannot be read, hold no face, one much smaller than --size, or the same face again are skipped;
    OUTPUT.report.json names each with the reason. Sub-folders called train, val and test are taken as the splits. With
    --priors, look at OUTPUT.priors.png: faces | mesh | parts | heat maps, those not relied on framed red.
    """
    from rich.console import Console

    from .prepare import PrepareConfig
    from .prepare import prepare as run

    if options["layout"] != "folder":
        require_use(("identity", "val_share", "test_share"), "--layout folder")
    run(PrepareConfig(**options), Console(stderr=True))


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """What every recipe is told: faces, budget, seed and where to write."""
    path = click.Path(path_type=Path)
    options = [
        click.option(
            "-p", "--pack", "packs", type=path, multiple=True, required=True,
            help="Pack made by prepare; may be given several times.",
        ),
        click.option("-o", "--output", type=path, required=True, help="Folder for the run."),
        click.option("--minutes", type=float, help="Train this long; the learning rate is annealed to it."),
        click.option("--steps", type=int, help="Train exactly this many steps, on a CPU repeatable to the bit."),
        click.option(
            "--loss", type=click.Choice(["l1", "psnr"]), default="l1", show_default=True,
            help="psnr: the mean of the faces' dB, which tables are ranked by.",
        ),
        click.option("--resume", is_flag=True, help="Go on with the run in --output."),
        click.option(
            "--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto", show_default=True,
            help="auto: bf16 where the device multiplies it.",
        ),
        click.option(
            "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]",
            help="auto: a GPU if there is one; it says which and why. Under torchrun every process takes its own.",
        ),
        click.option(
            "--compile/--no-compile", "compiled", default=True, show_default=True,
            help="On a GPU, compile the network before it is trained; takes some time at the start.",
        ),
        click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads; by default one a core."),
        click.option(
            "--tensorboard", is_flag=True, help="Also write OUTPUT/tensorboard; needs fsr-edge[tensorboard]."
        ),
        click.option("--seed", default=0, show_default=True),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def multitask_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--multitask", type=float, default=0.0, show_default=True,
        help="Weight of predicting the prior from the student's features in training; needs a pack with priors.",
    )(command)  # fmt: skip


def degradation_option(help: str) -> Callable[..., Any]:
    return click.option(
        "--degradation", type=click.Choice(["clean", "robust"]), default="clean", show_default=True, help=help
    )  # fmt: skip


def rate_options(command: Callable[..., None]) -> Callable[..., None]:
    """What depends on the kind of network unless it is given."""
    options = [
        click.option(
            "--batch", type=int, help="Faces a step, of all processes together. [default: kdfsrnet 8, compact 32]"
        ),
        click.option("--lr", type=float, help="Highest learning rate. [default: kdfsrnet 1e-4, compact 2e-3]"),
        click.option("--optimizer", type=click.Choice(["adam", "muon"]), help="[default: kdfsrnet adam, compact muon]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def run(train: Callable[..., Path], recipe: Any, device: str, compiled: bool, threads: int | None) -> None:
    """Train by a recipe, with what torchrun has started, and print where the checkpoint is."""
    import torch

    from .processes import open_crew

    if threads is not None:
        torch.set_num_threads(threads)
    with open_crew(device, compiled=compiled) as crew:
        path = train(recipe, crew=crew)
        if crew.first:
            click.echo(path)


@main.command()
@training_options
@click.option("--tier", default="M", show_default=True, help="S, M or L: about 40, 180 or 450 MMACs; XL only teaches.")
@click.option("--input-size", default=32, show_default=True, help="Side of the low-resolution crop in pixels.")
@click.option("--scale", default=4, show_default=True, help="Magnification.")
@click.option(
    "--grid", type=int, default=0, help="Side of the feature maps: 16 or 32. [default: the input's, at most 32]"
)
@click.option(
    "--tail", type=int, help="Side of the last kernel: 3 or 1. [default: as --init, or 1 for tier S and 3 else]"
)
@click.option("--batch", default=32, show_default=True, help="Faces a step, of all processes together.")
@click.option("--lr", type=float, help="Highest learning rate. [default: 2e-3, tier S 6e-3; with --qat 1e-3]")
@click.option(
    "--native-span",
    default=1.0,
    show_default=True,
    help="Train on faces seen at the input size divided and multiplied by up to this. 1: exactly the input size, "
    "as tables are made; 1.5: what a camera sees.",
)
@degradation_option(
    "How training faces are made small. clean: bicubic, as tables are made; robust: also blurred, noisy, coded as "
    "JPEG and in other light, as cameras see them.",
)
@click.option(
    "--positions",
    is_flag=True,
    help="Learn a value for every place of the aligned face; costs no arithmetic. --init may lack them.",
)
@click.option("--init", type=click.Path(path_type=Path), help="Checkpoint of the same network to start from.")
@click.option(
    "--mirror",
    is_flag=True,
    help="Hold the weights symmetric: every step learns from the mirrored faces too, at no cost. For aligned faces; "
    "not with --branches.",
)
@click.option(
    "--qat",
    is_flag=True,
    help="Fine-tune --init for INT8: compute as its quantised file will, in fp32. What is kept is a float checkpoint.",
)
@click.option("--qat-method", default="mse", show_default=True, help="As --method of fsr-export quantize.")
@click.option("--branches", is_flag=True, help="Train every layer as a sum of branches; one convolution is kept.")
@click.option(
    "--teacher",
    "teachers",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Checkpoint to learn from; of several, the mean of their outputs and the features of the first.",
)
@click.option(
    "--student",
    "students",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Checkpoint whose outputs teach in place of the teachers', whose --distill features then do.",
)
@click.option("--distill", default="output", show_default=True, help="What is learned: output, features or both.")
@click.option("--distill-weight", default=0.5, show_default=True, help="Share of the teachers' output in the loss.")
@click.option(
    "--feature-weight",
    default=0.003,
    show_default=True,
    help="Weight of the features' loss at the start; a loss of --loss psnr is a hundredth of a dB.",
)
@click.option("--distill-share", default=0.3, show_default=True, help="Share of the run in which it falls to zero.")
@click.option("--feature-layers", default=3, show_default=True, help="Layers whose features are learned.")
@click.option("--live-teacher", is_flag=True, help="Run the teachers at every step, not once over all faces.")
@click.option(
    "--teacher-cache",
    type=click.Path(path_type=Path),
    help="File of what the teachers say, for several runs on the same faces. [default: OUTPUT/lessons.safetensors]",
)
@multitask_option
def edge(
    packs: tuple[Path, ...], output: Path, tier: str, input_size: int, scale: int, grid: int,
    tail: int | None, minutes: float | None, steps: int | None, batch: int, lr: float | None, loss: str,
    native_span: float, positions: bool, init: Path | None,
    resume: bool, precision: str, threads: int | None, seed: int, branches: bool, teachers: tuple[Path, ...],
    students: tuple[Path, ...], distill: str, distill_weight: float, feature_weight: float, distill_share: float,
    feature_layers: int, live_teacher: bool, teacher_cache: Path | None, multitask: float, mirror: bool,
    qat: bool, qat_method: str, degradation: str, device: str, compiled: bool, tensorboard: bool,
) -> None:  # fmt: skip
    """Train an edge student, from the faces alone or taught by trained networks as well.

    OUTPUT receives model.safetensors (averaged weights), log.csv, samples.png (low | bicubic | restored | original)
    and state.safetensors, from which --resume goes on after a kill, within half a minute and then every two or, with
    --steps, at every tenth of them; in the end curve.png. With --qat the log says psnr_int8 too.

    \b
    fsr-train edge -p faces.safetensors --tier L --minutes 60 -o runs/edge-L
    fsr-train edge -p faces.safetensors --tier M --minutes 60 --teacher runs/edge-XL/model.safetensors -o runs/edge-M
    fsr-train edge -p faces.safetensors --tier L --input-size 16 --scale 8 --minutes 60
      --teacher runs/teacher/model.safetensors --distill output,features -o runs/edge-L
    torchrun --nproc-per-node 4 $(which fsr-train) edge -p faces.safetensors --batch 256 --minutes 60 -o runs/edge-L
    """
    from .distill import Decay
    from .loop import LoopConfig
    from .optimizers import edge_rate
    from .qat import RATE
    from .recipes.edge import EdgeRecipe, train_edge
    from .reparam import Branches
    from .tutors import Distillation, parts_named

    network = network_of(init, tier=tier, input_size=input_size, scale=scale, positions=positions, grid=grid, tail=tail)
    rate = lr if lr is not None else RATE if qat else edge_rate(network.tier)
    loop = LoopConfig(
        minutes=minutes, steps=steps, learning_rate=rate, precision=precision, seed=seed, tensorboard=tensorboard,
        command=command_line(),
    )  # fmt: skip
    if not qat:
        require_use(["qat_method"], "--qat")
    distillation = None
    if not (teachers or students):
        require_use([*OF_OUTPUT, *OF_FEATURES, *OF_TEACHERS], "--teacher")
    else:
        outputs, features = parts_named(distill)
        if not outputs:
            require_use(OF_OUTPUT, "output in --distill")
        if not features:
            require_use(OF_FEATURES, "features in --distill")
        decay = Decay(features=feature_weight, output=0.0, share=distill_share)
        distillation = Distillation(
            teachers, students, outputs, features, distill_weight, decay, feature_layers, live_teacher, teacher_cache
        )
    recipe = EdgeRecipe(
        packs, network, output, loop, batch, loss, native_span, init, resume, distillation, multitask,
        Branches() if branches else None, mirror, qat_method if qat else None, degradation,
    )  # fmt: skip
    run(train_edge, recipe, device, compiled, threads)


def network_of(init: Path | None, **options: Any) -> EdgeConfig:
    """The network that was asked for; what of it was not is as in `init`, where that agrees with what was."""
    from .checkpoint import load_checkpoint
    from .networks.edge import EdgeConfig, usual_tail

    context = click.get_current_context()
    given = {name for name in options if context.get_parameter_source(name) != ParameterSource.DEFAULT}
    before = {"tail": 3, **load_checkpoint(init).config} if init else {}
    if before and all(options[name] == before.get(name) for name in given):
        options |= {name: value for name, value in before.items() if name in options}
    if options["tail"] is None:
        options["tail"] = usual_tail(options["tier"], options["input_size"], options["grid"])
    return EdgeConfig(**options)


@main.command()
@training_options
@click.option(
    "--network",
    type=click.Choice(["kdfsrnet", "compact"]),
    default="compact",
    show_default=True,
    help="kdfsrnet: as published, 5.7 GMACs a face, for a GPU. compact: an edge network that sees the prior too.",
)
@click.option("--input-size", default=16, show_default=True, help="Side of the low-resolution crop in pixels.")
@click.option("--scale", default=8, show_default=True, help="Magnification.")
@click.option("--tier", default="L", show_default=True, help="Of compact: S, M, L or XL, as its student.")
@click.option("--positions", is_flag=True, help="Of compact: learn a value for every place of the aligned face.")
@click.option("--blocks", default=2, show_default=True, help="Of kdfsrnet: residual blocks in each of nine stages.")
@click.option(
    "--prior",
    type=click.Choice(["rendered", "channels", "none"]),
    help="rendered: the part map in three colours; channels: every part and heat map; none: kdfsrnet without a prior, "
    "to see what it gives. [default: kdfsrnet rendered, compact channels]",
)
@rate_options
def teacher(
    packs: tuple[Path, ...], output: Path, minutes: float | None, steps: int | None, loss: str, resume: bool,
    precision: str, threads: int | None, seed: int, network: str, input_size: int, scale: int, tier: str,
    positions: bool, blocks: int, prior: str | None, batch: int | None, lr: float | None, optimizer: str | None,
    device: str, compiled: bool, tensorboard: bool,
) -> None:  # fmt: skip
    """Train a teacher that sees a facial prior, taken from the original, beside the low face.

    Its figures are no rival's: where a face is restored there is no original. OUTPUT is as of edge.

    \b
    fsr-train teacher -p faces.safetensors --minutes 60 -o runs/teacher
    """
    from .loop import LoopConfig
    from .networks.compact import CompactConfig
    from .networks.kdfsrnet import KdfsrConfig
    from .optimizers import usual
    from .prior_views import VIEWS
    from .recipes.teacher import TeacherRecipe, train_teacher

    if network == "compact":
        require_use(["blocks"], "--network kdfsrnet")
    else:
        require_use(["tier", "positions"], "--network compact")
    settings = usual(network, optimizer, lr, batch)
    channels = {**VIEWS, "none": 0}[prior or ("channels" if network == "compact" else "rendered")]
    shape = (
        CompactConfig(tier, input_size, scale, channels, positions)
        if network == "compact"
        else KdfsrConfig(input_size, scale, blocks, channels)
    )
    loop = LoopConfig(
        minutes=minutes,
        steps=steps,
        learning_rate=settings.learning_rate,
        precision=precision,
        seed=seed,
        tensorboard=tensorboard,
        command=command_line(),
    )
    recipe = TeacherRecipe(packs, shape, output, loop, settings.batch, loss, settings.optimizer, resume)
    run(train_teacher, recipe, device, compiled, threads)


@main.command()
@training_options
@click.option(
    "--teacher",
    "teacher_path",
    type=click.Path(path_type=Path),
    required=True,
    help="Checkpoint of fsr-train teacher; its student has its kind and size.",
)
@click.option("--blocks", default=6, show_default=True, help="Of kdfsrnet: residual blocks in each of nine stages.")
@rate_options
@click.option("--distill-share", type=float, help="Share of the run in which the teacher counts. [default: 11 / 400]")
@click.option("--feature-weight", default=10.0, show_default=True, help="Weight of the features' loss at the start.")
@click.option(
    "--output-weight", default=0.1, show_default=True, help="Weight of the loss against the teacher's output."
)
@multitask_option
def student(
    packs: tuple[Path, ...], output: Path, minutes: float | None, steps: int | None, loss: str, resume: bool,
    precision: str, threads: int | None, seed: int, teacher_path: Path, blocks: int, batch: int | None,
    lr: float | None, optimizer: str | None, distill_share: float | None, feature_weight: float, output_weight: float,
    multitask: float, device: str, compiled: bool, tensorboard: bool,
) -> None:  # fmt: skip
    """Train a student that needs no prior on the features of a teacher that sees one.

    A kdfsrnet teacher gets KDFSRNet's student; a compact one the edge network of its tier, which can be exported. The
    weights and their decay are the published ones unless given.

    \b
    fsr-train student -p faces.safetensors --teacher runs/teacher/model.safetensors --minutes 60 -o runs/student
    """
    from .checkpoint import load_checkpoint
    from .distill import PUBLISHED_SHARE, Decay
    from .loop import LoopConfig
    from .optimizers import usual
    from .recipes.student import StudentRecipe, train_student

    kind = load_checkpoint(teacher_path).network
    if kind == "compact":
        require_use(["blocks"], "a kdfsrnet --teacher")
    settings = usual(kind, optimizer, lr, batch)
    loop = LoopConfig(
        minutes=minutes,
        steps=steps,
        learning_rate=settings.learning_rate,
        precision=precision,
        seed=seed,
        tensorboard=tensorboard,
        command=command_line(),
    )
    decay = Decay(feature_weight, output_weight, PUBLISHED_SHARE if distill_share is None else distill_share)
    recipe = StudentRecipe(
        packs, teacher_path, output, loop, blocks, settings.batch, loss, settings.optimizer, decay, multitask, resume
    )
    run(train_student, recipe, device, compiled, threads)


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
@click.option(
    "--details",
    is_flag=True,
    help="Also say how far the landmarks moved, how sharp the faces are and, with the identity extra, whose they are.",
)
@degradation_option("How the faces are made small; see fsr-train edge.")
@click.option("--groups", is_flag=True, help="Also say the gain by skin tone, pose and light.")
@click.option(
    "--lpips",
    "trunk",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also say LPIPS, beside the --details, by torchvision's weights of AlexNet or VGG16 in FILE (.pth or "
    ".safetensors); the rest of it comes with: pip install --no-deps lpips",
)
def evaluate(
    models: tuple[Path, ...], packs: tuple[Path, ...], split: str, protocols: tuple[str, ...], output: Path | None,
    native_sizes: bool, details: bool, groups: bool, degradation: str, trunk: Path | None,
) -> None:  # fmt: skip
    """Score checkpoints and bundles beside bicubic.

    MODELS are checkpoints (model.safetensors) and bundles' folders; without any, bicubic x8 alone is scored. A teacher
    gets the priors of the pack's originals and is marked as one that sees them: it shows what they give and is not to
    be ranked. --native-sizes leaves it out.

    \b
    fsr-train evaluate runs/edge-L/model.safetensors -p faces.safetensors --protocol sparnet --protocol dic
    """
    from rich.console import Console

    from .evaluate import run_evaluation

    if native_sizes and output is None:
        raise click.UsageError("--native-sizes draws a curve: say where with --output DIR")
    tables = run_evaluation(models, packs, split, protocols, output, native_sizes, details, groups, degradation, trunk)
    Console().print(*tables, sep="\n")
