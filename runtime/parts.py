"""The parts that a run may need, each looked at: engines, bundle, cameras, display, pictures and video."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from .errors import FsrError

CAMERAS = Path("/dev")
CAMERA_NAMES = Path("/sys/class/video4linux")
FORMATS = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "TIFF": "libtiff"}
"""Kinds of pictures, and what Pillow calls the library that reads and writes them."""
CODECS = {"H.264 reading": "h264", "H.264 writing": "libx264"}

NEED_A_GPU = ("onnxruntime-cuda", "tensorrt", "tensorrt-rtx")
"""Engines that nothing installs where there is none."""

BUILDS_WITHOUT_GPU = "tensorrt-rtx"

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
    from .bundle import default_folder, open_bundle
    from .engines import AUTO, choose_engine
    from .pipeline import models_of_tier

    files = [model.files for model in models_of_tier(open_bundle(default_folder()), None)]
    choice = choose_engine(AUTO, AUTO, set.intersection(*map(set, files)), models=files)
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
            if name in NEED_A_GPU and not gpus and (why := _why_no_gpu()):
                part = Part(name, False, why)
            yield EnginePart(name, False, part.detail, part.install)


def _why_no_gpu() -> str:
    """In the driver's words; empty where there is a GPU."""
    from .engines.cuda_device import find_gpu

    try:
        find_gpu()
    except FsrError as error:
        return str(error)
    return ""


def _engine(name: str, models: Mapping[str, Path]) -> EnginePart:
    from .engines import open_engine, require_engine

    device = require_engine(name)
    runs, fails = [], []
    for precision, model in models.items():
        try:
            with open_engine(name, model, precision):  # which runs it once
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


def preview() -> Iterator[Part]:
    """What the page of `--preview` needs."""
    missing = [name for name in ("starlette", "uvicorn", "websockets") if importlib.util.find_spec(name) is None]
    if missing:
        yield Part("page", False, f"{' and '.join(missing)} not installed", 'pip install "fsr-edge[preview]"')
    else:
        yield Part("page", True, f"uvicorn {version('uvicorn')}")


def tensorrt() -> Iterator[Part]:
    """The GPU, then what TensorRT needs besides it, then the plans in the cache."""
    from .engines.cuda import BINDINGS
    from .engines.cuda_device import find_gpu
    from .engines.trt_library import FLAVOURS

    (gpu,) = looked_at("GPU", lambda: iter([Part("GPU", True, str(find_gpu()))]))
    yield gpu
    for flavour in FLAVOURS:
        yield _where(gpu, looked_at(flavour, partial(_flavour, flavour)))
    for name in BINDINGS:
        yield _where(gpu, looked_at(name, partial(_cuda, name, bool(gpu.works))))
    yield from looked_at("plans", partial(_plans, bool(gpu.works)))


def _where(gpu: Part, found: list[Part]) -> Part:
    """The part; without a GPU nothing here needs it, so that its line only stands beside it, with what it is for."""
    (part,) = found
    if gpu.works or part.install is None:
        return part
    use = "builds plans without a GPU too" if part.name == BUILDS_WITHOUT_GPU else "for an NVIDIA GPU"
    return replace(part, install=None, detail=f"{part.detail}; {use}: {part.install}")


def _flavour(name: str) -> Iterator[Part]:
    from .engines.trt_library import load_tensorrt

    library = load_tensorrt(name)
    ways = [way for way, has in (("typed", library.typed), ("flagged", library.flagged)) if has]
    yield Part(name, True, f"{library.version}, {' and '.join(ways)} networks")


def _cuda(name: str, on_gpu: bool) -> Iterator[Part]:
    """Tried on the GPU; without one it can only be found."""
    from .engines.cuda import installed, open_cuda

    if not installed(name):
        extra = "tensorrt" if name == "pycuda" else "cuda"
        yield Part(name, False, "not installed", f'pip install "fsr-edge[{extra}]"')
    elif on_gpu:
        yield Part(name, True, open_cuda(bindings=name).name)
    else:
        yield Part(name, None, f"{version(name)} is installed; it takes a GPU to try it")


def _plans(on_gpu: bool) -> Iterator[Part]:
    """Where they are, then each."""
    from .engines.plans import AGAIN, BUILD, list_plans, plans_folder

    plans, damaged = list_plans(whole=True)
    how_many = f"{len(plans)} in" if plans else "none; fsr-export build makes them, in"
    yield Part("plans", on_gpu or None if plans else False, f"{how_many} {plans_folder()}")
    for plan in plans:
        parity = plan.record.parity
        state = "not measured" if parity is None else "passed"
        if plan.failures:
            state = f"failed the gate: {plan.failures[0]}; {BUILD} {AGAIN} tries again"
        times = ", ".join(f"{size}: {ms:.3f} ms" for size, ms in plan.record.milliseconds.items())
        yield Part("plan", None if parity is None else plan.passed, f"{plan}; {state}{f'; {times}' if times else ''}")
    for why in damaged.values():
        yield Part("plan", False, why)


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
