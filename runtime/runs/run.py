"""What `fsr-run` does with a checked request: open the models, run over the input, sum up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import cv2
from rich.console import Console, RenderableType

from ..bundle import MANIFEST, default_folder, read_manifest
from ..files import require_file_name, require_writable, write_text
from ..heap import share_heap
from ..machine import cores
from ..media.images import find_images
from ..media.uri import SourceUri
from ..media.video import Source, VideoReader
from ..options import RestoreOptions
from ..pipeline import Restorer
from ..preview.controls import Controls
from ..preview.sink import on_page, require_preview
from .crops import into_crops
from .folder import Found, restore_folder, survey
from .frame_work import FrameWork
from .picture_work import PictureWork
from .records import PIXELS, Record
from .request import Request
from .resume import Earlier, earlier_run
from .stats import StreamStats
from .stream import Sink
from .summary import Summary
from .video import VideoFiles, restore_video, summary_of, video_files
from .video_folder import restore_videos


def run(request: Request) -> int:
    """Do what is asked and return the exit code; results go to stdout, all else to stderr."""
    console = Console(stderr=True)
    share_heap()
    if request.doctor:
        return _doctor(request)
    if request.bench:
        if request.output:
            require_file_name(request.output)
        return _bench_moving(request) if request.moving else _bench(request)
    if request.preview is not None:
        require_preview()
    cv2.setNumThreads(max(1, cores() // request.worker_count))  # the workers are the threads
    summary = RUNS[request.kind](request, console)
    summary.show(console, request.quiet)
    if request.json:
        click.echo(json.dumps(summary.to_json(), indent=1))
    elif summary.output and summary.output.exists():  # a live source may be stopped before its first frame
        click.echo(click.format_filename(summary.output))
    return summary.exit_code


def _pictures(request: Request, console: Console) -> Summary:
    source, output = _source(request).path, request.output_path
    found = survey(source, output)
    if not found.pictures:
        return _videos(found, request, console)
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
    path = _source(request).path
    with ExitStack() as stack:
        return _film(path, path.stem, request, console, _opened_once(stack, request, console))


def _videos(found: Found, request: Request, console: Console) -> Summary:
    """A folder that holds videos alone."""
    with ExitStack() as stack:
        models = _opened_once(stack, request, console)
        return restore_videos(
            found,
            _source(request).path,
            request.output_path,
            lambda path, name: _film(path, name, request, console, models),
            _teller(request, console),
        )


def _film(path: Path, name: str, request: Request, console: Console, models: Callable[[], Restorer]) -> Summary:
    """One video file; `models` are opened only if there is something to restore."""
    with closing(VideoReader(path)) as reader:
        files = video_files(name, reader.suffix, request.output_path, request.compare)
        files.require_apart(path)
        files.require_names()
        earlier = earlier_run(files.records, files.videos, header(request, film=path)) if request.resume else Earlier()
        if earlier.end is not None:
            return summary_of(files, earlier.frames, earlier)
        if request.resume and files.records.exists():
            where = f"goes on at frame {earlier.frames}" if earlier.frames else "starts anew: too little was there"
            _teller(request, console)(f"{name}: {where}")
        return _into_video(reader, files, request, console, models(), earlier, film=path, in_window=request.window)


def _opened_once(stack: ExitStack, request: Request, console: Console) -> Callable[[], Restorer]:
    return cache(lambda: stack.enter_context(open_restorer(request, console)))


def _live(request: Request, console: Console) -> Summary:
    from ..media.capture import Capture
    from ..media.window import has_display

    uri = _source(request)
    can_show, why = has_display()
    unwanted = request.headless or request.preview is not None
    in_window = request.window or (request.output is None and can_show and not unwanted)
    name = f"{_called(uri).replace(' ', '-')}-{datetime.now():%Y%m%d-%H%M%S}"  # replaces no earlier recording
    files = video_files(name, ".mp4", request.output_path, request.compare)
    files.require_names()
    if request.record:
        require_file_name(request.record)
    with closing(Capture(uri, record=request.record, say=_teller(request, console))) as source:
        files = video_files(name, source.suffix, request.output_path, request.compare)
        if request.output is None and (in_window or request.preview is not None):
            return _before_eyes(source, files, request, console, in_window=in_window)
        if request.output is None and not request.headless:
            console.print(f"no window: {why}; {_called(uri)} goes into a video", markup=False, soft_wrap=True)
        with open_restorer(request, console) as restorer:
            summary = _into_video(source, files, request, console, restorer, in_window=in_window)
    summary.stopped = False  # Ctrl-C is how a camera ends
    return summary


def _before_eyes(source: Source, files: VideoFiles, request: Request, console: Console, *, in_window: bool) -> Summary:
    from . import live

    with open_restorer(request, console) as restorer:
        stats, controls = StreamStats(source), Controls(request.options, fixed_scale=in_window)
        work = _work(restorer, request, stats, controls)
        windows = [live.in_window(work, stats, compare=request.compare)] if in_window else []
        pages = _pages(request, console, restorer, stats, controls)
        sinks = [*_crops(request, files.faces), *windows, *pages]
        return live.show_live(source, work, drawn(request, console), stats, sinks, workers=request.worker_count)


def _into_video(
    source: Source,
    files: VideoFiles,
    request: Request,
    console: Console,
    restorer: Restorer,
    earlier: Earlier | None = None,
    *,
    film: Path | None = None,
    in_window: bool,
) -> Summary:
    """film: the file that `source` reads, if any."""
    from . import live

    require_writable(files.video.parent)
    stats, controls = StreamStats(source), Controls(request.options, fixed_scale=True)
    work = _work(restorer, request, stats, controls)
    windows = [live.in_window(work, stats, compare=request.compare)] if in_window else []
    crops = _crops(request, files.faces, earlier.frames if earlier else 0)
    return restore_video(
        source,
        work,
        files,
        drawn(request, console),
        run=header(request, restorer.description, film),
        workers=request.worker_count,
        more=[*crops, *windows, *_pages(request, console, restorer, stats, controls)],
        stats=stats,
        earlier=earlier,
    )


def _work(restorer: Restorer, request: Request, stats: StreamStats, controls: Controls) -> FrameWork:
    options_now = partial(controls.options, request.options)
    return FrameWork(restorer, request.scale, options_now, keeps_tier=request.tier is not None, tell=stats.tell)


def _crops(request: Request, folder: Path, first: int = 0) -> list[Sink]:
    return [into_crops(folder, first)] if request.crops else []


def _pages(
    request: Request, console: Console, restorer: Restorer, stats: StreamStats, controls: Controls
) -> list[Sink]:
    if (address := request.preview_address) is None:
        return []
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)  # with --quiet too, for the token
    about, source = restorer.description, str(_source(request))
    return [on_page(address, stats, controls, say, about=about, source=source)]


def _source(request: Request) -> SourceUri:
    source = request.source
    assert source is not None, "the rules ask for one"
    return source


def _called(uri: SourceUri) -> str:
    """`camera 0`, `stream`."""
    return f"{uri.kind} {uri.number}" if uri.kind in ("camera", "csi") else uri.kind


def _teller(request: Request, console: Console) -> Callable[[str], None]:
    """Of what is lost and found again."""
    return partial(drawn(request, console).print, markup=False, highlight=False, soft_wrap=True)


RUNS: Mapping[str, Callable[[Request, Console], Summary]] = {
    "pictures": _pictures,
    "video": _video,
    "live": _live,
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


def header(request: Request, description: str = "", film: Path | None = None) -> Record:
    """Of a record file: the program, the models, and every option that shapes the pixels.

    film: the video file; which one it is, and what is made of it, may not change when a run goes on.
    """
    folder, uri = request.bundle or default_folder(), _source(request)
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
    if film is not None:
        pixels |= {"--input": _identity(film), "--compare": request.compare, "--crops": request.crops}
    return {
        "version": version("fsr-edge"),
        "input": _called(uri) if uri.kind in ("camera", "csi") else uri.shown,
        "bundle": name,
        "manifest_sha256": sha256,
        "engine": description,
        PIXELS: pixels,
    }


def _identity(film: Path) -> str:
    """As pictures are told apart: by size and time of the last change."""
    found = film.stat()
    changed = datetime.fromtimestamp(found.st_mtime, timezone.utc).isoformat(sep=" ", timespec="milliseconds")
    return f"{film.name} ({found.st_size} bytes, changed {changed})"


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
    return _tell_figures(request, report.to_json(), render(report))


def _bench_moving(request: Request) -> int:
    from ..bench.moving import run_moving_bench
    from ..bench.moving_figures import render

    report = run_moving_bench(partial(_opened, request), request.options, request.worker_count, naive=request.naive)
    return _tell_figures(request, report.to_json(), render(report))


def _tell_figures(request: Request, figures: str, shown: RenderableType) -> int:
    """Of a bench: into the output, and as JSON or tables on stdout."""
    if request.output:
        write_text(request.output, figures + "\n")
    if request.json:
        click.echo(figures)
    else:
        Console().print(shown)
    return 0
