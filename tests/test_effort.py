"""Less is done where a live source cannot be kept up with, more where it can, and it is said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import repeat
from types import SimpleNamespace

import numpy as np
import pytest

from fsr.runtime import RestoreOptions, Restorer
from fsr.runtime.bundle import ModelEntry, default_folder, open_bundle
from fsr.runtime.detect import Detector
from fsr.runtime.errors import EngineUnavailableError
from fsr.runtime.media.source import VideoFrame
from fsr.runtime.media.test_scene import TestScene
from fsr.runtime.moving import MovingChain
from fsr.runtime.pipeline import LIGHTEST, models_of_tier
from fsr.runtime.runs import effort
from fsr.runtime.runs.effort import FIRST_STAY, LONGEST_STAY, PACES, Effort, KeepUp
from fsr.runtime.runs.frame_work import FrameWork
from fsr.runtime.search import FaceSearch

BUNDLE = open_bundle(default_folder())
BEST, FAST = models_of_tier(BUNDLE, "L"), models_of_tier(BUNDLE, LIGHTEST)


class Clock:
    """Time passes as the source makes its reader wait, and as the reader works."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def chain() -> MovingChain:
    detector = Detector.open(BUNDLE.path(BUNDLE.manifest.detector.files["fp32"]))
    return MovingChain(FaceSearch(detector, 24), BEST, RestoreOptions)


class Run:
    """Frames that are waited for and worked on, once, and what becomes of it."""

    def __init__(self, chain: MovingChain, lighter: Callable[[], Sequence[ModelEntry]] | None = None) -> None:
        self.chain, self.clock = chain, Clock()
        self.said, self.told = list[str](), list[Effort]()
        self.changes: list[tuple[float, str]] = []
        """When another tier was taken, and which."""
        self._keep_up = KeepUp(chain, lighter, self.said.append, self.told.append, self.clock)

    def __call__(self, waits: Iterable[float], work: float = 0.05) -> None:
        """waits: seconds until each frame is there. work: seconds that it takes."""
        models = self.chain.models
        for _ in self._keep_up(self._source(waits)):
            self.clock.now += work
            if self.chain.models is not models:
                models = self.chain.models
                self.changes.append((self.clock.now, models[0].tier))

    def _source(self, waits: Iterable[float]) -> Iterator[int]:
        for number, wait in enumerate(waits):
            self.clock.now += wait
            yield number


