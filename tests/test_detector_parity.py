"""What a detector in another precision may differ by, and that few faces do not condemn it by chance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fsr.export.detector_parity import DetectorFigures, gate_detector, measure_detector
from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector, Face
from fsr.runtime.engines import open_network
from fsr.runtime.pixels import RgbBatch, RgbImage

GOOD = DetectorFigures(3, 200, 2, 2, 0.97, 0.02, 0.06, 0.001)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"missed": 5}, "misses 5 faces to fp32's 200, expected at most 2 %"),
        ({"added": 5}, "adds 5 faces"),
        ({"faces": 42, "missed": 1, "added": 1}, None),
        ({"faces": 42, "missed": 2}, "misses 2 faces to fp32's 42, expected at most 2 %, or one"),
        ({"mean_iou": 0.9}, "boxes overlap fp32's by 0.900"),
        ({"mean_drift": 0.0303}, None),
        ({"mean_drift": 0.0303, "drift_error": 0.0}, "points move by 0.0303 eye distances on average"),
        ({"mean_drift": 0.04}, "expected at most 0.0320"),
        ({"p95_drift": 0.2}, "at the 95th percentile"),
        ({"mean_drift": float("inf"), "p95_drift": float("inf")}, "points move by inf"),
        ({"mean_drift": float("nan")}, "points move by nan"),
    ],
)
def test_the_gate(changed: dict[str, float], reason: str | None) -> None:
    found = gate_detector(replace(GOOD, **changed))
    assert found == [] if reason is None else any(reason in one for one in found)


class Blind(Detector):
    """It finds nothing."""

    def in_batch(self, frames: RgbBatch, score_threshold: float | None = None) -> list[list[Face]]:
        return [[] for _ in frames]


def test_a_detector_that_finds_nothing_has_no_drift_and_fails(astronaut: RgbImage, grace_hopper: RgbImage) -> None:
    detector = Detector.open(default_detector())
    frames = [astronaut, grace_hopper]
    same = measure_detector(detector, detector, frames)
    assert (same.faces, same.missed, same.added, same.mean_drift, same.drift_error) == (2, 0, 0, 0, 0)
    gone = measure_detector(detector, Blind(open_network("onnxruntime", default_detector())), frames)
    assert (gone.missed, gone.mean_drift) == (2, float("inf")) and gone.to_json()["mean_drift"] is None
    assert len(gate_detector(gone)) == 4
