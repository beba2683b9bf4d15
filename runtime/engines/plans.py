"""Plans: engines that TensorRT built for one machine, kept in a cache outside any bundle.

A plan lies there as TensorRT wrote it, so that trtexec opens it, beside a JSON file of the same name that says what it
was built from and for. Deserialising a foreign or damaged plan can crash the process, so no byte of one is handed to
TensorRT before its record, size, hash, flavour, version and GPU have been found right.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import version as package_version
from pathlib import Path

from ..bundle import MANIFEST, default_folder
from ..errors import EngineUnavailableError, OutputError
from ..files import cache_folder, write_bytes, write_text
from ..strict_json import from_json
from .cuda_device import Gpu
from .plan_record import VERSION, Plan, PlanKey, PlanParity, PlanRecord, capability_text
from .trt_library import TensorRT

PLAN, RECORD = ".plan", ".json"

BUILD = "fsr-export build"
BUILD_ANEW = f"build it anew with: {BUILD}"
AGAIN = "--rebuild"
"""The option that builds even what failed the gate: kernels are chosen by time, so the next may pass."""


def plans_folder() -> Path:
    """Where plans are kept, in the cache."""
    return cache_folder() / "engines"


def store_plan(
    key: PlanKey,
    model: str,
    data: bytes,
    *,
    build_seconds: float,
    workspace_mib: int | None = None,
    folder: Path | None = None,
) -> Plan:
    """Keep a plan that was just built, in place of any of the same key.

    Raises:
        OutputError: the cache cannot be written.
    """
    path = (folder or plans_folder()) / f"{_plain(model)}.{key.precision}.{key.digest}{PLAN}"
    record = PlanRecord(
        VERSION,
        model,
        key,
        hashlib.sha256(data).hexdigest(),
        len(data),
        f"fsr-edge {package_version('fsr-edge')}",
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        round(build_seconds, 2),
        workspace_mib,
    )
    for old in plans_of_digest(key.digest, path.parent):
        remove_plan(old)  # the model may have had another name
    write_bytes(path, data)
    return _write_record(Plan(path, record))


def record_figures(plan: Plan, parity: PlanParity, milliseconds: dict[str, float], measured_on: str) -> Plan:
    """Write down what was measured of a plan."""
    record = replace(plan.record, parity=parity, milliseconds=milliseconds, measured_on=measured_on)
    return _write_record(Plan(plan.path, record))


def _write_record(plan: Plan) -> Plan:
    write_text(plan.path.with_suffix(RECORD), json.dumps(asdict(plan.record), indent=1) + "\n")
    return plan


def build_line(bundle: Path | None = None, *options: str) -> str:
    """The command that builds the plans of a bundle; None: of the package's own."""
    named = ["--bundle", str(bundle)] if bundle else []
    return shlex.join([*BUILD.split(), *named, *options])


def bundle_of(file: Path) -> Path | None:
    """The bundle that an ONNX file lies in, as `build_line` takes it."""
    folder = file.parent
    return folder if (folder / MANIFEST).is_file() and folder != default_folder() else None


def cache_files(folder: Path | None = None) -> list[Path]:
    """What lies in the cache; what another process is writing, which has a hidden name, is left out.

    Raises:
        EngineUnavailableError: the cache cannot be read.
    """
    folder = folder or plans_folder()
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EngineUnavailableError(
            f"{folder}: the plans there cannot be read: {error.strerror or error}; make it readable, or name another "
            "cache in XDG_CACHE_HOME"
        ) from error


def plan_files(folder: Path | None = None) -> list[Path]:
    """Those of `cache_files` that are called plans, whatever they hold."""
    return [path for path in cache_files(folder) if path.suffix == PLAN]


def list_plans(folder: Path | None = None, *, whole: bool = False) -> tuple[list[Plan], dict[Path, str]]:
    """Every plan of the cache, newest first, and by path the files that are none, with a sentence why.

    whole: read the plans themselves too, and count those as damaged that are not what was stored.

    Raises:
        EngineUnavailableError: the cache cannot be read.
    """
    plans, damaged = [], {}
    for path in plan_files(folder):
        try:
            plans.append(plan := read_plan(path))
            if whole:
                whole_bytes(plan)
        except EngineUnavailableError as error:
            damaged[path] = str(error)
    plans = [plan for plan in plans if plan.path not in damaged]
    return sorted(plans, key=lambda plan: plan.record.created, reverse=True), damaged


