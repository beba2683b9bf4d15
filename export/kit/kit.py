"""A kit: this program, what it requires and a bundle -> one archive that a device installs without a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from ...runtime.bundle import CARD, MANIFEST, check_file, open_bundle
from ...runtime.errors import OutputError, UsageError
from ...runtime.files import require_writable
from ..known_pictures import CALIBRATION, TRAINING
from .archive import write_archive
from .device import Device
from .own_wheel import NAME, installed, metadata, own_wheel
from .wheels import Wheel, fetch, plain, requirements

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "cuda": "cuda",
        "openvino": "openvino",
        "preview": "preview",
        "tensorrt": "cuda",
        "tensorrt-rtx": "tensorrt-rtx",
        "video": "video",
    }
)
"""By name on the command line: the extra of this program. TensorRT itself and pycuda have no wheels, see `NOTES`."""

NOTES: Mapping[str, str] = MappingProxyType(
    {
        "tensorrt": "TensorRT itself is not in the kit: it comes with JetPack (install with --system-site-packages) or "
        "from NVIDIA; CUDA is reached through cuda-bindings, whose major version must be that of CUDA on the device: "
        '--also "cuda-bindings<13" for JetPack 6',
    }
)
SUFFIX = ".tar.gz"
PIP = "pip"
"""In every kit: a system's Python may come without."""
SCRIPT = "install.sh"


@dataclass(frozen=True)
class KitConfig:
    """What to pack, for which device."""

    output: Path
    device: Device
    bundle: Path | None = None
    """None: the default bundle, which is inside the program."""
    extras: Sequence[str] = ()
    """Of `EXTRAS`."""
    also: Sequence[str] = ()
    """Further requirements, or limits of those there are, as pip takes them."""
    wheels: Path | None = None
    """Folder to take wheels from, in place of an index."""

    def __post_init__(self) -> None:
        if not self.output.name.endswith(SUFFIX):
            raise UsageError(f"--output: got {self.output}, expected a name that ends in {SUFFIX}")
        if self.output.exists():
            raise OutputError(f"{self.output}: exists already; choose another --output or remove it")
        if self.wheels is not None and not self.wheels.is_dir():
            raise UsageError(f"--wheels: got {self.wheels}, expected a folder of wheels")
        if dashed := [line for line in self.also if line.startswith("-")]:
            raise UsageError(f'--also: got {dashed[0]}, expected a requirement such as "cuda-bindings<13"')


@dataclass(frozen=True)
class Kit:
    """What was written."""

    path: Path
    wheels: Sequence[str]
    size: int
    sha256: str


def make_kit(config: KitConfig, say: Callable[[str], None]) -> Kit:
    """Write the archive, whole or not at all.

    Raises:
        BundleError: the bundle is damaged. UsageError: a wheel cannot be had. OutputError: nothing can be written.
    """
    require_writable(config.output.parent)
    content = {} if config.bundle is None else bundle_files(config.bundle)
    for extra in config.extras:
        if note := NOTES.get(extra):
            say(f"{extra}: {note}")
    say(f"fetching wheels for {config.device}")
    wheels = [*fetch(wanted(config), config.device, config.wheels), Wheel(*own_wheel())]
    content |= {f"wheels/{wheel.file}": wheel.data for wheel in wheels}
    content["requirements.txt"] = _pinned(wheels)
    content[SCRIPT] = _script(config.device)
    content["kit.json"] = _description(config, wheels)
    content["SHA256SUMS"] = _sums(content)
    write_archive(config.output, content)
    packed = config.output.read_bytes()
    names = sorted(wheel.file for wheel in wheels)
    return Kit(config.output, names, len(packed), hashlib.sha256(packed).hexdigest())


def wanted(config: KitConfig) -> list[str]:
    """Requirements of this program with those extras, pip, and what was asked for besides."""
    extras = [EXTRAS[name] for name in config.extras]
    own = requirements(metadata(installed()).encode(), extras, config.device)
    return [*dict.fromkeys(map(plain, own)), PIP, *config.also]


def bundle_files(folder: Path) -> dict[str, bytes]:
    """What the manifest names, every hash held, the manifest, and what people and the gate read of it."""
    bundle = open_bundle(folder)
    named = {f"bundle/{entry.file}": check_file(folder, entry) for entry in bundle.manifest.file_entries()}
    beside = [name for name in (MANIFEST, CARD, CALIBRATION, TRAINING) if (folder / name).is_file()]
    return named | {f"bundle/{name}": (folder / name).read_bytes() for name in beside}


def _pinned(wheels: Sequence[Wheel]) -> bytes:
    """For `pip install --require-hashes`: nothing else is installed, whatever lies in the folder."""
    lines = [f"{w.name}=={w.version} --hash=sha256:{hashlib.sha256(w.data).hexdigest()}\n" for w in wheels]
    return "".join(sorted(lines)).encode()


def _script(device: Device) -> bytes:
    text = Path(__file__).with_name(SCRIPT).read_text(encoding="utf-8")
    return text.replace("@MACHINE@", device.machine).replace("@PYTHON@", device.python).encode()


def _description(config: KitConfig, wheels: Sequence[Wheel]) -> bytes:
    told = {
        "version": 1,
        "created_with": f"{NAME} {installed().version}",
        "device": asdict(config.device),
        "extras": sorted(config.extras),
        "also": list(config.also),
        "bundle": config.bundle is not None,
        "wheels": {wheel.name: wheel.version for wheel in wheels},
    }
    return f"{json.dumps(told, indent=1, sort_keys=True)}\n".encode()


def _sums(content: Mapping[str, bytes]) -> bytes:
    """As `sha256sum -c` reads it."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(content.items())).encode()
