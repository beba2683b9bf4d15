"""Faces to check a bundle on: those that it carries, or those of any folder of pictures or pack.

picture -> hash -> face found as the runtime does -> aligned crop at each model's output size -> shrunk to its input.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..calibration.crops import outside_share
from ..runtime.bundle import Bundle, ModelEntry, check_file
from ..runtime.detect import Detector
from ..runtime.engines import Engine
from ..runtime.errors import BundleError, FsrError, InputError
from ..runtime.geometry import crop_from_landmarks, framing, native_size, warp
from ..runtime.machine import cores
from ..runtime.media.images import find_images, read_image
from ..runtime.pixels import RgbBatch, RgbImage
from ..runtime.search import FaceSearch, FoundFace, width_of
from ..runtime.tiles import untile
from ..train.degrade import shrink
from .known_pictures import KnownPictures, known_pictures
from .parity import ParityFaces, restore

TOO_SMALL = "without a face large enough"
MAX_UPSCALE = 1.35
"""A face is left out where its crop would enlarge the picture by more, as `fsr-train prepare` does."""
MAX_OUTSIDE = 0.15
"""Share of a crop that may lie outside the picture, likewise."""

Kind = tuple[str, int]
"""Framing and size of crops."""


@dataclass(frozen=True, eq=False)
class Originals:
    """High-resolution faces of one's own."""

    data: str
    """Where they come from."""
    crops: Mapping[Kind, tuple[Sequence[str], RgbBatch]]
    """Names, and uint8 (N, S, S, 3) RGB."""
    left_out: Mapping[str, int]
    """Pictures without a face here, by reason."""
    apart: str
    """What is known of their being apart from calibration and training, in a sentence."""


def stored_faces(bundle: Bundle, model: ModelEntry) -> ParityFaces:
    """The parity set of a bundle, with what PyTorch made of it in float32 when the bundle was made.

    Raises:
        BundleError: the set has no faces for that model, or pictures of other sizes.
    """
    parity = bundle.manifest.parity_set
    output = next((output for output in parity.outputs if output.model == model.name), None)
    high = parity.high.get(f"{model.framing}-{model.output_size}")
    if output is None or high is None:
        raise BundleError(f"{bundle.folder}: its parity set has no faces for {model.name}; make the bundle again")
    low, restored, original = (
        untile(read_image(bundle.path(entry)), parity.faces, parity.columns)
        for entry in (output.low, output.restored, high)
    )
    names = [f"parity {index}" for index in range(parity.faces)]
    return ParityFaces("parity set", low, restored, original, names)


def own_faces(originals: Originals, model: ModelEntry, reference: Engine) -> ParityFaces:
    """Faces of one's own for a model: shrunk with antialiasing, the reference made by `reference` in float32.

    Raises:
        InputError: none is large enough for that model.
    """
    names, high = originals.crops.get((model.framing, model.output_size), ((), ()))
    if not len(high):
        reasons = ", ".join(f"{count} {reason}" for reason, count in originals.left_out.items()) or "none of its size"
        raise InputError(
            f"{originals.data}: no face for {model.name}, expected {model.framing} framing and {model.output_size} px: "
            f"{reasons}"
        )
    low = shrink(np.asarray(high, np.uint8), model.input_size)
    return ParityFaces(originals.data, low, restore(reference, low), np.asarray(high, np.uint8), names)


def open_originals(
    path: Path, bundle: Bundle, models: Sequence[ModelEntry], count: int, advance: Callable[[], None]
) -> Originals:
    """Up to `count` faces, spread evenly over a folder of pictures or over the test faces of a pack.

    Raises:
        InputError, PackError: missing, damaged, or without a usable face.
    """
    kinds = sorted({(model.framing, model.output_size) for model in models})
    if path.suffix == ".safetensors":
        return _of_pack(path, bundle, kinds, count)
    return _of_folder(path, bundle, kinds, count, advance)


def spread(total: int, count: int) -> list[int]:
    """Indices of up to `count` of `total` things at even distances."""
    return np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist()


@dataclass(frozen=True)
class Chosen:
    """Pictures of one's own to check on."""

    hashes: Mapping[Path, str | None]
    """SHA-256 of each; None of what cannot be read."""
    known: Mapping[str, int]
    """Pictures that were passed over since the bundle has seen them, by where."""


def choose_pictures(pictures: Sequence[Path], count: int, known: KnownPictures) -> Chosen:
    """Up to `count`, spread evenly, without those that are `known`.

    As many as are wanted are read at a time, since a folder may hold far more.
    """
    rest, apart, passed_over = list(pictures), dict[Path, str | None](), Counter[str]()
    while rest and len(apart) < count:
        some = {rest[index]: _sha256(rest[index]) for index in spread(len(rest), count)}
        rest = [picture for picture in rest if picture not in some]
        reasons = {picture: known.why(sha256) for picture, sha256 in some.items()}
        passed_over.update(reason for reason in reasons.values() if reason)
        apart |= {picture: sha256 for picture, sha256 in some.items() if not reasons[picture]}
    in_order = [picture for picture in pictures if picture in apart]
    return Chosen({in_order[index]: apart[in_order[index]] for index in spread(len(apart), count)}, passed_over)


