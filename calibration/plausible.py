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

SEEN_SHARE = 0.5
"""Of the faces, in which the detector must see one: of real ones of 16 to 64 px it does in 96 to 100%, of noise in
none."""
LEAST_SCORE = 0.3
VIEW_SIDE = 96
AT_ONCE = 64


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
    detector = Detector.open(default_detector())
    views = np.stack([cv2.resize(face, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_CUBIC) for face in faces])
    batches = [views[start : start + AT_ONCE] for start in range(0, len(views), AT_ONCE)]
    return float(np.mean([bool(seen) for batch in batches for seen in detector.in_batch(batch, LEAST_SCORE)]))
