"""What is known of a plan, an engine that TensorRT built for one machine: the JSON file beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

VERSION = 1
"""Of a record; raised when a field changes its meaning."""
DIGITS = 16
"""Of a key's hash that stand in the names of its files."""


@dataclass(frozen=True)
class PlanKey:
    """All that a plan depends on: where one of these differs, it is another plan."""

    onnx: str
    """SHA-256 of the ONNX file that is asked for."""
    precision: str
    flavour: str
    version: str
    """Of TensorRT."""
    gpu: str | None
    """As its driver calls it; None where it was built for compute capabilities and not for the GPU at hand."""
    compute_capabilities: list[str]
    """Such as `8.9`."""
    profiles: list[list[list[int]]]
    """Optimisation profiles in their order, each the smallest, usual and largest shape of the input."""
    options: dict[str, str]
    """What else was asked of the builder, such as the file that it was built from where that is another."""

    @property
    def digest(self) -> str:
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


@dataclass(frozen=True)
class PlanParity:
    """What the gate said of a plan on the device that it was built for."""

    faces: int
    failures: list[str]
    """Why it must not be used; empty if it passed."""
    psnr_to_fp32: float | None = None
    """dB; None, too, where nothing differs."""
    max_difference: int | None = None
    """Grey levels."""

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass(frozen=True)
class PlanRecord:
    """What is known of a plan: the JSON file beside it."""

    record: int
    """`VERSION`."""
    model: str
    """For people."""
    key: PlanKey
    sha256: str
    size: int
    """Bytes of the plan."""
    created_with: str
    created: str
    """When, ISO 8601 in UTC."""
    build_seconds: float
    workspace_mib: int | None = None
    """That the build was given; None where TensorRT's own limit was kept."""
    parity: PlanParity | None = None
    """None: not measured, and `auto` leaves it alone."""
    milliseconds: dict[str, float] = field(default_factory=dict)
    """By batch size, from host to host; empty where not measured."""
    measured_on: str | None = None
    """GPU, driver and TensorRT of `parity` and `milliseconds`."""


@dataclass(frozen=True)
class Plan:
    """A plan in the cache whose record could be read."""

    path: Path
    record: PlanRecord

    @property
    def passed(self) -> bool:
        """Whether its parity was measured here and found near enough."""
        return self.record.parity is not None and self.record.parity.passed

    @property
    def failures(self) -> list[str]:
        """Why the gate refused it; none where it passed or was not measured."""
        return [] if self.record.parity is None else self.record.parity.failures

    def is_of(self, onnx: str, precision: str) -> bool:
        """Whether it runs the ONNX file of that SHA-256 in that precision."""
        return (self.record.key.onnx, self.record.key.precision) == (onnx, precision)

    def __str__(self) -> str:
        key = self.record.key
        where = key.gpu or f"compute capability {', '.join(key.compute_capabilities)}"
        return f"{self.record.model} {key.precision} for {where} ({key.flavour} {key.version})"


def capability_text(compute_capability: tuple[int, int]) -> str:
    """As keys hold it, such as `8.9`."""
    return f"{compute_capability[0]}.{compute_capability[1]}"
