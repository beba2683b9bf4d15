"""One model on faces: restored in every precision by every engine, held against the reference and the originals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from ..calibration.drift import LandmarkDrift, find_faces, landmark_drift
from ..calibration.identity import SAME_PERSON, IdentityDrift, IdentityNetwork, embeddings, identity_drift
from ..runtime.bundle import Bundle, ModelEntry, check_file
from ..runtime.detect import Detector
from ..runtime.engines import Engine, open_engine
from ..runtime.errors import EngineUnavailableError
from ..runtime.pixels import RgbBatch
from ..train.metrics import ssim_batch
from .check_result import Checked, Row, Variant, Worst, finite
from .parity import ParityFaces, ParityFigures, decibel, figures, gate, restore, squared_difference
from .parity_faces import Originals, own_faces, spread, stored_faces

REFERENCE = "onnxruntime"
"""The engine whose float32 stands for PyTorch once it has proved equal."""

PROTOCOL = "sparnet"
"""Of SSIM; see `train.metrics`. PSNR is that of `parity`, over all colours."""

SSIM_FACES, DRIFT_FACES, IDENTITY_FACES = 32, 64, 8
"""Of each set, spread evenly: enough for a mean, and these cost more than the network itself."""
WORST_SHOWN = 3


class Tools:
    """The detector and, where it is installed, the identity network that look at restored faces."""

    def __init__(self, bundle: Bundle) -> None:
        self.detector = Detector.open(check_file(bundle.folder, bundle.manifest.detector.files["fp32"]))
        self.identity: IdentityNetwork | None = None
        try:
            self.identity = IdentityNetwork()
            self.identity_note = (
                f"identity: distance of dlib's embeddings, below {SAME_PERSON} one person; {IDENTITY_FACES} faces"
            )
        except EngineUnavailableError as error:
            self.identity_note = f"identity drift was not measured: {error}"


def check_model(
    bundle: Bundle, model: ModelEntry, variants: Mapping[Variant, Engine], originals: Originals | None, tools: Tools
) -> Iterator[Checked]:
    """One model on the parity set, then on faces of one's own if there are any for it."""
    yield check_faces(model, stored_faces(bundle, model), "PyTorch fp32, stored in the bundle", variants, tools)
    if originals is None or (model.framing, model.output_size) not in originals.crops:
        return
    stand_in = variants.get(Variant("fp32", REFERENCE)) or open_engine(
        REFERENCE, check_file(bundle.folder, model.files["fp32"])
    )
    others = {variant: engine for variant, engine in variants.items() if engine is not stand_in}
    faces = own_faces(originals, model, stand_in)
    yield check_faces(model, faces, "ONNX Runtime fp32", others, tools)


def check_faces(
    model: ModelEntry, faces: ParityFaces, reference: str, variants: Mapping[Variant, Engine], tools: Tools
) -> Checked:
    restored = {variant: restore(engine, faces.low) for variant, engine in variants.items()}
    few = spread(len(faces.low), SSIM_FACES)
    looker = Looker(faces, tools)
    measured = {variant: figures(pictures, faces) for variant, pictures in restored.items()}
    rows = [
        Row(
            variant,
            measured[variant],
            mean_psnr(measured[variant].squared_to_high),
            mean_ssim(restored[variant], faces.high, few),
            *looker.drift(restored[variant]),
            gate(measured[variant], variant.precision),
            worst_faces(faces, restored[variant], measured[variant]),
        )
        for variant in variants
    ]
    to_high = squared_difference(faces.reference, faces.high) if faces.high is not None else None
    pictures = {"original": faces.high, reference: faces.reference, **{str(v): r for v, r in restored.items()}}
    return Checked(
        model.name,
        faces.data,
        len(faces.low),
        reference,
        mean_psnr(to_high),
        mean_ssim(faces.reference, faces.high, few),
        len(few),
        rows,
        psnr_between({name: batch for name, batch in pictures.items() if batch is not None}),
    )


def mean_psnr(squared: np.ndarray | None) -> float | None:
    return None if squared is None else finite(float(decibel(squared).mean()))


def mean_ssim(restored: RgbBatch, high: RgbBatch | None, few: Sequence[int]) -> float | None:
    return None if high is None else finite(float(ssim_batch(PROTOCOL, restored[few], high[few]).mean()), 5)


def psnr_between(pictures: Mapping[str, RgbBatch]) -> dict[str, dict[str, float | None]]:
    """dB over all faces' pixels together, of any two; None where they are equal."""
    between: dict[str, dict[str, float | None]] = {name: {} for name in pictures}
    for a, b in combinations(pictures, 2):
        apart = decibel(squared_difference(pictures[a], pictures[b]).mean())
        between[a][b] = between[b][a] = finite(float(apart), 2)
    return between


class Looker:
    """Looks at the reference's faces and the originals once, and at each variant's beside them."""

    def __init__(self, faces: ParityFaces, tools: Tools) -> None:
        self._tools, self._some = tools, spread(len(faces.low), DRIFT_FACES)
        self._found = find_faces(tools.detector, faces.reference[self._some])
        self._before = self._embedded(faces.reference[self._some])
        self._original = None if faces.high is None else self._embedded(faces.high[self._some])

    def drift(self, restored: RgbBatch) -> tuple[LandmarkDrift, IdentityDrift | None]:
        after = restored[self._some]
        landmarks = landmark_drift(self._found, find_faces(self._tools.detector, after))
        embedded = self._embedded(after)
        if self._before is None or embedded is None:
            return landmarks, None
        return landmarks, identity_drift(self._before, embedded, self._original)

    def _embedded(self, pictures: RgbBatch) -> np.ndarray | None:
        """Identities of `IDENTITY_FACES` of the faces looked at; None where there is no network for it."""
        if self._tools.identity is None:
            return None
        few = spread(len(pictures), IDENTITY_FACES)
        try:
            return embeddings(self._tools.identity, [self._found[index] for index in few], pictures[few])
        except EngineUnavailableError as error:  # nothing else is lost by it
            self._tools.identity = None
            self._tools.identity_note = f"identity drift was not measured to the end: {error}"
            return None


def worst_faces(faces: ParityFaces, restored: RgbBatch, measured: ParityFigures) -> list[Worst]:
    """Those that lost most, or differ most where there are no originals."""
    losses = measured.losses
    order = np.argsort(-(measured.squared if losses is None else losses), kind="stable")[:WORST_SHOWN]
    return [
        Worst(
            faces.names[index],
            int(measured.largest[index]),
            None if losses is None else round(float(losses[index]), 4),
            faces.low[index],
            faces.reference[index],
            restored[index],
            None if faces.high is None else faces.high[index],
        )
        for index in map(int, order)
    ]
