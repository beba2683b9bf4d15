"""fsr-run: restore the faces of pictures."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from .command_line import Command

if TYPE_CHECKING:
    from .pipeline import RestoredFace


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-i", "--input", type=click.Path(path_type=Path), required=True, help="Folder of pictures.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("fsr-out"),
    show_default=True,
    help="Folder for the restored faces.",
)
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle to use instead of the one in the package.")
@click.version_option(package_name="fsr-edge")
def main(input: Path, output: Path, bundle: Path | None) -> None:
    """Find, align and super-resolve the faces of every picture in a folder.

    For each face, OUTPUT receives NAME.N.png (the restored crop) and NAME.N.compare.png (bicubic | restored), where
    NAME is the whole name of the picture: a.jpg and a.png are two pictures.
    Exit code 1: some pictures could not be read; they are named, the others are done.

    \b
    fsr-run --input examples
    """
    from rich.console import Console

    from .errors import InputError
    from .files import require_writable
    from .media.images import find_images, read_image
    from .pipeline import Restorer

    console = Console(stderr=True)
    # Names of files are no markup: "[old] a.jpg" would lose its bracket.
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    # What an earlier run wrote below the input is no input.
    pictures = [path for path in find_images(input) if output.resolve() not in path.resolve().parents]
    failed, restored = 0, 0
    with Restorer.open(bundle) as restorer:
        require_writable(output)
        for picture in pictures:
            try:
                frame = read_image(picture)
            except InputError as error:
                failed += 1
                say(str(error), style="red")
                continue
            faces = restorer(frame)
            target = output / picture.relative_to(input)
            for number, face in enumerate(faces):
                say(
                    f"{picture.relative_to(input)}: face {number}, {face.native_size:.0f} px crop: {face.decision}"
                    + (f" by {face.model}" if face.model else "")
                )
                restored += _write(target.with_name(f"{target.name}.{number}.png"), face)
            if not faces:
                say(f"{picture.relative_to(input)}: no face found")
    say(f"{restored} faces of {len(pictures) - failed} pictures restored")
    if restored:
        click.echo(output)
    else:
        with suppress(OSError):  # what an earlier run left there stays
            output.rmdir()
    if failed:
        sys.exit(1)


def _write(path: Path, face: RestoredFace) -> bool:
    """Write the restored crop and its comparison; False if the face was left as it is."""
    from .geometry import resize
    from .media.images import write_image

    if face.low is None or face.restored is None:
        return False
    size = face.restored.shape[0]
    write_image(path, face.restored)
    write_image(path.with_suffix(".compare.png"), np.hstack([resize(face.low, (size, size)), face.restored]))
    return True
