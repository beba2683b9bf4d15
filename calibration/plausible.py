"""Whether a calibration set shows what it should: faces, and many of them.

What was measured on noise, or on one face again and again, often passes the parity gate all the same, whose faces it
happens to suit, and fails on others: so such a set is refused before.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..runtime.bundle import default_detector
from ..runtime.detect import Detector
from ..runtime.errors import CalibrationError
from ..runtime.pixels import RgbBatch
from .calibration_set import MINIMUM, CalibrationSet
from .drift import find_faces

SEEN_SHARE = 0.5
"""Of the faces, in which the detector must see one: of real ones of 16 to 64 px it does in 96 to 100%, of noise in
none."""
LEAST_SCORE = 0.3
VIEW_SIDE = 96


def require_faces(calibration: CalibrationSet) -> None:
    """Refuse, by `CalibrationError`, a set of few different faces or of something else."""
    faces = calibration.faces(max(calibration.description.input_sizes))
    advice = "collect a set from pictures of many people"
    if (different := len({face.tobytes() for face in faces})) < MINIMUM:
        raise CalibrationError(
            f"{calibration.folder}: got {different} different faces among {len(faces)}, expected at least {MINIMUM}; "
            f"{advice}"
        )
    if (share := seen_share(faces)) < SEEN_SHARE:
        raise CalibrationError(
            f"{calibration.folder}: a face is seen in {share:.0%} of its pictures, expected {SEEN_SHARE:.0%} or more; "
            f"{advice}"
        )


def seen_share(faces: RgbBatch) -> float:
    """Share of aligned faces, uint8 (N, h, h, 3) RGB, in which the detector sees one."""
    detector = Detector.open(default_detector(), score_threshold=LEAST_SCORE)
    views = np.stack([cv2.resize(face, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_CUBIC) for face in faces])
    return float(np.mean([seen is not None for seen in find_faces(detector, views)]))
