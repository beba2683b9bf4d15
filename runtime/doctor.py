"""What of this program works on this machine, and the lines that install what does not."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from . import parts
from .machine import Machine, this_machine
from .parts import Part, looked_at

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

MARKS = {True: ("works", "green"), False: ("missing", "yellow"), None: ("?", "dim")}


@dataclass(frozen=True)
class Diagnosis:
    """The machine, and every part that was looked at."""

    machine: Machine
    parts: dict[str, list[Part]]
    """By heading."""

    @property
    def install_lines(self) -> list[str]:
        """For what does not work, each once."""
        lines = [part.install for section in self.parts.values() for part in section]
        return list(dict.fromkeys(line for line in lines if line))


def examine() -> Diagnosis:
    """Look at everything, in about a second; what is broken is shown, never raised."""
    machine = this_machine()
    engines = looked_at("engines", lambda: parts.engines(machine.gpus))
    return Diagnosis(
        machine,
        {
            "engines": engines + looked_at("auto", parts.auto),
            "tensorrt": looked_at("tensorrt", parts.tensorrt),
            "default_bundle": looked_at("default", parts.default_bundle),
            "cameras": looked_at("cameras", parts.cameras),
            "display": looked_at("window", parts.display) + looked_at("page", parts.preview),
            "pictures_and_video": looked_at("pictures", parts.pictures) + looked_at("video", parts.video),
        },
    )


def to_json(diagnosis: Diagnosis) -> str:
    """All of it, and `install_lines`."""
    return json.dumps({**asdict(diagnosis), "install_lines": diagnosis.install_lines}, indent=1)


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Print the table, and the lines that install what is missing: whole, since they are there to be copied."""
    console.print(render(diagnosis))
    if diagnosis.install_lines:
        console.print("\nWhat is missing is installed with:", style="bold")
    for line in diagnosis.install_lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def render(diagnosis: Diagnosis) -> RenderableType:
    """The machine and the parts as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for overflow in ("fold", "ignore", "fold"):
        table.add_column(overflow=overflow)
    for name, value in _facts(diagnosis.machine).items():
        table.add_row(name, "", Text(value))  # as text: what stands in brackets is no markup
    for heading, section in diagnosis.parts.items():
        table.add_row("")
        table.add_row(Text(heading.replace("_", " "), "bold"))
        for part in section:
            table.add_row(Text(part.name), Text(*MARKS[part.works]), Text(part.detail))
    return table


def _facts(machine: Machine) -> dict[str, str]:
    return {
        "system": machine.system,
        "processor": machine.processor,
        "cores": str(machine.cores),
        "vectors": "not known" if machine.vector_extensions is None else ", ".join(machine.vector_extensions) or "none",
        "memory": "not known" if machine.memory_gib is None else f"{machine.memory_gib} GiB",
        "GPU": ", ".join(machine.gpus) or "none found",
        "Python": machine.python,
        "packages": ", ".join(f"{name} {version}" for name, version in machine.packages.items()),
    }
