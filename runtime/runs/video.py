"""A video or camera into a video, with the times and sound of the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from .stats import StreamStats
from .stream import Show, Sink, restore_stream
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
    faces: Path
    """Folder of the crops of each track."""

    def require_apart(self, source: Path) -> None:
        """Refuse, by `UsageError`, to write over the video that is read."""
        if source.resolve() in {path.resolve() for path in (self.video, self.compare) if path}:
            raise UsageError(f"--output: {source} is the input itself; choose another")


def video_files(name: str, suffix: str, output: Path, compare: bool = False) -> VideoFiles:
    """Beside `output` where that names a video, else in it as a folder."""
    if is_video(output):
        beside = output.with_name(fitted(output.stem, f".compare{output.suffix}"))
        records = output.with_name(fitted(output.stem, RECORDS))
        faces = output.with_name(fitted(output.stem, ".faces"))
        return VideoFiles(output, output, beside if compare else None, records, faces)
    video, beside = (output / folder / f"{name}{suffix}" for folder in ("restored", "compare"))
    records, faces = output / fitted(name, RECORDS), output / "faces" / name
    return VideoFiles(output, video, beside if compare else None, records, faces)


def restore_video(
    source: Source,
    work: FrameWork,
    files: VideoFiles,
    console: Console,
    *,
    run: Mapping[str, Any],
    workers: int = 1,
    more: Sequence[Sink] = (),
    stats: StreamStats | None = None,
) -> Summary:
    """Restore every frame of `source`; see `restore_stream`. On Ctrl-C the frames so far are a video that plays.

    more: where the frames go besides. stats: counts them.

    Raises:
        InputError: the frames would be too large once enlarged.
        OutputError: a file cannot be written; of the videos, what was written by then is left and plays.
    """
    require_memory(files.video, source.size_wh, work.scale)
    finals = [final for final in (files.video, files.compare, files.records) if final]
    remove_temporaries(path for final in finals for path in temporaries_of(final))
    sinks = [_plain(source, work, files.video), *([_beside(source, work, files.compare)] if files.compare else [])]
    summary = Summary("frame", files.output, files.records, source.frames)
    stats = stats or StreamStats(source)
    restore_stream(source, work, [*sinks, *more, stats.sink()], summary, console, run=run, workers=workers)
    summary.count_stream(source.dropped, source.reconnects, stats.snapshot())
    return summary


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