def read_plan(path: Path) -> Plan:
    """The plan at `path` with its record; the plan itself is not read.

    Raises:
        EngineUnavailableError: its record is missing, damaged, newer than this program, or another plan's.
    """
    beside = path.with_suffix(RECORD)
    try:
        data = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EngineUnavailableError(f"{path}: there is no {beside.name} that says what it is; {BUILD_ANEW}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise EngineUnavailableError(f"{beside}: cannot be read as JSON: {error}; {BUILD_ANEW}") from error
    if isinstance(data, dict) and type(data.get("record")) is int and data["record"] != VERSION:
        raise EngineUnavailableError(
            f"{beside}: got a record of version {data['record']}, this program reads {VERSION}; {BUILD_ANEW}"
        )
    record = from_json(PlanRecord, data, str(beside), EngineUnavailableError)
    if path.suffixes[-2:-1] != [f".{record.key.digest}"]:
        raise EngineUnavailableError(f"{beside}: describes another plan than {path.name}; {BUILD_ANEW}")
    return Plan(path, record)


def plans_of_digest(digest: str, folder: Path | None = None) -> list[Path]:
    """The plans whose names say that they have that key, whatever they hold."""
    return [path for path in plan_files(folder) if path.name.endswith(f".{digest}{PLAN}")]


def plans_for(onnx: str, precision: str, tensorrt: TensorRT, gpu: Gpu, folder: Path | None = None) -> list[Plan]:
    """The plans that run an ONNX file of this SHA-256 in `precision` here: those that passed first, then the newest.

    Those that failed the gate or are damaged are left out.
    """
    near = plans_near(onnx, precision, folder)
    return sorted((plan for plan in near if not why_not(plan, tensorrt, gpu)), key=lambda plan: not plan.passed)


def plans_near(onnx: str, precision: str, folder: Path | None = None) -> list[Plan]:
    """The plans of an ONNX file of this SHA-256 in `precision`, wherever they run, the newest first."""
    return [plan for plan in list_plans(folder)[0] if plan.is_of(onnx, precision)]


def require_plan(
    model: str,
    onnx: str,
    precision: str,
    tensorrt: TensorRT,
    gpu: Gpu,
    folder: Path | None = None,
    *,
    bundle: Path | None = None,
) -> Plan:
    """The best of `plans_for`.

    bundle: as `build_line` takes it.

    Raises:
        EngineUnavailableError: there is none; the sentence says why those that come near are not taken.
    """
    if found := plans_for(onnx, precision, tensorrt, gpu, folder):
        return found[0]
    near = plans_near(onnx, precision, folder)
    reasons = "; ".join(filter(None, (why_not(plan, tensorrt, gpu) for plan in near)))
    again = [AGAIN] if any(failed_here(plan, tensorrt, gpu) for plan in near) else []
    raise EngineUnavailableError(
        f"{model}: there is no {precision} plan for {gpu.name} and {tensorrt} that can be used"
        f"{f' ({reasons})' if reasons else ''}; build it anew with: "
        f"{build_line(bundle, f'--{precision}', '--flavour', tensorrt.flavour, *again)}"
    )


def why_not(plan: Plan, tensorrt: TensorRT, gpu: Gpu) -> str | None:
    """Why a plan must not run with this library on this GPU, a clause; None if it may."""
    if reason := why_foreign(plan, tensorrt, gpu):
        return reason
    if plan.failures:
        return f"one failed the gate: {'; '.join(plan.failures)}"
    try:
        whole_bytes(plan)
    except EngineUnavailableError as error:
        return str(error).partition("; ")[0]
    return None


def failed_here(plan: Plan, tensorrt: TensorRT, gpu: Gpu) -> bool:
    """Whether it is for this library and GPU, and the gate refused it."""
    return bool(plan.failures) and why_foreign(plan, tensorrt, gpu) is None


def why_foreign(plan: Plan, tensorrt: TensorRT, gpu: Gpu) -> str | None:
    """Why a plan cannot run with this library on this GPU, a clause; None if it can."""
    key = plan.record.key
    if (key.flavour, key.version) != (tensorrt.flavour, tensorrt.version):
        return f"built by {key.flavour} {key.version}, here is {tensorrt}"
    here = capability_text(gpu.compute_capability)
    if here not in key.compute_capabilities:
        return f"built for compute capability {', '.join(key.compute_capabilities)}, {gpu.name} has {here}"
    if key.gpu not in (None, gpu.name):
        return f"built on {key.gpu}, here is {gpu.name}"
    return None


def checked_bytes(plan: Plan, tensorrt: TensorRT, gpu: Gpu) -> bytes:
    """The bytes of a plan that TensorRT may deserialise here.

    Raises:
        EngineUnavailableError: it was built by another library or for another GPU, failed the gate, or is damaged.
    """
    if reason := why_foreign(plan, tensorrt, gpu):
        raise EngineUnavailableError(f"{plan.path}: {reason}; {BUILD_ANEW}")
    if plan.failures:
        raise EngineUnavailableError(
            f"{plan.path}: failed the gate: {plan.failures[0]}; take another precision, or {BUILD} {AGAIN}"
        )
    return whole_bytes(plan)


def whole_bytes(plan: Plan) -> bytes:
    """The bytes of a plan if they are those that were stored.

    Raises:
        EngineUnavailableError: they cannot be read, or are not.
    """
    try:
        data = plan.path.read_bytes()
    except OSError as error:
        raise EngineUnavailableError(f"{plan.path}: cannot be read: {error.strerror or error}; {BUILD_ANEW}") from error
    if len(data) != plan.record.size:
        raise EngineUnavailableError(
            f"{plan.path}: got {len(data)} bytes, its record says {plan.record.size}; {BUILD_ANEW}"
        )
    if (got := hashlib.sha256(data).hexdigest()) != plan.record.sha256:
        raise EngineUnavailableError(
            f"{plan.path}: got sha256 {got[:12]}..., its record says {plan.record.sha256[:12]}...; {BUILD_ANEW}"
        )
    return data


def remove_plan(path: Path) -> None:
    """Delete a plan and its record, the record first: a plan without one is never used.

    Raises:
        OutputError: the cache cannot be written, or a folder has the name of one.
    """
    for file in (path.with_suffix(RECORD), path):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{file}: cannot be removed: {error.strerror or error}; remove it yourself, or name another cache in "
                "XDG_CACHE_HOME"
            ) from error


def _plain(model: str) -> str:
    """A name as a file can have it."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in model)[:80] or "model"
