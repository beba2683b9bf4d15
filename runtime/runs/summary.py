"""What a run did, for the end of it: counted, in a table, as JSON, as an exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..media.suffixes import VIDEO_SUFFIXES
from .records import Record

if TYPE_CHECKING:
    from rich.console import Console

    from .stats import StatsSnapshot

NAMED = 10
"""Failures that are named at the end; the others are in results.jsonl."""
KEPT = 100
"""Failed frames whose reasons are kept; a service that runs for months counts the others."""


@dataclass
class Summary:
    """Counts of a run over pictures or frames."""

    unit: str
    """`picture`, `frame` or `video`."""
    output: Path | None
    """What is printed at the end: the folder or video written; None for a window."""
    records: Path | None
    """Where each picture or frame has its line."""
    total: int | None = None
    """Pictures found; None where the end of a video or camera is not known."""
    skipped: int = 0
    """Done by the earlier run that this one resumes."""
    done: int = 0
    without_faces: int = 0
    first_only: int = 0
    """Animations and files of several pages, of which the first picture was restored."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Files of the input folder that look like pictures or videos and are not read, by suffix."""
    no_files: dict[str, str] = field(default_factory=dict)
    """What else of it is not read: by name, what it is in place of a file."""
    stale: int = 0
    """Results of earlier runs in the output folder that this run neither wrote nor kept."""
    seconds: float = 0.0
    stopped: bool = False
    """By Ctrl-C, SIGTERM or a key, before the end."""
    whole: bool = False
    """Every frame of a source, to its end."""
    cut: str | None = None
    """Why the source ended early."""
    dropped: int = 0
    """Frames of a live source that came faster than they were taken."""
    reconnects: int = 0
    """How often a live source was lost and found again."""
    latency_ms: tuple[float, float] | None = None
    """Median and 95th percentile, over the run, from capture until a frame was in every output; None of a file."""
    faces: Counter[str] = field(default_factory=Counter)
    """By what became of them."""
    failures: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by name; of frames, those of the first `KEPT`."""

    def add(self, name: str, record: Record) -> None:
        """Count one record: a failed one has an `error`."""
        if "error" in record:
            self.fail(name, record["error"])
            return
        self.done += 1
        self.without_faces += not record["faces"]
        self.first_only += record.get("frames", 1) > 1
        self.faces.update(_fate(face) for face in record["faces"])

    def fail(self, name: str, reason: str) -> None:
        self.failures += 1
        if self.unit != "frame" or len(self.failed) < KEPT:
            self.failed[name] = reason

    def count_stream(self, dropped: int, reconnects: int, figures: StatsSnapshot) -> None:
        """Take over what a live source and the run over it have counted."""
        self.dropped, self.reconnects = dropped, reconnects
        self.latency_ms = figures.run_latency_ms

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, SIGTERM or a key, 1 where something failed, else 0."""
        return 130 if self.stopped else int(bool(self.failures or self.cut))

    @property
    def finished(self) -> int:
        """Done now or before, or failed."""
        return self.done + self.skipped + self.failures

    @property
    def rate(self) -> float:
        """Pictures or frames a second."""
        return self.done / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Every count, with names and reasons of what failed."""
        return {
            "output": self.output and str(self.output),
            "records": self.records and str(self.records),
            "unit": self.unit,
            "total": self.total,
            "done": self.done,
            "skipped": self.skipped,
            "without_faces": self.without_faces,
            "first_only": self.first_only,
            "left_out": dict(self.left_out.most_common()),
            "no_files": self.no_files,
            "stale": self.stale,
            "faces": dict(self.faces.most_common()),
            "failures": self.failures,
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
            "a_second": round(self.rate, 3),
            "stopped": self.stopped,
            "cut": self.cut,
            "dropped": self.dropped,
            "reconnects": self.reconnects,
            "latency_ms": self.latency_ms and [round(value, 1) for value in self.latency_ms],
        }

    def show(self, console: Console, quiet: bool = False) -> None:
        """Print the first failures by name and, unless `quiet`, the table of faces and the counts."""
        from rich.table import Table
        from rich.text import Text

        lines = [Text(named(*failure), style="red") for failure in list(self.failed.items())[:NAMED]]
        if self.failures > NAMED:
            where = f": see {self.records}" if self.records else ""
            lines.append(Text(f"and {self.failures - NAMED} more failed{where}", style="red"))
        if not quiet:
            table = Table("faces", "what became of them", box=None)
            for fate, count in self.faces.most_common():
                table.add_row(str(count), Text(fate))
            console.print(*[table] if self.faces else [], end="")
            lines.append(Text(self.sentence()))
        for line in lines:  # Text: names of files are no markup
            console.print(line, soft_wrap=True)

    def sentence(self) -> str:
        """One line: how many, how fast, what failed, and how to go on."""
        parts = [f"{_count(self.done, self.unit)} done in {self.seconds:.1f} s, {self.rate:.1f} a second"]
        if self.without_faces:
            parts.append(f"{self.without_faces} without a face")
        if self.first_only:
            parts.append(f"of {self.first_only} with several pages or frames only the first")
        videos = {suffix: number for suffix, number in self.left_out.items() if suffix in VIDEO_SUFFIXES}
        if unread := self.left_out - Counter(videos):
            parts.append(f"left out {counted(unread.elements())}, kinds that are not read")
        if videos:
            what_to_do = "give a video by itself, or a folder of videos alone"
            parts.append(f"left out {counted(Counter(videos).elements())} beside the pictures: {what_to_do}")
        if self.no_files:
            parts.append(f"left out {listed(self.no_files)}")
        if self.stale:
            parts.append(f"{_count(self.stale, 'file')} of earlier runs stay in {self.output}")
        if self.skipped:
            parts.append(f"{self.skipped} done before")
        if self.latency_ms:
            parts.append(f"{self.dropped} dropped")
            parts.append(f"{self.latency_ms[0]:.0f} ms from camera to output (95%: {self.latency_ms[1]:.0f} ms)")
        if self.reconnects:
            parts.append(f"lost and found again {_count(self.reconnects, 'time')}")
        if self.failures:
            parts.append(f"{self.failures} failed")
        if self.cut:
            parts.append(f"ended early: {self.cut}")
        if self.stopped:
            can_go_on = self.records or self.unit == "video"
            parts.append("stopped before the end" + ("; --resume goes on from here" if can_go_on else ""))
        return "; ".join(parts)


def counted(suffixes: Iterable[str]) -> str:
    """`3 .gif, 1 .heic`: the most frequent first."""
    return ", ".join(f"{number} {suffix}" for suffix, number in Counter(suffixes).most_common())


def listed(no_files: Mapping[str, str]) -> str:
    """`a.jpg (pipe), sub (link to a folder)`: the first `NAMED`."""
    first = ", ".join(f"{name} ({what})" for name, what in list(no_files.items())[:NAMED])
    return first if len(no_files) <= NAMED else f"{first} and {len(no_files) - NAMED} more of this sort"


def named(name: str, reason: str) -> str:
    """`name: reason`, the name once."""
    return reason if name in reason else f"{name}: {reason}"


def _fate(face: Record) -> str:
    return f"{face['decision']} by {face['model']}" if face["model"] else face["decision"]


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
