"""What `fsr-export quantize` and `fsr-export half` do with their options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from ..runtime.errors import InputError, ParityError
from .extend_bundle import Reduced
from .half_bundle import HalfRequest, half_bundle, half_file
from .quantize import QuantizeConfig
from .quantize_bundle import QuantizeRequest, in_float, quantize_bundle, quantize_file, words_of


def run_quantize(
    model: Path,
    calibration: Path,
    output: Path,
    method: str,
    models: Sequence[str],
    faces: Path | None,
    float_layers: Sequence[str],
    tensorrt_8: bool,
) -> None:
    """Write int8 and say what it is.

    Raises:
        ParityError: a model did not pass; those that did are written.
    """
    config = QuantizeConfig(method, tuple(float_layers), tensorrt_8)
    request = QuantizeRequest(model, calibration, output, config, tuple(models), faces)
    console = Console(stderr=True)
    _require_there(model)
    if model.is_dir():
        _tell(*quantize_bundle(request, console), output)
    else:
        attempt, figures = quantize_file(request)
        click.echo(f"{output}: {words_of([figures])}; {in_float(attempt)}")


def run_half(model: Path, output: Path, models: Sequence[str]) -> None:
    """Write float16 and say what it is; errors as for `run_quantize`."""
    request = HalfRequest(model, output, tuple(models))
    _require_there(model)
    if model.is_dir():
        _tell(*half_bundle(request, Console(stderr=True)), output)
    else:
        click.echo(f"{output}: {half_file(request):.1f} dB to fp32")


def _require_there(model: Path) -> None:
    if not model.exists():
        raise InputError(f"{model}: nothing there; expected a bundle's folder or an ONNX file made by fsr-export")


def _tell(passed: Sequence[Reduced], failed: Sequence[str], output: Path) -> None:
    for item in passed:
        click.echo(f"{item.name}: {item.figures}")
    click.echo(output)
    if failed:
        raise ParityError(f"{'; '.join(failed)}; {output} was written without {'it' if len(failed) == 1 else 'them'}")
