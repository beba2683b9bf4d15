"""The device that a kit is for: processor, Python and C library, as pip and as wheels name them."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass

from ...runtime.errors import UsageError

PLATFORMS = ("linux_aarch64", "linux_x86_64")
OLDEST_PYTHON = (3, 10)
GLIBC = "2.35"
"""Of Ubuntu 22.04 and JetPack 6; what is newer runs the same wheels."""
THIS_PYTHON = f"3.{sys.version_info.minor}"
OLDEST_GLIBC = 17
"""Minor version: the oldest that any wheel for both processors names."""


@dataclass(frozen=True)
class Device:
    """What wheels must fit."""

    platform: str
    """Of `PLATFORMS`."""
    python: str
    """Such as `3.10`."""
    glibc: str = GLIBC
    """Such as `2.35`: the newest that wheels may ask for."""

    def __post_init__(self) -> None:
        if self.platform not in PLATFORMS:
            raise UsageError(f"--platform: got {self.platform}, expected one of {', '.join(PLATFORMS)}")
        if not re.fullmatch(r"3\.\d+", self.python) or _numbers(self.python) < OLDEST_PYTHON:
            raise UsageError(f"--python: got {self.python}, expected 3.10 or newer, such as 3.12")
        if not re.fullmatch(r"2\.\d+", self.glibc) or _numbers(self.glibc)[1] < OLDEST_GLIBC:
            raise UsageError(f"--glibc: got {self.glibc}, expected 2.{OLDEST_GLIBC} or newer; ldd --version tells")

    def __str__(self) -> str:
        return f"{self.platform}, Python {self.python}, glibc {self.glibc}"

    @property
    def machine(self) -> str:
        """As `uname -m` says it."""
        return self.platform.removeprefix("linux_")

    @property
    def pip_options(self) -> list[str]:
        """Those that let pip choose for the device, what fits it best first."""
        newest = _numbers(self.glibc)[1]
        tags = [f"manylinux_2_{minor}" for minor in range(newest, OLDEST_GLIBC - 1, -1)]
        platforms = [f"{tag}_{self.machine}" for tag in (*tags, "manylinux2014", "linux")]
        named = [option for name in platforms for option in ("--platform", name)]
        return [*named, "--python-version", self.python, "--implementation", "cp"]

    @property
    def markers(self) -> dict[str, str]:
        """What requirements may depend on, as it is there; pip goes by the machine that it runs on."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }


def this_device() -> Device:
    """This machine, where it is one that kits are for."""
    library, version = platform.libc_ver()
    glibc = version if library == "glibc" else GLIBC
    return Device(f"{sys.platform}_{platform.machine()}", THIS_PYTHON, glibc)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
