"""The parts that a run may need, each looked at: engines, bundle, cameras, display, pictures and video."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import FsrError

CAMERAS = Path("/dev")
CAMERA_NAMES = Path("/sys/class/video4linux")
FORMATS = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "TIFF": "libtiff"}
"""Kinds of pictures, and what Pillow calls the library that reads and writes them."""
CODECS = {"H.264 reading": "h264", "H.264 writing": "libx264"}

INSTALL_VIDEO = 'pip install "fsr-edge[video]"'
INSTALL_WINDOWS = "pip uninstall -y opencv-python-headless && pip install --force-reinstall opencv-python"
INSTALL_HINT = "; install it with: "
"""Stands in the sentences of errors between what is wrong and the line that mends it."""


@dataclass(frozen=True)
class Part:
    """Something that a run may need."""

    name: str
    works: bool | None
    """None: it cannot be told without trying."""
    detail: str
    """What it is, or why it does not work."""
    install: str | None = None
    """The one line that mends it; None where it works or there is no such line."""


@dataclass(frozen=True)
class EnginePart(Part):
    device: str | None = None
    precisions: tuple[str, ...] = ()
    """In which it ran a model of the default bundle."""


def looked_at(name: str, look: Callable[[], Iterator[Part]]) -> list[Part]:
    """What `look` finds; if it fails, one part called `name` that says how."""
    try:
        return list(look())
    except Exception as error:  # whatever a broken install raises is what is to be shown
        return [_broken(name, error)]


def _broken(name: str, error: Exception) -> Part:
    sentence = str(error) if isinstance(error, FsrError) else f"{type(error).__name__}: {error}"
    detail, _, install = sentence.partition(INSTALL_HINT)
    return Part(name, False, detail, install or None)


def auto() -> Iterator[Part]:
    """What `--engine auto --precision auto` takes of the default bundle, and why."""
    from .engines import AUTO, choose_engine

    choice = choose_engine(AUTO, AUTO, _models_to_try())
    yield Part("auto", True, f"takes {choice.engine}: {choice.why}; {choice.precision}: {choice.why_precision}")


def engines(gpus: list[str]) -> Iterator[EnginePart]:
    """Every engine, tried with a model of the default bundle in each of its precisions."""
    from .engines import OPENERS

    models = _models_to_try()
    for name in OPENERS:
        try:
            yield _engine(name, models)
        except Exception as error:  # as in `looked_at`
            part = _broken(name, error)
            if name == "onnxruntime-cuda" and not gpus:
                part = Part(name, False, "no NVIDIA GPU was found")
            yield EnginePart(name, False, part.detail, part.install)


def _engine(name: str, models: Mapping[str, Path]) -> EnginePart:
    from .engines import open_engine, open_network
    from .engines.choice import PROBE

    device = open_network(name, PROBE).device
    runs, fails = [], []
    for precision, model in models.items():
        try:
            open_engine(name, model, precision)  # which runs it once
            runs.append(precision)
        except FsrError as error:
            fails.append(f"; not {precision}: {error}")
    detail = f"{device}; runs {', '.join(runs) or 'no model of the default bundle'}{''.join(fails)}"
    return EnginePart(name, True, detail, device=device, precisions=tuple(runs))


def _models_to_try() -> dict[str, Path]:
    """The default bundle's quickest model in each precision; none of a bundle that is damaged."""
    from .bundle import default_folder, open_bundle

    try:
        bundle = open_bundle(default_folder())
    except FsrError:  # `default_bundle` says so
        return {}
    by_work = sorted(bundle.manifest.models, key=lambda model: -model.multiply_accumulates)
    return {precision: bundle.path(entry) for model in by_work for precision, entry in model.files.items()}


def default_bundle() -> Iterator[Part]:
    """The bundle, then its models."""
    from .bundle import default_folder, open_bundle

    bundle = open_bundle(default_folder())
    files = len(bundle.manifest.file_entries())
    yield Part(bundle.manifest.name, True, f"{files} files, every hash holds, {bundle.folder}")
    for model in bundle.manifest.models:
        faces = f"faces of {model.native_from:g} to {model.native_to:g} px"
        sizes = f"{model.input_size} -> {model.output_size} px"
        yield Part(model.name, True, f"tier {model.tier}, {faces}, {sizes}, {', '.join(model.files)}")


def cameras() -> Iterator[Part]:
    """Those that Linux lists; none is opened, since that may take seconds."""
    if sys.platform != "linux":
        yield Part("cameras", None, "this system does not list them; try fsr-run --camera 0")
        return
    devices = sorted(CAMERAS.glob("video[0-9]*"), key=lambda device: int(device.name.removeprefix("video")))
    if not devices:
        yield Part("cameras", False, f"no {CAMERAS}/video*; plug one in, or pass it to the container")
    for device in devices:
        file = CAMERA_NAMES / device.name / "name"
        name = file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else "without a name"
        if os.access(device, os.R_OK | os.W_OK):
            yield Part(str(device), True, name)
        else:
            yield Part(str(device), False, f"{name}; this user may not read it", 'sudo usermod -aG video "$USER"')


def display() -> Iterator[Part]:
    """Whether a window can be shown."""
    from .media.window import has_display

    works, why = has_display()
    mends = not works and "headless" in why
    yield Part("window", works, why, INSTALL_WINDOWS if mends else None)


def pictures() -> Iterator[Part]:
    """The formats that Pillow reads and writes here."""
    from PIL import features

    for name, library in FORMATS.items():
        if features.check(library):
            yield Part(name, True, f"{library} {features.version(library) or ''}".strip())
        else:
            yield Part(name, False, f"this Pillow has no {library}", "pip install --force-reinstall pillow")


def video() -> Iterator[Part]:
    """PyAV and the codecs that it brings."""
    try:
        import av
    except ImportError as error:
        yield Part("video", False, f"PyAV cannot be imported ({error})", INSTALL_VIDEO)
        return
    yield Part("video", True, f"PyAV {av.__version__}")
    for name, codec in CODECS.items():
        if codec in av.codecs_available:
            yield Part(name, True, codec)
        else:
            yield Part(name, False, f"this PyAV has no {codec}", "pip install --force-reinstall av")
