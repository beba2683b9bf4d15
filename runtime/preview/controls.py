"""What a viewer of the page may change while the pipeline runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import Any

from ..errors import UsageError
from ..options import RestoreOptions

SCALES = (1, 2, 3, 4)


@dataclass(frozen=True)
class Setting:
    """What is set at one moment."""

    paused: bool = False
    """The page holds its picture; the run goes on."""
    strength: float = 1.0
    """As in `RestoreOptions`."""
    scale: int = 2
    """As in `RestoreOptions`."""


class Controls:
    """The setting, shared by the server's thread, which changes it, and the pipeline's, which asks once a frame.

    scales: what may be chosen; one alone where the size of the output is fixed, as while a video is written.
    """

    def __init__(self, start: RestoreOptions, *, fixed_scale: bool = False) -> None:
        self.scales = (start.scale,) if fixed_scale else tuple(sorted({*SCALES, start.scale}))
        self._setting = Setting(False, start.strength, start.scale)
        self._lock = Lock()

    @property
    def setting(self) -> Setting:
        return self._setting

    def change(self, given: Mapping[str, Any]) -> Setting:
        """Set what is given, all of it or nothing.

        Raises:
            UsageError: an unknown name, or a value out of its range.
        """
        with self._lock:
            made = {**asdict(self._setting), **given}
            for name, value in made.items():
                self._check(name, value)
            self._setting = Setting(made["paused"], float(made["strength"]), int(made["scale"]))
            return self._setting

    def options(self, base: RestoreOptions) -> RestoreOptions:
        """`base` as the viewers want it now."""
        now = self._setting
        if (now.strength, now.scale) == (base.strength, base.scale):
            return base
        return replace(base, strength=now.strength, scale=now.scale)

    def _check(self, name: str, value: Any) -> None:
        rules = {
            "paused": (isinstance(value, bool), "true or false"),
            "strength": (_is_number(value) and 0 <= value <= 1, "0 to 1"),
            "scale": (_is_number(value) and value in self.scales, f"one of {', '.join(map(str, self.scales))}"),
        }
        if name not in rules:
            raise UsageError(f"got {name!r}, expected one of {', '.join(rules)}")
        fits, expected = rules[name]
        if not fits:
            raise UsageError(f"{name}: got {value!r}, expected {expected}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
