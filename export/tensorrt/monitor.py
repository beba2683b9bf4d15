"""How far TensorRT is with a build, and a way to stop it: its IProgressMonitor, where it has one."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

from ...runtime.engines.trt_library import TensorRT

Report = Callable[[str, float], None]
"""Takes the phase that TensorRT is in, in its words, and the share of the build that is done, 0 to 1."""


class Watch:
    """Hands on progress, and lets TensorRT go on until `stop` is set."""

    def __init__(self, report: Report, stop: Event) -> None:
        """stop: set by Ctrl-C; as an exception that would end the process inside TensorRT's own frames."""
        self.report, self.stop = report, stop
        self._phases: dict[str, _Phase] = {}
        self._most = 0.0

    def started(self, name: str, parent: str | None, steps: int) -> None:
        self._phases[name] = _Phase(parent, max(steps, 1))
        self.report(name, self.share)

    def stepped(self, name: str, step: int) -> bool:
        """Whether to go on."""
        if name in self._phases:
            self._phases[name].done = step + 1
        self.report(name, self.share)
        return not self.stop.is_set()

    def finished(self, name: str) -> None:
        self._phases.pop(name, None)

    @property
    def share(self) -> float:
        """Steps of the outermost phase; of the step under way, the share of the phase inside it, and so on.

        It never falls, though phases that follow each other may stand in one step.
        """
        share, weight, inside = 0.0, 1.0, None
        while phase := next(((n, p) for n, p in self._phases.items() if p.parent == inside), None):
            inside, steps = phase[0], phase[1].steps
            share += weight * min(phase[1].done / steps, 1.0)
            weight /= steps
        self._most = max(self._most, min(share, 1.0))
        return self._most


class _Phase:
    def __init__(self, parent: str | None, steps: int) -> None:
        self.parent, self.steps, self.done = parent, steps, 0


def monitor_of(tensorrt: TensorRT, watch: Watch) -> Any | None:
    """An IProgressMonitor that tells `watch`; None for a TensorRT without them, which is 8.6."""
    base = getattr(tensorrt.module, "IProgressMonitor", None)
    if base is None:
        return None

    class Monitor(base):
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            watch.started(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return watch.stepped(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            watch.finished(phase_name)

    return Monitor()
