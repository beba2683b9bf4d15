"""A stand-in for TensorRT's library in its versions, which says what a build asked of it."""

from __future__ import annotations

from enum import IntEnum
from types import SimpleNamespace
from typing import Any

from fsr.runtime.engines.trt_library import TensorRT

OUT_OF_MEMORY = "Error Code 2: OutOfMemory (Requested size was {} bytes.)"


def fake_tensorrt(version: str, *, needs_mib: int = 0, most_mib: int = 1 << 20) -> TensorRT:
    """`8.6`, `10` or `11`: with the names that each has; a build runs out of memory outside of the workspace given."""
    old, ten = version == "8.6", version == "10"
    severities = IntEnum("Severity", {"INTERNAL_ERROR": 0, "ERROR": 1})
    module = SimpleNamespace(
        ILogger=type("ILogger", (), {"Severity": severities}),
        BuilderFlag=_enum("TF32", *(["FP16", "INT8"] if old or ten else [])),
        NetworkDefinitionCreationFlag=_enum(
            *(["EXPLICIT_BATCH"] if old or ten else []), *([] if old else ["STRONGLY_TYPED"])
        ),
        TacticSource=_enum(*(["CUBLAS", "CUBLAS_LT", "CUDNN"] if old or ten else []), "JIT_CONVOLUTIONS"),
        PreviewFeature=_enum(*(["PROFILE_SHARING_0806"] if old or ten else []), "OTHER"),
        MemoryPoolType=_enum("WORKSPACE"),
        OnnxParser=lambda network, log: SimpleNamespace(parse=lambda data: True),
    )
    builds: list[Any] = []
    module.builds = builds
    module.Builder = lambda log: _Builder(module, log, needs_mib, most_mib, sharing=ten)
    return TensorRT("tensorrt", module, version)


def _enum(*names: str) -> Any:
    return IntEnum("Enum", {name: number for number, name in enumerate(names)})


class _Builder:
    def __init__(self, module: Any, log: Any, needs_mib: int, most_mib: int, *, sharing: bool) -> None:
        self._module, self._log, self._limits, self._sharing = module, log, (needs_mib, most_mib), sharing

    def create_network(self, flags: int) -> Any:
        self._flags = flags
        return SimpleNamespace(num_inputs=1, get_input=lambda index: SimpleNamespace(name="low"))

    def create_optimization_profile(self) -> Any:
        shapes: dict[str, Any] = {}
        return SimpleNamespace(shapes=shapes, set_shape=lambda name, *limits: shapes.update({name: limits}))

    def create_builder_config(self) -> Any:
        return _Config(self._sharing)

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        self._module.builds.append(SimpleNamespace(creation=self._flags, config=config))
        needs, most = self._limits
        if not needs <= config.mib <= most:
            self._log.log(1, OUT_OF_MEMORY.format(max(1, needs << 20)))
            return None
        return b"plan"


class _Config:
    def __init__(self, sharing: bool) -> None:
        self.profiles: list[Any] = []
        self.flags = {"TF32"}
        self.preview = {"PROFILE_SHARING_0806": sharing}
        self.tactics: int | None = None
        self.cache: bytes | None = None
        self.mib = 0

    def add_optimization_profile(self, profile: Any) -> None:
        self.profiles.append(profile.shapes)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.mib = size >> 20

    def set_tactic_sources(self, bits: int) -> None:
        self.tactics = bits

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag.name)

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def get_preview_feature(self, feature: Any) -> bool:
        return self.preview[feature.name]

    def set_preview_feature(self, feature: Any, on: bool) -> None:
        self.preview[feature.name] = on

    def create_timing_cache(self, data: bytes) -> Any:
        if data.startswith(b"garbage"):
            raise TypeError("answered with nothing")
        return data

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        if cache.startswith(b"another GPU"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: (self.cache or b"") + b"timed")
