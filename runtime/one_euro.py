"""How much of a new measurement is believed: the One-Euro filter, in a frame of reference that moves with the face.

Casiez, Roussel and Vogel, "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
2012: a low pass whose cutoff rises with the speed of the signal, so that it is steady at rest and quick in motion. A
face's motion is known here from the flow, and what is filtered is only the detector's deviation from where the flow
has carried the landmarks: at rest by construction, however fast the face moves, so that nothing lags behind.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CUTOFF = 0.025
"""Of a deviation that does not change, in cycles a look."""
RISE = 0.5
"""Cycles a look by which the cutoff rises for every eye distance of deviation above `NOISE`."""
NOISE = 0.15
"""Root mean square deviation in eye distances that the detector has of itself."""


def gain(expected: NDArray[np.floating], measured: NDArray[np.floating]) -> float:
    """Share, 0 to 1, of the way from the `expected` landmarks (5, 2) to the `measured` ones to go."""
    eye_distance = max(float(np.hypot(*(expected[1] - expected[0]))), 1e-6)
    deviation = float(np.sqrt(((measured - expected) ** 2).sum(1).mean())) / eye_distance
    cutoff = CUTOFF + RISE * max(0.0, deviation - NOISE)
    return 1 / (1 + 1 / (2 * math.pi * cutoff))
