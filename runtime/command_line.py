"""What the command lines share: errors as one sentence, and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import click
from click.core import ParameterSource

from .errors import FsrError
from .interrupt import terminated_as_interrupted

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("torch", "safetensors", "matplotlib", "skimage"), "train"),
        **dict.fromkeys(("onnx", "onnxscript", "onnxsim"), "export"),
        "lightning_fabric": "distributed",
        "tensorboardX": "tensorboard",
    }
)
"""By module: the extra that brings it."""

MISSING_PART, STOPPED = 2, 130
"""Exit codes."""


@contextmanager
def error_sentences() -> Iterator[None]:
    """End the program with the sentence and exit code of an `FsrError` raised inside, of a missing extra, or of Ctrl-C
    and SIGTERM where nothing else takes them."""
    try:
        with terminated_as_interrupted():
            yield
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except FsrError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        click.echo(f'error: this needs {module}; install it with: pip install "fsr-edge[{EXTRAS[module]}]"', err=True)
        sys.exit(MISSING_PART)


class Commands(click.Group):
    """A group of commands whose errors are one sentence; its help text lists them, in the order they are used in."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: click's own list would say it again, by the alphabet and cut short."""

    def invoke(self, ctx: click.Context) -> Any:
        with error_sentences():
            return super().invoke(ctx)


class Command(click.Command):
    """A single command whose errors are one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        with error_sentences():
            return super().invoke(ctx)


def require_use(options: Collection[str], without: str) -> None:
    """Refuse options that were given and would have no effect `without` something else, which was not."""
    context = click.get_current_context()
    for option in context.command.params:
        if option.name in options and context.get_parameter_source(option.name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option.opts[-1]}: got it without {without}, expected both or neither")
