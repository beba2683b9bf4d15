"""A folder of pictures: found, restored by several workers, recorded one by one; stopped and resumed at any moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import InputError, OutputError, UsageError
from ..files import maker_of, remove_temporaries, temporaries_of
from ..interrupt import stop_on_interrupt
from ..media.images import SUFFIXES, list_files
from ..media.picture import UNREAD_SUFFIXES
from ..media.video import VIDEO_SUFFIXES, is_video
from .ordered import ordered_map
from .picture_work import PictureWork, files_of
from .progress import progress
from .records import Record, Records, resumable
from .summary import Summary, counted, listed

if TYPE_CHECKING:
    from rich.console import Console

RESULTS = "results.jsonl"
FOLDERS = ("restored", "faces", "compare")
"""What a run makes below its output folder."""


@dataclass(frozen=True)
class Found:
    """What is in an input folder; one picture alone is a folder of it."""

    pictures: list[Path]
    left_out: Counter[str]
    """Videos and pictures of kinds that are not read, by suffix."""
    videos: list[Path] = field(default_factory=list)
    """Where there is no picture."""
    no_files: dict[str, str] = field(default_factory=dict)
    """Links to folders, pipes and the like, by name: what each is."""


def find_pictures(source: Path, output: Path) -> list[Path]:
    """The pictures of `survey`; InputError where there are videos alone."""
    found = survey(source, output)
    if not found.pictures:
        raise InputError(
            f"{source}: holds videos and no picture; give them one by one, such as --input {found.videos[0]}"
        )
    return found.pictures


def survey(source: Path, output: Path) -> Found:
    """Look through a folder, or at one picture; what an earlier run wrote into `output` is left out.

    Raises:
        InputError: nothing there, or neither picture nor video.
        UsageError: the results would mix with the input.
    """
    inner, outer = source.resolve(), output.resolve()
    if inner == outer:
        raise UsageError(f"--output: got the input itself, {source}; choose another folder")
    if any(outer / name in (inner, *inner.parents) for name in FOLDERS):
        raise UsageError(f"--input: {source} is where --output {output} puts its results; choose another --output")
    if source.is_file():
        return Found([_single(source)], Counter())
    if not source.exists():
        raise InputError(f"{source}: got nothing there, expected a folder of pictures, a picture or a video")
    everything, odd = list_files(source, SUFFIXES | UNREAD_SUFFIXES | VIDEO_SUFFIXES)
    files = everything
    if inner in outer.parents:
        below = source / outer.relative_to(inner)
        files, odd = ([path for path in paths if below not in path.parents] for paths in (everything, odd))
    no_files = {path.relative_to(source).as_posix(): _what(path) for path in odd if path.resolve() != outer}
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    others = [path for path in files if path.suffix.lower() not in SUFFIXES]
    if everything and not files:
        raise InputError(f"{source}: no picture in it but those that a run wrote into {output}")
    if not pictures:
        if videos := [path for path in others if is_video(path)]:
            return Found([], Counter(path.suffix.lower() for path in others if path not in videos), videos, no_files)
        raise InputError(_why_none(source, others, no_files))
    return Found(pictures, Counter(path.suffix.lower() for path in others), no_files=no_files)


def _what(no_file: Path) -> str:
    return "link to a folder" if no_file.is_dir() else "pipe, socket or device"


def _why_none(folder: Path, others: Sequence[Path], no_files: Mapping[str, str]) -> str:
    there = ", ".join(filter(None, (counted(path.suffix.lower() for path in others), listed(no_files))))
    got = f"no picture in it{f' but {there}' if there else ''}"
    return f"{folder}: {got}; expected files ending in {', '.join(sorted(SUFFIXES))}, or videos"


def restore_folder(
    found: Found,
    work: PictureWork,
    console: Console,
    *,
    run: Mapping[str, Any],
    workers: int = 1,
    resume: bool = False,
) -> Summary:
    """Restore what was found; whatever fails for one of them costs that one alone and is recorded.

    run: header of results.jsonl. resume: leave out what an earlier run has done.
    Ctrl-C lets what is under way finish; a second one abandons it.

    Raises:
        OutputError: nothing more can be written; what was recorded stays.
        InputError: the input folder is gone.
        UsageError: the earlier run had other options.
    """
    results, started = work.output / RESULTS, perf_counter()
    kept = resumable(results, run, work.is_done) if resume else []
    remove_temporaries(_temporaries(work.output))
    stale = _results(work.output).difference(*map(files_of, kept))
    done = {record["picture"] for record in kept}
    waiting = [picture for picture in found.pictures if work.name(picture) not in done]
    total = len(found.pictures)
    missed = {"left_out": found.left_out, "no_files": found.no_files}
    summary = Summary("picture", work.output, results, total, total - len(waiting), **missed)
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
                stale -= files_of(record)
                advance()
        except OutputError as error:
            raise OutputError(f"{error}; {_so_far(summary)}") from error
        except KeyboardInterrupt:
            stop.set()
        summary.stopped = stop.is_set() and summary.finished < total
    summary.stale = 0 if summary.stopped else len(stale)
    summary.seconds = perf_counter() - started
    return summary


def _temporaries(output: Path) -> Iterator[Path]:
    """Hidden files of the kinds that a run over pictures writes: a video's, in the same folder, are its own run's."""
    yield from temporaries_of(output / RESULTS)
    for name in FOLDERS:
        yield from (path for path in (output / name).rglob(".*") if path.suffix.lower() in SUFFIXES)


def _results(output: Path) -> set[str]:
    """Every result that is there, by its path below `output`."""
    below = (path for name in FOLDERS for path in (output / name).rglob("*") if path.is_file())
    return {path.relative_to(output).as_posix() for path in below if maker_of(path) is None}


def _single(picture: Path) -> Path:
    if picture.suffix.lower() not in SUFFIXES:
        raise InputError(f"{picture}: got suffix {picture.suffix!r}, expected one of {', '.join(sorted(SUFFIXES))}")
    return picture


def _require_folder(root: Path, record: Record, summary: Summary) -> None:
    if "error" in record and not root.is_dir():
        raise InputError(f"{root}: the folder is gone; {_so_far(summary)}")


def _so_far(summary: Summary) -> str:
    done = summary.done + summary.skipped
    recorded = summary.records is not None and summary.records.exists()
    how_to_go_on = " and recorded: --resume goes on from there" if recorded else ""
    return f"{done} of {summary.total} pictures are done{how_to_go_on}"
