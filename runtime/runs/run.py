"""What `fsr-run` does with a checked request: open the models, run over the input, sum up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import cv2
from rich.console import Console

from ..bundle import MANIFEST, default_folder, read_manifest
from ..files import require_writable, write_text
from ..machine import cores
from ..media.images import find_images
from ..media.video import Source, VideoReader
from ..options import RestoreOptions
from ..pipeline import Restorer
from .folder import restore_folder, survey
from .frame_work import FrameWork
from .picture_work import PictureWork
from .records import PIXELS, Record
from .request import Request
from .summary import Summary
from .video import VideoFiles, restore_video, video_files


def run(request: Request) -> int:
    """Do what is asked and return the exit code; results go to stdout, all else to stderr."""
    console = Console(stderr=True)
    if request.doctor:
        return _doctor(request)
    if request.bench:
        return _bench(request)
    cv2.setNumThreads(max(1, cores() // request.worker_count))  # the workers are the threads
    summary = RUNS[request.kind](request, console)
    summary.show(console, request.quiet)
    if request.json:
        click.echo(json.dumps(summary.to_json(), indent=1))
    elif summary.output:
        click.echo(click.format_filename(summary.output))
    return summary.exit_code


def _pictures(request: Request, console: Console) -> Summary:
    source, output = Path(request.input or ""), request.output_path
    found = survey(source, output)
    with open_restorer(request, console) as restorer:
        require_writable(output / "restored")
        root = source.parent if source.is_file() else source
        return restore_folder(
            found,
            PictureWork(restorer, root, output, request.scale, request.compare),
            drawn(request, console),
            run=header(request, restorer.description),
            workers=request.worker_count,
            resume=request.resume,
        )


def _video(request: Request, console: Console) -> Summary:
    path = Path(request.input or "")
    with closing(VideoReader(path)) as reader:
        files = video_files(path.stem, reader.suffix, request.output_path, request.compare)
        files.require_apart(path)
        return _into_video(reader, files, request, console)


def _camera(request: Request, console: Console) -> Summary:
    from ..media.camera import Camera
    from ..media.window import has_display
    from .live import show_live

    index = request.camera_index or 0
    visible, why = has_display()
    with closing(Camera(index)) as camera:
        if request.output is None and visible:
            with open_restorer(request, console) as restorer:
                work = FrameWork(restorer, request.scale)
                return show_live(camera, work, drawn(request, console), compare=request.compare)
        if request.output is None:
            console.print(f"no window: {why}; the camera goes into a video", markup=False, soft_wrap=True)
        name = f"camera-{index}-{datetime.now():%Y%m%d-%H%M%S}"  # a later run replaces no earlier recording
        summary = _into_video(camera, video_files(name, ".mp4", request.output_path, request.compare), request, console)
    summary.stopped = False  # Ctrl-C is how a camera ends
    return summary


def _into_video(source: Source, files: VideoFiles, request: Request, console: Console) -> Summary:
    with open_restorer(request, console) as restorer:
        require_writable(files.video.parent)
        return restore_video(
            source,
            FrameWork(restorer, request.scale),
            files,
            drawn(request, console),
            run=header(request, restorer.description),
            workers=request.worker_count,
        )


RUNS: Mapping[str, Callable[[Request, Console], Summary]] = {
    "pictures": _pictures,
    "video": _video,
    "camera": _camera,
}


def open_restorer(request: Request, console: Console) -> Restorer:
    """Open what is asked for, and say what was taken and why."""
    restorer = _opened(request, request.options)
    drawn(request, console).print(restorer.description, markup=False, highlight=False, soft_wrap=True)
    return restorer


def _opened(request: Request, options: RestoreOptions) -> Restorer:
    return Restorer.open(
        request.bundle, engine=request.engine, precision=request.precision, tier=request.tier, options=options
    )


def drawn(request: Request, console: Console) -> Console:
    """The console for what --quiet leaves out."""
    return Console(quiet=True) if request.quiet else console


def header(request: Request, description: str) -> Record:
    """Of a record file: the program, the models, and every option that shapes the pixels."""
    folder = request.bundle or default_folder()
    name, sha256 = read_manifest(folder).name, hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    pixels: dict[str, Any] = {
        "--bundle": f"{name} ({sha256[:12]})",
        "--tier": request.tier or "auto",
        "--engine": request.engine,
        "--precision": request.precision,
        "--scale": request.scale,
        "--min-face": request.min_face,
        "--max-faces": request.max_faces,
        "--only-center": request.only_center,
        "--strength": request.strength,
    }
    return {
        "version": version("fsr-edge"),
        "input": request.input if request.camera_index is None else f"camera {request.camera_index}",
        "bundle": name,
        "manifest_sha256": sha256,
        "engine": description,
        PIXELS: pixels,
    }


def _doctor(request: Request) -> int:
    from .. import doctor

    diagnosis = doctor.examine()
    if request.json:
        click.echo(doctor.to_json(diagnosis))
    else:
        doctor.show(diagnosis, Console())
    return 0


def _bench(request: Request) -> int:
    from ..bench.chain import run_bench
    from ..bench.report import render

    pictures = find_images(Path(request.input)) if request.input else []
    report = run_bench(
        partial(_opened, request), request.options, request.worker_count, naive=request.naive, pictures=pictures
    )
    if request.output:
        write_text(request.output, report.to_json() + "\n")
    if request.json:
        click.echo(report.to_json())
    else:
        Console().print(render(report))
    return 0
