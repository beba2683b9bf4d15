"""What `fsr-export kit` does with its options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from .device import THIS_PYTHON, Device, this_device
from .kit import KitConfig, make_kit


def run_kit(
    *,
    output: Path,
    bundle: Path | None,
    platform: str | None,
    python: str | None,
    glibc: str | None,
    extras: Sequence[str],
    also: Sequence[str],
    wheels: Path | None,
) -> None:
    """Print where the kit is; notes go to stderr."""
    device = this_device() if platform is None else Device(platform, THIS_PYTHON)
    asked = {name: value for name, value in (("python", python), ("glibc", glibc)) if value is not None}
    device = replace(device, **asked)
    kit = make_kit(KitConfig(output, device, bundle, extras, also, wheels), lambda line: click.echo(line, err=True))
    click.echo(
        f"{len(kit.wheels)} wheels, {kit.size / 1e6:.1f} MB, sha256 {kit.sha256}; on the device: "
        f"tar xzf {kit.path.name} && sh fsr-kit/install.sh",
        err=True,
    )
    click.echo(kit.path)
