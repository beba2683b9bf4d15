"""Fixtures that every test may use: two public-domain portraits, a tiny bundle, a generator, the source files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from fsr.runtime.media.images import read_image
from fsr.runtime.pixels import RgbImage

# Before torch is imported, here and in the programs that tests start: its threads only get into each other's way
# on networks this small.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What was built and timed on this machine is not found: `auto` goes by it. What other programs keep in the cache is.
EMPTY = tempfile.TemporaryDirectory()
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
os.environ.setdefault("PIP_CACHE_DIR", str(CACHE / "pip"))
os.environ.setdefault("MPLCONFIGDIR", str(CACHE / "matplotlib"))
os.environ["XDG_CACHE_HOME"] = EMPTY.name

# A shell ignores Ctrl-C for what it runs in the background, and children inherit that: tests that press it would wait
# for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every run and machine: a failure seen in CI is seen at the desk.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("ci")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def sleeper() -> Iterator[int]:
    """The number of another process that lives as long as the test."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


@pytest.fixture
def astronaut() -> RgbImage:
    """Eileen Collins (NASA), uint8 (512, 512, 3) RGB: one face, 90 px wide."""
    import skimage.data

    return skimage.data.astronaut()


@pytest.fixture
def grace_hopper() -> RgbImage:
    """Grace Hopper (US Navy), uint8 (600, 512, 3) RGB: one face, 170 px wide."""
    import matplotlib.cbook

    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return read_image(Path(str(path)))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two tiny models, measured on a pack of the portraits; to be read, never changed."""
    from rich.console import Console
    from tiny_models import exported_before, saved, tiny_checkpoint, write_portrait_pack

    from fsr.export.write_bundle import BundleConfig, write_bundle

    folder = tmp_path_factory.mktemp("bundle")
    checkpoints = [saved(tiny_checkpoint(16, 8), folder / "16x8"), saved(tiny_checkpoint(32, 4), folder / "32x4")]
    (folder / "16x8" / "log.csv").write_text("minutes,loss,gain\n0.05,0.1,0.2\n0.1,0.05,0.5\n")
    pack = write_portrait_pack(folder / "portraits.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fsr.export.write_bundle.to_onnx", exported_before)
        config = BundleConfig(checkpoints, folder / "tiny", "tiny", "test only", [pack.path])
        return write_bundle(config, Console(quiet=True)).folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def source_files() -> dict[str, Path]:
    """Every file git tracks or would track, by its path from the root with forward slashes."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listing, cwd=ROOT, check=False, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"not a git checkout: {found.stderr.strip()}")
    return {name: ROOT / name for name in found.stdout.split("\0") if name and (ROOT / name).is_file()}
