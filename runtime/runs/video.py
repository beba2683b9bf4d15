"""A video or camera into a video, with the times and sound of the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..files import fitted, remove_temporaries, require_file_name, temporaries_of
from ..media.video import Source, VideoReader, VideoWriter, is_video
from .compare import bar_height
from .frame_work import FrameWork
from .picture_work import require_memory
from .records import add_end
from .resume import NAMED, Earlier
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

    @property
    def videos(self) -> list[Path]:
        return [path for path in (self.video, self.compare) if path]

    def require_apart(self, source: Path) -> None:
        """Refuse, by `UsageError`, to write over the video that is read."""
        # By the file too: where case does not count, Film.mp4 is film.mp4.
        if any(path.resolve() == source.resolve() or (path.exists() and path.samefile(source)) for path in self.videos):
            raise UsageError(f"--output: {source} is the input itself; choose another")

    def require_names(self) -> None:
        """Refuse, by `OutputError`, folders of those names."""
        for path in (*self.videos, self.records):
            require_file_name(path)


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
    earlier: Earlier | None = None,
) -> Summary:
    """Restore every frame of `source`; see `restore_stream`. On Ctrl-C the frames so far are a video that plays.

    more: where the frames go besides. stats: counts them. earlier: the run that this one goes on from.

    Raises:
        InputError: the frames would be too large once enlarged.
        OutputError: a file cannot be written; of the videos, what was written by then is left and plays.
        UsageError: what the earlier run left comes from another encoder.
    """
    require_memory(files.video, source.size_wh, work.scale)
    earlier = earlier or Earlier()
    unfinished = {salvage.path for salvage in earlier.kept.values()}
    for final in [*files.videos, files.records]:
        remove_temporaries(set(temporaries_of(final)) - unfinished)
    sinks = [_plain(source, work, files.video, earlier)]
    if files.compare:
        sinks.append(_beside(source, work, files.compare, earlier))
    summary = summary_of(files, source.frames, earlier)
    stats, run = stats or StreamStats(source), {**run, NAMED: earlier.named(files.videos, files.records)}
    restore_stream(
        source, work, [*sinks, *more, stats.sink()], summary, console, run=run, workers=workers, earlier=earlier
    )
    add_end(files.records, {"whole": summary.whole, "cut": summary.cut})
    summary.count_stream(source.dropped, source.reconnects, stats.snapshot())
    return summary


def summary_of(files: VideoFiles, frames: int | None, earlier: Earlier) -> Summary:
    """Of a run that begins, or of one that has nothing left to do."""
    summary = Summary("frame", files.output, files.records, frames, skipped=earlier.frames)
    for number, record in enumerate(earlier.records):
        if "error" in record:
            summary.fail(f"frame {number}", record["error"])
    if earlier.end is not None:
        summary.cut = earlier.end["cut"]
    return summary


@contextmanager
def _plain(source: Source, work: FrameWork, final: Path, earlier: Earlier) -> Iterator[Show]:
    width, height = source.size_wh
    with _writer(source, final, (work.scale * width, work.scale * height), earlier) as writer:
        yield lambda result: writer.write(result.restored.image, result.frame)


@contextmanager
def _beside(source: Source, work: FrameWork, final: Path, earlier: Earlier) -> Iterator[Show]:
    width, height = (work.scale * side for side in source.size_wh)
    with _writer(source, final, (2 * width, height + bar_height(height)), earlier) as writer:
        yield lambda result: writer.write(work.compared(result), result.frame)


def _writer(source: Source, final: Path, size_wh: tuple[int, int], earlier: Earlier) -> VideoWriter:
    file, kept = source if isinstance(source, VideoReader) else None, earlier.kept.get(final)
    return VideoWriter(final, size_wh, file, source.rate, kept=kept, first=earlier.frames, sound=source)
