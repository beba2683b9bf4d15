"""fsr-run: restore the faces of pictures, videos and cameras."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .runs.help_sections import SectionedCommand

ENGINES = ("auto", "onnxruntime", "onnxruntime-cuda", "openvino", "tensorrt", "tensorrt-rtx")
"""`engines.OPENERS` knows the same; spelt out here since --help must not load it."""
PRECISIONS = ("auto", "fp32", "fp16", "int8")
TIERS = ("S", "M", "L")

SECTIONS = {
    "From and to": [
        "input",
        "camera",
        "output",
        "compare",
        "crops",
        "window",
        "preview",
        "headless",
        "record",
        "resume",
    ],
    "Restoration": ["scale", "min_face", "max_faces", "only_center", "strength"],
    "Models and engine": ["bundle", "tier", "engine", "precision", "workers"],
    "This machine": ["doctor", "bench", "moving", "naive"],
}

FolderPath = click.Path(path_type=Path)


@click.command(
    cls=SectionedCommand,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-i",
    "--input",
    metavar="SOURCE",
    help="Folder of pictures, one picture, one video; a camera: 0, /dev/video0, csi://0, each also "
    "with ?size=1280x720&fps=30; a stream: rtsp://, http://; test:// is a scene of its own making.",
)  # fmt: skip
@click.option("--camera", type=int, metavar="N", help="USB camera by number, 0 for the first: the same as --input N.")
@click.option(
    "-o",
    "--output",
    type=FolderPath,
    help="Folder for the results, by default fsr-out; for a video or camera also a file name such as out.mp4. "
    "A live source without --output is shown in a window where there is a display.",
)  # fmt: skip
@click.option("--compare", is_flag=True, help="Write bicubic and restored side by side too; show a camera so.")
@click.option("--crops", is_flag=True, help="Of a video or camera, write each track's restored faces too.")
@click.option("--window", is_flag=True, help="Show a window beside what is written; h lists its keys.")
@click.option(
    "--preview",
    metavar="[HOST:PORT]",
    is_flag=False,
    flag_value="127.0.0.1:8090",
    help="Watch in a browser, before beside after; beyond this machine, as with 0.0.0.0:8090, with a token.",
)
@click.option("--headless", is_flag=True, help="Never show a window.")
@click.option("--record", type=FolderPath, metavar="FILE", help="Keep what a camera or stream brings, as it comes.")
@click.option(
    "--resume", is_flag=True, help="Go on where an earlier run over pictures or a video was stopped or killed."
)
@click.option("--scale", default=2, show_default=True, help="Enlarge the whole picture 1 to 8 times.")
@click.option("--min-face", default=16.0, show_default=True, help="Width in pixels of the smallest face; 12 works.")
@click.option("--max-faces", type=int, help="Restore at most this many faces of a picture, the largest.")
@click.option("--only-center", is_flag=True, help="Restore only the face nearest to the middle.")
@click.option("--strength", default=1.0, show_default=True, help="Share of the restored face in the result, 0 to 1.")
@click.option("--bundle", type=FolderPath, help="Models to use instead of those in the package.")
@click.option(
    "--tier", type=click.Choice(TIERS), help="Size of the models: S is fastest, L best. [default: the best there is]"
)
@click.option(
    "--engine", type=click.Choice(ENGINES), default="auto", show_default=True, help="auto says what it took and why."
)
@click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True)
@click.option("--workers", type=int, help="Pictures or frames worked on at once. [default: one a core]")
@click.option("--doctor", is_flag=True, help="Say what works on this machine, and how to install what does not.")
@click.option(
    "--bench", is_flag=True, help="Measure speed and memory on this machine; --output FILE keeps the figures as JSON."
)
@click.option("--moving", is_flag=True, help="With --bench: moving scenes with tracked faces in place of pictures.")
@click.option(
    "--naive",
    is_flag=True,
    help="With --bench: time the obvious chain (OpenCV, torch) in the same run; needs fsr-edge[export].",
)
@click.option("--json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="Say nothing but failures and where the results are.")
@click.version_option(package_name="fsr-edge")
def main(**given: Any) -> None:
    """Find the small faces in pictures, videos or a camera's view and restore their detail.

    OUTPUT receives restored/ with every picture enlarged and its faces restored, faces/ with each face alone, and
    results.jsonl with what became of every face and why. Faces that would not gain are left as they are.

    \b
    fsr-run --input photos                         every picture of a folder, into fsr-out
    fsr-run --input photos --output out --resume   go on after a kill
    fsr-run --input old.jpg --scale 4 --compare    one picture, beside plain enlargement
    fsr-run --input film.mp4 --output film-2x.mp4  a video with its sound
    fsr-run --camera 0                             live
    fsr-run --input rtsp://camera/1 -o 1.mp4       a stream, found again when it is lost
    fsr-run --doctor                               what works here

    Exit codes: 0 done; 1 some inputs failed, each named, the others done; 2 wrong usage or a missing part;
    130 stopped by Ctrl-C, SIGTERM or q, what was done is kept; a camera or stream that is ended so did all it should.
    """
    from .runs.request import Request
    from .runs.run import run

    sys.exit(run(Request(**given)))
