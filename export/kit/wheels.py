"""The wheels that a device needs, fetched by pip for it, and looked through for what pip overlooks.

pip chooses wheels for another Python and processor, but decides by its own which conditional requirements hold. So what
each wheel requires is read again, as the device would, and pip is asked for what is missing until nothing is.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement  # what ONNX Runtime requires is here wherever this program is
from packaging.utils import canonicalize_name, parse_wheel_filename

from ...runtime.errors import UsageError
from .device import Device

ROUNDS = 5
"""Conditional requirements of conditional requirements; two are usual."""


@dataclass(frozen=True)
class Wheel:
    """One wheel in memory."""

    file: str
    data: bytes

    @property
    def name(self) -> str:
        return parse_wheel_filename(self.file)[0]

    @property
    def version(self) -> str:
        return str(parse_wheel_filename(self.file)[1])


def fetch(wanted: Sequence[str], device: Device, folder: Path | None) -> list[Wheel]:
    """Wheels of `wanted`, requirements as pip takes them, and of all that they require, by name.

    folder: wheels to choose from, without any index; None: whatever pip is set up for.

    Raises:
        UsageError: pip is missing, or finds no wheel of something for the device; the sentence names it.
    """
    asked, missing = list(wanted), list[str]()
    for _ in range(ROUNDS):
        with TemporaryDirectory() as there:
            _download(asked, device, folder, Path(there))
            missing = list(_missing(asked, device, Path(there)))
            if not missing:
                return [Wheel(path.name, path.read_bytes()) for path in sorted(Path(there).glob("*.whl"))]
            asked += missing
    raise UsageError(f"the requirements did not settle in {ROUNDS} rounds, the last asked for: {', '.join(missing)}")


def requirements(metadata: bytes, extras: Sequence[str], device: Device) -> list[Requirement]:
    """Those that hold on the device, of a distribution with some of its extras."""
    named = [Requirement(line) for line in message_from_bytes(metadata).get_all("Requires-Dist", [])]
    environments = [{**device.markers, "extra": extra} for extra in ("", *extras)]
    return [r for r in named if r.marker is None or any(r.marker.evaluate(e) for e in environments)]


def plain(requirement: Requirement) -> str:
    """Without its condition, which holds."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def _missing(asked: Sequence[str], device: Device, folder: Path) -> Iterator[str]:
    """What is required on the device by something that is there, or was asked for, and is not there itself."""
    there = {parse_wheel_filename(path.name)[0]: path for path in folder.glob("*.whl")}
    queue, seen = [Requirement(line) for line in asked], set[tuple[str, frozenset[str]]]()
    while queue:
        requirement = queue.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name not in there:
            yield plain(requirement)
        elif (name, extras) not in seen:
            queue += requirements(_metadata(there[name]), sorted(extras), device)
        seen.add((name, extras))


def _metadata(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
        return archive.read(name)


def _download(wanted: Sequence[str], device: Device, folder: Path | None, destination: Path) -> None:
    source = [] if folder is None else ["--isolated", "--no-index", "--find-links", str(folder)]
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:", *device.pip_options]
    command = [sys.executable, "-m", "pip", "download", *source, *options, "--dest", str(destination), *wanted]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise UsageError(_sentence(done.stderr, device, folder))


def _sentence(said: str, device: Device, folder: Path | None) -> str:
    """What pip could not do, and what to do about it."""
    if "No module named pip" in said:
        return f"{sys.executable} has no pip to fetch wheels with; install it: python -m ensurepip"
    where = f" in {folder}" if folder is not None else ""
    if found := re.search(r"No matching distribution found for (.+)", said):
        if re.search(r"connection broken|Failed to establish|NewConnectionError|ProxyError", said):
            return "pip reaches no package index; connect this machine, or name a folder of wheels with --wheels"
        return (
            f"pip finds no wheel of {found[1].strip()} for {device}{where}; choose another --python, --glibc or "
            "--extra, or build that wheel on such a device (pip wheel) and name its folder with --wheels"
        )
    lines = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR")]
    reason = (lines or said.strip().splitlines() or ["without a word"])[0]
    return f"pip could not fetch wheels for {device}{where}: {reason}"
