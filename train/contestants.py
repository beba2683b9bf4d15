"""Contestants: what is compared on the faces of a pack, each a way to restore them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.bundle import Bundle, ModelEntry, open_bundle
from ..runtime.engines import open_engine
from ..runtime.errors import InputError, UsageError
from ..runtime.machine import cores
from ..runtime.pixels import RgbBatch
from .checkpoint import MODEL_FILE, load_checkpoint
from .degrade import shrink
from .pack import PackInfo
from .prior_views import plain_views, require_view
from .priors import Priors, read_priors
from .restore import restore

BATCH = 50
MARK = "(sees the prior)"
"""What follows the name of a contestant that is told of the original where its parts lie."""


@dataclass(frozen=True)
class Contestant:
    """A way to restore faces, by name."""

    name: str
    framing: str
    input_size: int
    output_size: int
    restore: Callable[[RgbBatch, Priors | None], RgbBatch]
    """uint8 (N, input_size, input_size, 3) RGB and the priors of these faces -> (N, output_size, output_size, 3).

    The priors are those of the originals; only one that sees them looks at them, and needs them."""
    sees_prior: bool = False
    """A teacher: beside others it shows what the prior gives, but where faces are restored there is no original."""


def open_contestants(path: Path) -> list[Contestant]:
    """A checkpoint as one contestant, a bundle as one for each model and precision, run by ONNX Runtime.

    Raises:
        InputError: neither a bundle's folder nor a checkpoint; damaged ones as `open_bundle` and `load_checkpoint` say.
        CheckpointError: it sees a prior of an unknown kind.
    """
    if path.is_dir():
        bundle = open_bundle(path)
        models = [(model, precision) for model in bundle.manifest.models for precision in model.files]
        return [_of_bundle(bundle, model, precision) for model, precision in models]
    if not path.exists():
        raise InputError(f"{path}: nothing there; expected a checkpoint (.safetensors) or a bundle's folder")
    return [_of_checkpoint(path)]


def open_all(paths: Sequence[Path]) -> list[Contestant]:
    """Those of all paths, as `open_contestants`; where several would have one name, with their paths behind it.

    Raises:
        UsageError: a path is given twice.
    """
    if twice := [path for path, times in Counter(path.resolve() for path in paths).items() if times > 1]:
        raise UsageError(f"{twice[0]}: got it twice, expected every model once")
    opened = [(path, contestant) for path in paths for contestant in open_contestants(path)]
    times = Counter(contestant.name for _, contestant in opened)
    return [replace(one, name=f"{one.name}, {path}") if times[one.name] > 1 else one for path, one in opened]


def _of_checkpoint(path: Path) -> Contestant:
    checkpoint = load_checkpoint(path)
    network = checkpoint.build()
    config: Any = network.config
    channels = getattr(config, "prior", 0)
    name = path.parent.name if path.name == MODEL_FILE else path.stem
    if channels:
        require_view(channels, str(path))
        name = f"{name} {MARK}"

    def run(low: RgbBatch, priors: Priors | None) -> RgbBatch:
        if not channels:
            return restore(network, low)
        assert priors is not None
        return restore(network, low, prior=plain_views(priors, channels, config.prior_size))

    return Contestant(name, checkpoint.framing, config.input_size, config.output_size, run, channels > 0)


def _of_bundle(bundle: Bundle, model: ModelEntry, precision: str) -> Contestant:
    engine = open_engine("onnxruntime", bundle.path(model.files[precision]), precision)

    def run(low: RgbBatch, _: Priors | None) -> RgbBatch:
        with ThreadPoolExecutor(cores()) as pool:  # an engine has one thread
            return np.concatenate([*pool.map(engine, (low[n : n + BATCH] for n in range(0, len(low), BATCH)))])

    return Contestant(f"{model.name} {precision}", model.framing, model.input_size, model.output_size, run)


def bicubic(output_size: int, input_size: int, framing: str) -> Contestant:
    """Antialiased bicubic, the floor of every table."""
    return Contestant("bicubic", framing, input_size, output_size, lambda low, _: shrink(low, output_size))


def fits(pack: PackInfo, framing: str, size: int) -> bool:
    """Whether a pack's faces have that framing and that size in pixels."""
    return (pack.framing, pack.size) == (framing, size)


def fitting(contestants: Sequence[Contestant], pack: PackInfo) -> list[Contestant]:
    """Those that restore the pack's faces."""
    return [c for c in contestants if fits(pack, c.framing, c.output_size)]


def priors_for(contestants: Sequence[Contestant], pack: PackInfo, split: str) -> Priors | None:
    """The priors of a split's faces if any of the contestants sees them.

    Raises:
        PackError: the pack has none, or they are damaged.
    """
    return read_priors(pack, split) if any(c.sees_prior for c in contestants) else None