@pytest.fixture(autouse=True)
def threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread does is done before the next frame."""

    class AtOnce:
        def __init__(self, target: Callable[[], None], **_: object) -> None:
            self.start = target

    monkeypatch.setattr(effort, "Thread", AtOnce)


def test_a_source_that_is_too_fast_makes_it_do_less_step_by_step(chain: MovingChain) -> None:
    run = Run(chain)
    run(repeat(0.0, 400))
    assert chain.tracker.pace == PACES[-1] and chain.models is BEST
    assert [each.level for each in run.told] == [1, 2, 3, 4] and len(run.said) == 4
    assert "every 20th frame, mostly at half size" in run.said[1]
    assert run.said[-1].startswith(
        "cannot keep up with the source: some frames are dropped; tier S, a larger --min-face"
    )


def test_time_to_spare_makes_it_do_more_again(chain: MovingChain) -> None:
    run = Run(chain)
    run([*repeat(0.0, 1270), *repeat(0.05, 600)])
    assert chain.tracker.pace == PACES[0] and "cannot keep up" in run.said[0] and "time to spare" in run.said[-1]
    assert run.told[-1] == Effort(0, "")


def test_a_load_that_comes_and_goes_does_not_fill_the_log(chain: MovingChain) -> None:
    minutes, run = 10, Run(chain)
    run(([0.0] * 80 + [0.05] * 60) * minutes * 6)  # some ten seconds each way
    assert 3 <= len(run.said) <= len(PACES) + minutes + 2


def test_a_source_that_is_just_kept_up_with_changes_nothing(chain: MovingChain) -> None:
    run = Run(chain, lambda: FAST)
    run(repeat(0.01, 400), 0.04)
    assert run.said == [] == run.told and chain.tracker.pace == PACES[0] and chain.models is BEST


# The last step: models that take less time


def test_the_last_step_is_the_tier_and_it_is_said(chain: MovingChain) -> None:
    run = Run(chain, lambda: FAST)
    run(repeat(0.0, 600))
    assert chain.models is FAST and chain.tracker.pace == PACES[-1]
    assert [each.level for each in run.told] == [1, 2, 3, 4, 5]
    assert run.told[3].what == "faces are restored by tier S"
    assert "cannot keep up with the source: faces are restored by tier S" in run.said
    last = "some frames are dropped and faces restored by tier S; a larger --min-face"
    assert last in run.said[-1] and run.told[-1].what.startswith(last), "which names no tier that is to be taken still"


def test_the_tier_comes_back_and_it_is_said(chain: MovingChain) -> None:
    run = Run(chain, lambda: FAST)
    run([*repeat(0.0, 600), *repeat(0.05, 2000)])
    assert chain.models is BEST and chain.tracker.pace == PACES[0] and run.told[-1] == Effort()
    assert run.told[-4].what.startswith("faces are restored by tier L again, and new faces")


def test_a_tier_that_is_too_slow_is_tried_ever_more_rarely(chain: MovingChain) -> None:
    """With the best models each frame takes longer than it lasts, with the fast ones half of that."""
    run = Run(chain, lambda: FAST)
    waits = (0.0 if chain.models is BEST else 0.05 for _ in range(60_000))
    run(waits, 0.05)
    stays = [back - away for (away, tier), (back, _) in zip(run.changes, run.changes[1:], strict=False) if tier == "S"]
    wanted = [min(LONGEST_STAY, FIRST_STAY * 2**n) for n in range(len(stays))]
    assert len(stays) >= 6 and stays == pytest.approx(wanted, abs=7)


def test_a_tier_that_did_well_for_long_is_tried_again_soon(chain: MovingChain) -> None:
    run = Run(chain, lambda: FAST)
    run([*repeat(0.0, 400), *repeat(0.05, 6000)] * 2)
    stays = [back - away for (away, tier), (back, _) in zip(run.changes, run.changes[1:], strict=False) if tier == "S"]
    assert len(stays) == 2 and max(stays) < FIRST_STAY + 15


def test_models_are_opened_beside_the_stream(chain: MovingChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "Thread", threading.Thread)
    wanted, opened = threading.Event(), threading.Event()

    def lighter() -> Sequence[ModelEntry]:
        wanted.set()
        assert opened.wait(30)
        return FAST

    def waits() -> Iterator[float]:
        yield from repeat(0.0, 600)
        assert wanted.is_set() and chain.models is BEST and run.told[-1].level == 3, "the stream went on meanwhile"
        opened.set()
        for _ in range(10_000):
            if chain.models is FAST:
                return
            threading.Event().wait(0.001)
            yield 0.0

    run = Run(chain, lighter)
    run(waits())
    assert chain.models is FAST


def test_models_that_cannot_be_opened_are_named_once(chain: MovingChain) -> None:
    def lighter() -> Sequence[ModelEntry]:
        raise EngineUnavailableError("no plan of edge-S-16x8 for this GPU")

    run = Run(chain, lighter)
    run(repeat(0.0, 1000))
    assert sum("cannot be opened: no plan of edge-S-16x8" in line for line in run.said) == 1
    assert chain.models is BEST and run.told[-1].level == len(PACES) and "frames are dropped" in run.said[-1]


# With models


def frames(count: int) -> Iterator[VideoFrame]:
    """A still picture of two faces."""
    pixels = TestScene(faces=2, size_wh=(320, 200), cuts=0, crf=0, seed=3).clean(0)
    for number in range(count):
        yield VideoFrame(pixels, number, Fraction(1, 30), number / 30)


@pytest.mark.parametrize(
    ("tier", "keeps_tier", "live", "expected"),
    [(None, False, True, "S"), (None, True, True, "L"), (None, False, False, "L"), ("S", False, True, "S")],
)
def test_only_a_live_run_without_a_tier_of_the_users_changes_it(
    monkeypatch: pytest.MonkeyPatch, tier: str | None, keeps_tier: bool, live: bool, expected: str
) -> None:
    clock = iter(np.arange(0, 1e6, 2.0))
    monkeypatch.setattr(effort, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(effort, "BUSY", 2.0)  # whatever the share of waiting is, it is too little
    with Restorer.open(tier=tier, engine="onnxruntime", precision="fp32") as restorer:
        assert restorer.has_lighter == (tier is None)
        *_, last = FrameWork(restorer, keeps_tier=keeps_tier).prepared(frames(40), live=live)
        assert not isinstance(last, VideoFrame)
        restored = [face for face in restorer.finish(last.frame.pixels, last).faces if face.restored is not None]
        assert {(face.model or "")[:6] for face in restored} == {f"edge-{expected}"}
        assert tier is not None or {model.tier for model in restorer.lighter()} == {"S"}
    with pytest.raises(EngineUnavailableError, match="tier S"):
        restorer.lighter()
