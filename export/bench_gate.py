"""What the parity gate says, here, of everything that `fsr-export bench` times: speed is no merit of wrong pictures."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from ..runtime.bundle import Bundle, check_file
from ..runtime.detect import Detector
from ..runtime.engines import Network, Upscaler
from ..runtime.engines.speeds import Speed
from ..runtime.engines.trt_library import FLAVOURS
from ..runtime.pixels import RgbImage
from .bench_result import Row
from .check_detector import detector_frames
from .check_faces import REFERENCE
from .detector_parity import gate_detector, measure_detector
from .extend_bundle import DETECTOR
from .parity import gate, measure
from .parity_faces import stored_faces

LOOKS = "looks"
"""What the detector's loads that are no whole pictures are called."""


class Judge:
    """Holds networks against the parity set of their bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._frames: list[RgbImage] = []
        self._reference: Detector | None = None

    def failures(self, model: str, network: Network, precision: str) -> list[str]:
        """Why a model of that name, or the detector, must not be used in that engine and precision here."""
        if model != DETECTOR:
            faces = stored_faces(self._bundle, self._bundle.model(model))
            return gate(measure(Upscaler(network), faces), precision)
        if self._reference is None:
            entry = self._bundle.manifest.detector.files["fp32"]
            self._reference = Detector.open(check_file(self._bundle.folder, entry), REFERENCE)
            self._frames = [frame for some in detector_frames(self._bundle, None).values() for frame in some]
        return gate_detector(measure_detector(self._reference, Detector(network), self._frames))


def speeds_of(rows: Sequence[Row], bundle: Bundle) -> list[Speed]:
    """What `auto` goes by: the time of a face, mean over the loads, and of the detector that of a picture.

    PyTorch, which runs no file, and plans of TensorRT, which have records of their own, are left out.
    """
    files = {model.name: model.files for model in bundle.manifest.models}
    files[DETECTOR] = bundle.manifest.detector.files
    taken: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.file_kilobytes is not None and row.engine not in FLAVOURS and not row.load.endswith(LOOKS):
            taken.setdefault((row.model, row.engine, row.precision), []).append(row)
    return [
        Speed(
            files[model][precision].sha256,
            engine,
            precision,
            round(mean(row.milliseconds.p5 / (1 if model == DETECTOR else int(row.load)) for row in own), 4),
            list(own[0].failures),
        )
        for (model, engine, precision), own in taken.items()
    ]
