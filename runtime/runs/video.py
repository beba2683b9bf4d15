"""A video or camera into a video, with the times and sound of the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..files import fitted, remove_temporaries, temporaries_of
from ..media.video import Source, VideoReader, VideoWriter, is_video
from .compare import bar_height
from .frame_work import FrameWork
from .picture_work import require_memory
from .stream import Show, restore_stream
from .summary import Summary

if TYPE_CHECKING:
    from rich.console import Console


RECORDS = ".frames.jsonl"


@dataclass(frozen=True)
class VideoFiles:
    """What a run over a video or camera writes."""

    output: Path
    """As given, to be told to the user."""
    video: Path
    compare: Path | None
    """Bicubic and restored side by side."""
    records: Path

    def require_apart(self, source: Path) -> None:
        """Refuse, by `UsageError`, to write over the video that is read."""
        if source.resolve() in {path.resolve() for path in (self.video, self.compare) if path}:
            raise UsageError(f"--output: {source} is the input itself; choose another")


def video_files(name: str, suffix: str, output: Path, compare: bool = False) -> VideoFiles:
    """Beside `output` where that names a video, else in it as a folder."""
    if is_video(output):
        beside = output.with_name(fitted(output.stem, f".compare{output.suffix}"))
        records = output.with_name(fitted(output.stem, RECORDS))
        return VideoFiles(output, output, beside if compare else None, records)
    video, beside = (output / folder / f"{name}{suffix}" for folder in ("restored", "compare"))
    return VideoFiles(output, video, beside if compare else None, output / fitted(name, RECORDS))


def restore_video(
    source: Source,
    work: FrameWork,
    files: VideoFiles,
    console: Console,
    *,
    run: Mapping[str, Any],
    workers: int = 1,
) -> Summary:
    """Restore every frame of `source`; see `stream_run`. On Ctrl-C the frames so far are a video that plays.

    Raises:
        InputError: the frames would be too large once enlarged.
        OutputError: a file cannot be written; no video is left under its name.
    """
    require_memory(files.video, source.size_wh, work.scale)
    finals = [final for final in (files.video, files.compare, files.records) if final]
    remove_temporaries(path for final in finals for path in temporaries_of(final))
    sinks = [_plain(source, work, files.video), *([_beside(source, work, files.compare)] if files.compare else [])]
    summary = Summary("frame", files.output, files.records, source.frames)
    return restore_stream(source, work, sinks, summary, console, run=run, workers=workers)


@contextmanager
def _plain(source: Source, work: FrameWork, final: Path) -> Iterator[Show]:
    width, height = source.size_wh
    with _writer(source, final, (work.scale * width, work.scale * height)) as writer:
        yield lambda result: writer.write(result.restored.image, result.frame)


@contextmanager
def _beside(source: Source, work: FrameWork, final: Path) -> Iterator[Show]:
    width, height = (work.scale * side for side in source.size_wh)
    with _writer(source, final, (2 * width, height + bar_height(height))) as writer:
        yield lambda result: writer.write(work.compared(result), result.frame)


def _writer(source: Source, final: Path, size_wh: tuple[int, int]) -> VideoWriter:
    file = source if isinstance(source, VideoReader) else None  # a camera has no sound to keep
    return VideoWriter(final, size_wh, file, source.rate)
