"""A folder of pictures: found, restored by several workers, recorded one by one; stopped and resumed at any moment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import InputError, OutputError, UsageError
from ..interrupt import stop_on_interrupt
from ..media.images import SUFFIXES, find_images
from ..media.video import is_video
from .ordered import ordered_map
from .picture_work import PictureWork
from .progress import progress
from .records import Record, Records, resumable
from .summary import Summary

if TYPE_CHECKING:
    from rich.console import Console

RESULTS = "results.jsonl"
FOLDERS = ("restored", "faces", "compare")
"""What a run makes below its output folder."""

TEMPORARY = re.compile(r"\.\d+\.partial(\.|$)")
"""In the names of `files.atomic_path`: left behind only by a kill."""


def find_pictures(source: Path, output: Path) -> list[Path]:
    """The pictures of a folder, or the one picture; what an earlier run wrote into `output` is left out.

    Raises:
        InputError: nothing there, or no picture.
        UsageError: the results would mix with the input.
    """
    inner, outer = source.resolve(), output.resolve()
    if inner == outer:
        raise UsageError(f"--output: got the input itself, {source}; choose another folder")
    if any(outer / name in (inner, *inner.parents) for name in FOLDERS):
        raise UsageError(f"--input: {source} is where --output {output} puts its results; choose another --output")
    if source.is_file():
        return [_single(source)]
    if not source.exists():
        raise InputError(f"{source}: got nothing there, expected a folder of pictures, a picture or a video")
    if (
        source.is_dir()
        and (videos := [path for path in source.iterdir() if is_video(path)])
        and not any(path.suffix.lower() in SUFFIXES for path in source.rglob("*"))
    ):
        raise InputError(f"{source}: holds videos and no picture; give them one by one, such as --input {videos[0]}")
    found = find_images(source)
    if inner in outer.parents:
        below = source / outer.relative_to(inner)
        found = [path for path in found if below not in path.parents]
    if not found:
        raise InputError(f"{source}: no picture in it but those that a run wrote into {output}")
    return found


def restore_folder(
    pictures: Sequence[Path],
    work: PictureWork,
    console: Console,
    *,
    run: Mapping[str, Any],
    workers: int = 1,
    resume: bool = False,
) -> Summary:
    """Restore `pictures`; whatever fails for one of them costs that one alone and is recorded.

    run: header of results.jsonl. resume: leave out what an earlier run has done.
    Ctrl-C lets what is under way finish; a second one abandons it.

    Raises:
        OutputError: nothing more can be written; what was recorded stays.
        InputError: the input folder is gone.
        UsageError: the earlier run had other options.
    """
    results, started = work.output / RESULTS, perf_counter()
    kept = resumable(results, run, work.is_done) if resume else []
    remove_temporaries(work.output)
    done = {record["picture"] for record in kept}
    waiting = [picture for picture in pictures if work.name(picture) not in done]
    summary = Summary("picture", work.output, results, total=len(pictures), skipped=len(pictures) - len(waiting))
    with (
        Records(results, run, kept) as records,
        progress(console, "restoring", len(waiting), "picture") as advance,
        stop_on_interrupt() as stop,
        closing(ordered_map(work, takewhile(lambda _: not stop.is_set(), waiting), workers)) as made,
    ):
        try:
            for record in made:
                _require_folder(work.root, record, summary)
                records.add(record)
                summary.add(record["picture"], record)
                advance()
        except OutputError as error:
            raise OutputError(f"{error}; {_so_far(summary)}") from error
        except KeyboardInterrupt:
            stop.set()
        summary.stopped = stop.is_set() and summary.finished < len(pictures)
    summary.seconds = perf_counter() - started
    return summary


def remove_temporaries(output: Path) -> None:
    """Delete the half-written files that a killed run left."""
    below = (path for name in FOLDERS for path in (output / name).rglob(".*"))
    for path in [*output.glob(".*"), *below]:
        if TEMPORARY.search(path.name):
            path.unlink(missing_ok=True)


def _single(picture: Path) -> Path:
    if picture.suffix.lower() not in SUFFIXES:
        raise InputError(f"{picture}: got suffix {picture.suffix!r}, expected one of {', '.join(sorted(SUFFIXES))}")
    return picture


def _require_folder(root: Path, record: Record, summary: Summary) -> None:
    if "error" in record and not root.is_dir():
        raise InputError(f"{root}: the folder is gone; {_so_far(summary)}")


def _so_far(summary: Summary) -> str:
    done = summary.done + summary.skipped
    return f"{done} of {summary.total} pictures are done and recorded: --resume goes on from there"
