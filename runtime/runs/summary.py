"""What a run did, for the end of it: counted, in a table, as JSON, as an exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .records import Record

if TYPE_CHECKING:
    from rich.console import Console

    from .stats import StatsSnapshot

NAMED = 10
"""Failures that are named at the end; the others are in results.jsonl."""


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
    stale: int = 0
    """Results of earlier runs in the output folder that this run neither wrote nor kept."""
    seconds: float = 0.0
    stopped: bool = False
    """By Ctrl-C or SIGTERM, before the end."""
    whole: bool = False
    """Every frame of a source, to its end."""
    cut: str | None = None
    """Why the source ended early."""
    dropped: int = 0
    """Frames of a live source that came faster than they were taken."""
    reconnects: int = 0
    """How often a live source was lost and found again."""
    latency_ms: tuple[float, float] | None = None
    """Median and 95th percentile from capture until a frame was in every output; None of a file."""
    faces: Counter[str] = field(default_factory=Counter)
    """By what became of them."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by name."""

    def add(self, name: str, record: Record) -> None:
        """Count one record: a failed one has an `error`."""
        if "error" in record:
            self.failed[name] = record["error"]
            return
        self.done += 1
        self.without_faces += not record["faces"]
        self.first_only += record.get("frames", 1) > 1
        self.faces.update(_fate(face) for face in record["faces"])

    def count_stream(self, dropped: int, reconnects: int, figures: StatsSnapshot) -> None:
        """Take over what a live source and the run over it have counted."""
        self.dropped, self.reconnects = dropped, reconnects
        if figures.latency_ms_median is not None and figures.latency_ms_p95 is not None:
            self.latency_ms = figures.latency_ms_median, figures.latency_ms_p95

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C or SIGTERM, 1 where something failed, else 0."""
        return 130 if self.stopped else int(bool(self.failed or self.cut))

    @property
    def finished(self) -> int:
        """Done now or before, or failed."""
        return self.done + self.skipped + len(self.failed)

    @property
    def rate(self) -> float:
        """Pictures or frames a second."""
        return self.done / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Every count, with names and reasons of all that failed."""
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
            "stale": self.stale,
            "faces": dict(self.faces.most_common()),
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
        if len(self.failed) > NAMED:
            where = f": see {self.records}" if self.records else ""
            lines.append(Text(f"and {len(self.failed) - NAMED} more failed{where}", style="red"))
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
        if self.left_out:
            parts.append(f"left out {counted(self.left_out.elements())}, kinds that are not read in a folder")
        if self.stale:
            parts.append(f"{_count(self.stale, 'file')} of earlier runs stay in {self.output}")
        if self.skipped:
            parts.append(f"{self.skipped} done before")
        if self.latency_ms:
            parts.append(f"{self.dropped} dropped")
            parts.append(f"{self.latency_ms[0]:.0f} ms from camera to output (95%: {self.latency_ms[1]:.0f} ms)")
        if self.reconnects:
            parts.append(f"lost and found again {_count(self.reconnects, 'time')}")
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        if self.cut:
            parts.append(f"ended early: {self.cut}")
        if self.stopped:
            can_go_on = self.records or self.unit == "video"
            parts.append("stopped by a signal" + ("; --resume goes on from here" if can_go_on else ""))
        return "; ".join(parts)


def counted(suffixes: Iterable[str]) -> str:
    """`3 .gif, 1 .heic`: the most frequent first."""
    return ", ".join(f"{number} {suffix}" for suffix, number in Counter(suffixes).most_common())


def named(name: str, reason: str) -> str:
    """`name: reason`, the name once."""
    return reason if name in reason else f"{name}: {reason}"


def _fate(face: Record) -> str:
    return f"{face['decision']} by {face['model']}" if face["model"] else face["decision"]


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
