"""Help whose options stand in sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..command_line import Command


class SectionedCommand(Command):
    """A command that lists its options under headings.

    sections: names of options by heading, in order; an option named in none of them comes last, under *More*.
    """

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {p.name: record for p in self.get_params(ctx) if (record := p.get_help_record(ctx))}
        for heading, names in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section("More"):
            formatter.write_dl(list(records.values()))
