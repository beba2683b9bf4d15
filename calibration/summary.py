"""What a collection left out, in a few lines at its end."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from .collect import Report, counted

NAMED = 5
"""Files that are named at the end, of each kind."""


def summarise(report: Report, count: int, console: Console) -> None:
    """Failures in red, pictures without a face, the counts, and the set's warning."""
    found, about = report.found, report.collected.description
    failed, faceless = list(found.failed.values()), found.faceless
    lines = [Text(sentence, style="red") for sentence in failed[:NAMED]]
    if len(failed) > NAMED:
        lines.append(Text(f"and {len(failed) - NAMED} more could not be read", style="red"))
    if faceless:
        more = f" and {len(faceless) - NAMED} more" if len(faceless) > NAMED else ""
        lines.append(Text(f"no usable face in {', '.join(faceless[:NAMED])}{more}"))
    lines.append(Text(f"{about.faces} faces and {about.frames} detector frames of {counted(about.counts)}"))
    if about.faces < count:
        lines.append(Text(f"got {about.faces} different faces, --count asked for {count}: all were taken", "yellow"))
    if about.warning:
        lines.append(Text(about.warning, "yellow"))
    for line in lines:
        console.print(line, soft_wrap=True)
