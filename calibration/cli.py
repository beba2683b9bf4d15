"""fsr-calibrate: faces that int8 is calibrated on."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from ..runtime.command_line import Commands

PathOption = click.Path(path_type=Path)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fsr-edge")
def main() -> None:
    """Collect the faces that int8 is calibrated on, and look at what they cover.

    \b
    collect    pictures and videos -> a calibration set
    inspect    what a set holds and covers; its hashes checked
    """


@main.command()
@click.option(
    "-i",
    "--input",
    "inputs",
    type=PathOption,
    multiple=True,
    required=True,
    help="Folder of pictures, a picture or a video; may be given several times.",
)
@click.option("-o", "--output", type=PathOption, required=True, help="Folder to make.")
@click.option("--count", default=1000, show_default=True, help="Faces to choose, at least 200.")
@click.option("--bundle", type=PathOption, help="Bundle that the set is for; by default the package's own.")
@click.option("--seed", default=0, show_default=True, help="The same files and seed give the same bytes.")
@click.option("--source", default="not stated", help="What the pictures are; kept with every model calibrated on them.")
@click.option("--licence", default="not stated", help="Licence of the pictures; kept likewise.")
@click.option("--workers", default=0, help="Threads; 0 takes one a core.")
def collect(
    inputs: tuple[Path, ...], output: Path, count: int, bundle: Path | None, seed: int, source: str, licence: str,
    workers: int,
) -> None:  # fmt: skip
    """Choose faces that cover size, pose, light, sharpness and skin tone, and frames for the detector.

    Faces are found and aligned as fsr-run does, at every input size of the bundle. Pictures that cannot be read or
    hold no face are named and skipped (exit code 1 if some could not be read).

    \b
    fsr-calibrate collect --input photos --input film.mp4 --output faces.calib --source "my photos" --licence mine
    """
    from rich.console import Console

    from .collect import CollectConfig
    from .collect import collect as run
    from .summary import summarise

    console = Console(stderr=True)
    report = run(CollectConfig(inputs, output, count, bundle, seed, source, licence, workers), console)
    summarise(report, count, console)
    click.echo(click.format_filename(output))
    sys.exit(int(bool(report.found.failed)))


@main.command()
@click.argument("folder", metavar="SET", type=PathOption)
@click.option("--json", "as_json", is_flag=True, help="The description as JSON on stdout.")
def inspect(folder: Path, as_json: bool) -> None:
    """Check every hash of SET and show what it covers."""
    from rich.console import Console

    from .calibration_set import open_set
    from .show import show

    opened = open_set(folder)
    if as_json:
        click.echo(json.dumps({**asdict(opened.description), "warning": opened.description.warning}, indent=1))
    else:
        show(opened, Console())