def _sha256(picture: Path) -> str | None:
    try:
        return hashlib.sha256(picture.read_bytes()).hexdigest()
    except OSError:
        return None


def _of_pack(path: Path, bundle: Bundle, kinds: Sequence[Kind], count: int) -> Originals:
    from ..train.pack import open_pack, read_split  # needs safetensors, which a device may lack

    pack = open_pack(path)
    kind = pack.framing, pack.size
    if kind not in kinds or not pack.count("test"):
        wanted = " or ".join(f"{name} framing, {size} px" for name, size in kinds)
        raise InputError(
            f"{path}: got {pack.count('test')} test faces in {kind[0]} framing, {kind[1]} px, expected some in {wanted}"
        )
    known = known_pictures(bundle)
    faces = pack.faces["test"]
    reasons = [known.why(face.picture) for face in faces]
    left_out = Counter(reason for reason in reasons if reason)
    new = [index for index, reason in enumerate(reasons) if not reason]
    if not new:
        raise InputError(f"{path}: no test face to check on: {_counts(left_out)}")
    chosen = [new[index] for index in spread(len(new), count)]
    trained_on = {data.sha256 for model in bundle.manifest.models for data in model.data}
    apart = "test faces of a pack, no person of which it trains on"
    apart += "; models here were trained on its other faces" if pack.sha256["train"] in trained_on else ""
    named = all(face.picture for face in faces)
    apart += f"; {known.apart}" if named else "; the pack keeps no hashes of its pictures to compare"
    names = [faces[index].name for index in chosen]
    return Originals(f"{pack.source} test", {kind: (names, read_split(pack, "test")[chosen])}, left_out, apart)


def _of_folder(path: Path, bundle: Bundle, kinds: Sequence[Kind], count: int, advance: Callable[[], None]) -> Originals:
    known = known_pictures(bundle)
    chosen = choose_pictures(find_images(path), count, known)
    search = open_search(bundle, kinds)
    seen: set[str] = set()

    def look(picture: Path) -> dict[Kind, RgbImage] | str:
        try:
            if (sha256 := chosen.hashes[picture]) in seen:
                return "a copy of another picture"
            if sha256 is not None:
                seen.add(sha256)
            return crop_largest(read_image(picture), search, kinds)
        except FsrError:
            return "not readable"
        finally:
            advance()

    with ThreadPoolExecutor(cores()) as pool:  # decoding, searching and warping leave the interpreter's lock
        looks = dict(zip(chosen.hashes, pool.map(look, chosen.hashes), strict=True))
    found = {str(p.relative_to(path)): crops for p, crops in looks.items() if isinstance(crops, dict)}
    left_out = Counter(reason for reason in looks.values() if isinstance(reason, str)) + Counter(chosen.known)
    if not found:
        raise InputError(f"{path}: no face to check on in {left_out.total()} pictures: {_counts(left_out)}")
    crops = {}
    for kind in kinds:
        names = [name for name, by_kind in found.items() if kind in by_kind]
        if names:
            crops[kind] = names, np.stack([found[name][kind] for name in names])
    return Originals(str(path), crops, dict(left_out.most_common()), known.apart)


def _counts(left_out: Counter[str]) -> str:
    """Such as `3 not readable, 1 in the training data`."""
    return ", ".join(f"{number} {reason}" for reason, number in left_out.most_common())


def open_search(bundle: Bundle, kinds: Sequence[Kind]) -> FaceSearch:
    """For faces large enough for the smallest of those crops; nothing smaller is looked for."""
    detector = Detector.open(check_file(bundle.folder, bundle.manifest.detector.files["fp32"]))
    return FaceSearch(detector, min(framing(name).face_width * size / MAX_UPSCALE for name, size in kinds))


def crop_largest(image: RgbImage, search: FaceSearch, kinds: Sequence[Kind]) -> dict[Kind, RgbImage] | str:
    """Aligned crops of a picture's largest face at each size that it is large enough for, or why there is none."""
    found: list[FoundFace] = search(image)
    if not found:
        return TOO_SMALL
    best = max(found, key=lambda f: width_of(f.face))
    crops, reason = {}, TOO_SMALL
    for name, size in kinds:
        try:
            crop_from_image = crop_from_landmarks(best.face.landmarks, name, size)
        except FsrError:  # points that coincide
            return "with a face whose points are not reliable"
        if native_size(crop_from_image, size) * MAX_UPSCALE < size:
            continue
        if outside_share(crop_from_image, size, image) > MAX_OUTSIDE:
            reason = "with a face at the border"
            continue
        crops[name, size] = warp(image, crop_from_image, (size, size))
    return crops or reason
