"""How a network came to be, as its checkpoint keeps it and a card prints it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from .loop import LoopConfig
    from .processes import Crew

PASSING = ("resume", "device", "compiled", "threads", "tensorboard")
"""Options that say where a run is computed or watched, not what comes out of it."""


def provenance(loop: LoopConfig, crew: Crew) -> dict[str, Any]:
    """What every recipe's checkpoint says of the run itself."""
    return {"command": loop.command, "hardware": crew.hardware}


def command_line() -> str | None:
    """What was typed to start this run, with the options that shape it; None outside of a command.

    Of absolute paths the last name is kept, and of a file in a run's folder the folder's too: the rest says nothing to
    anyone else.
    """
    context = click.get_current_context(silent=True)
    return shlex.join(["fsr-train", context.info_name or "", *_typed(context)]) if context else None


def _typed(context: click.Context) -> Iterator[str]:
    for option in context.command.params:
        name = option.name or ""
        if name in PASSING or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        flag = max(option.opts, key=len)
        if isinstance(option, click.Option) and option.is_flag:
            yield flag
            continue
        for each in value if option.multiple else [value]:
            yield from (flag, _shortened(each) if isinstance(each, Path) else str(each))


def _shortened(path: Path) -> str:
    if not path.is_absolute():
        return path.as_posix()
    return f"{path.parent.name}/{path.name}" if path.stem == "model" else path.name
