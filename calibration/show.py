"""Print what a set holds: what it is, its coverage as histograms, and what to mind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from .calibration_set import CalibrationSet
from .coverage import Histogram

BAR = 24
"""Characters of the longest bar."""
ALIKE = 0.9
"""Share of faces in one bin from which a set is called one-sided."""


def show(opened: CalibrationSet, console: Console) -> None:
    """Facts, one table a property, and the warning."""
    about = opened.description
    facts = Table(box=None, show_header=False)
    rows = {
        "set": f"{opened.folder} ({opened.id})",
        "faces": f"{about.faces} at {', '.join(map(str, about.input_sizes))} px, {about.framing} framing",
        "detector frames": str(about.frames),
        "made for": f"bundle {about.bundle}, by {about.created_with}, seed {about.seed}",
        "pictures": f"{about.source}; licence: {about.licence}",
        "chosen from": ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in about.counts.items()),
        "hashes": f"{len(about.files)} files hold",
    }
    for name, value in rows.items():
        facts.add_row(name, Text(value))  # Text: what people write is no markup
    console.print(Group(facts, *map(histogram_table, about.coverage)))
    for sentence in [about.warning, *map(gap, about.coverage)]:
        if sentence:
            console.print(Text(sentence, style="yellow"), soft_wrap=True)


def histogram_table(histogram: Histogram) -> Table:
    """Bins in rows: how many faces the set has, and how many were there to choose from."""
    table = Table("", "set", "found", "", box=None, title=Text(histogram.title), title_justify="left")
    most = max(1, *histogram.chosen)
    for name, chosen, found in zip(bin_names(histogram.edges), histogram.chosen, histogram.found, strict=True):
        table.add_row(name, str(chosen), str(found), "█" * -(-BAR * chosen // most))
    if histogram.unknown:
        table.add_row("unknown", str(histogram.unknown), "", "")
    return table


def bin_names(edges: Sequence[float]) -> list[str]:
    """`below a`, `a to b`, ..., `b and more`."""
    between = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:g}", *between, f"{edges[-1]:g} and more"]


def gap(histogram: Histogram) -> str | None:
    """Names a property in which nearly all faces are alike."""
    total = sum(histogram.chosen)
    if histogram.name == "native_size":  # crops are taken of large faces as if they were further away
        return None
    if total and max(histogram.chosen) > ALIKE * total:
        name = bin_names(histogram.edges)[histogram.chosen.index(max(histogram.chosen))]
        return f"{histogram.title}: {max(histogram.chosen)} of {total} faces are {name}; add pictures of other kinds"
    return None
