"""What a build asks of TensorRT in each version, how it goes on without memory, and the line for NVIDIA's program."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fake_tensorrt import fake_tensorrt

from fsr.export.tensorrt.builder import Order, OutOfMemory, build
from fsr.export.tensorrt.monitor import Watch
from fsr.export.tensorrt.shapes import Limits, detector_profiles, model_profiles
from fsr.export.tensorrt.source import detector_source, source_of
from fsr.export.tensorrt.target import Target
from fsr.export.tensorrt.timing_cache import TimingCache, timing_cache
from fsr.export.tensorrt.trtexec import trtexec_line
from fsr.runtime.bundle import FileEntry
from fsr.runtime.detect import STRIDES
from fsr.runtime.engines.cuda_device import Gpu
from fsr.runtime.engines.trt_library import TensorRT
from fsr.runtime.errors import EngineUnavailableError, UsageError

GPU = Gpu("NVIDIA Test/1", (8, 9), 8 << 30, 12040)
PROFILES = model_profiles(16, Limits())
FILES = {precision: FileEntry(f"m.{precision}.onnx", precision * 16) for precision in ("fp32", "fp16", "int8")}


def order(*flags: str, workspace_mib: int = 512) -> Order:
    return Order("edge-S fp16", b"onnx", PROFILES, flags, workspace_mib=workspace_mib)


@pytest.mark.parametrize(
    ("version", "flags", "creation", "set_flags", "tactics", "shares"),
    [
        ("8.6", (), 1 << 0, set(), 1 << 3, True),
        ("8.6", ("FP16",), 1 << 0, {"FP16"}, 1 << 3, True),
        ("8.6", ("INT8",), 1 << 0, {"INT8"}, 1 << 3, True),
        ("10", (), 1 << 1, set(), 1 << 3, True),
        ("10", ("FP16",), 1 << 0, {"FP16"}, 1 << 3, True),
        ("11", (), 1 << 0, set(), None, False),
    ],
)
def test_what_is_asked_of_each_version(
    version: str, flags: tuple[str, ...], creation: int, set_flags: set[str], tactics: int | None, shares: bool
) -> None:
    library = fake_tensorrt(version)
    assert build(library, order(*flags)).plan == b"plan"
    (asked,) = library.module.builds
    assert asked.creation == creation  # bits: a batch axis for 8.6, a typed network from 10 on
    assert asked.config.flags == set_flags  # TF32, set by default, is off
    assert asked.config.tactics == tactics  # TensorRT's own; cuDNN's and cuBLAS's are left out
    assert asked.config.preview["PROFILE_SHARING_0806"] is shares
    assert asked.config.profiles == [{"low": ((1, 16, 16, 3), (4, 16, 16, 3), (16, 16, 16, 3))}]


@pytest.mark.parametrize(
    ("version", "precision", "file", "flags"),
    [
        ("8.6", "fp32", "fp32", ()),
        ("8.6", "fp16", "fp32", ("FP16",)),
        ("8.6", "int8", "int8", ("INT8",)),
        ("10", "fp16", "fp16", ()),
        ("10", "int8", "int8", ()),
        ("11", "fp16", "fp16", ()),
    ],
)
def test_which_file_is_built(version: str, precision: str, file: str, flags: tuple[str, ...]) -> None:
    source = source_of(FILES, precision, fake_tensorrt(version))
    assert source is not None
    assert (source.entry, source.flags) == (FILES[file], flags)
    assert source.asked == FILES[precision].sha256  # what a run will ask for, whatever it was built from


def test_where_the_bundle_has_no_file() -> None:
    only_fp32 = {"fp32": FILES["fp32"]}
    for version in ("8.6", "10"):  # a flag makes it of the float32 file
        source = source_of(only_fp32, "fp16", fake_tensorrt(version))
        assert source is not None
        assert (source.entry, source.asked, source.flags) == (FILES["fp32"], FILES["fp32"].sha256, ("FP16",))
    assert source_of(only_fp32, "fp16", fake_tensorrt("11")) is None
    assert source_of(only_fp32, "int8", fake_tensorrt("8.6")) is None


@pytest.mark.parametrize(("version", "flags"), [("8.6", ("FP16",)), ("10", ()), ("11", ())])
def test_the_detector_is_built_from_its_own_files_alone(version: str, flags: tuple[str, ...]) -> None:
    """Its fp32 file transposes bytes, which TensorRT cannot."""
    library = fake_tensorrt(version)
    assert detector_source(FILES, "fp32", library) is None
    assert detector_source({"fp32": FILES["fp32"]}, "fp16", library) is None
    source = detector_source(FILES, "fp16", library)
    assert source is not None
    assert (source.entry, source.flags) == (FILES["fp16"], flags)


def test_less_workspace_where_memory_runs_out() -> None:
    library, said = fake_tensorrt("10", most_mib=200), list[str]()
    built = build(library, order(), say=said.append)
    assert built.workspace_mib == 128
    assert [asked.config.mib for asked in library.module.builds] == [512, 256, 128]
    assert len(said) == 2
    assert "OutOfMemory" in said[0] and said[0].endswith("; trying again with 256 MiB")


def test_memory_that_never_suffices() -> None:
    library = fake_tensorrt("10", most_mib=0)
    with pytest.raises(OutOfMemory, match=r"edge-S fp16 with 64 MiB .*OutOfMemory.*free some memory, or lower --batch"):
        build(library, order())
    with pytest.raises(OutOfMemory, match="with 1 MiB"):
        build(library, order(workspace_mib=1))


def test_a_workspace_that_is_too_small_is_not_halved() -> None:
    """What TensorRT asks for is more than it may take: half of that would not do either."""
    library, said = fake_tensorrt("10", needs_mib=600), list[str]()
    with pytest.raises(
        EngineUnavailableError, match=r"with 512 MiB .*; raise --workspace, or lower --batch or --frame"
    ):
        build(library, order(), say=said.append)
    assert (len(library.module.builds), said) == (1, [])


def test_a_driver_that_is_too_old_to_build_is_named() -> None:
    library = fake_tensorrt("10")

    def refuse(log: Any) -> None:
        log.log(1, "createInferBuilder: Error Code 6: API Usage Error (CUDA initialization failure with error: 35)")
        raise TypeError("factory function returned nullptr")

    library.module.Builder = refuse
    with pytest.raises(
        EngineUnavailableError, match=r"does not start here: .* error: 35\); the NVIDIA driver is older"
    ):
        build(library, order())


def test_a_timing_cache_is_used_and_kept(tmp_path: Path) -> None:
    library, cache = fake_tensorrt("8.6"), TimingCache(tmp_path / "cache")
    build(library, order(), timing=cache)
    build(library, order(), timing=cache)
    assert cache.path.read_bytes() == b"timed" * 2
    assert library.module.builds[1].config.cache == b"timed"


@pytest.mark.parametrize("held", [b"garbage", b"another GPU"])
def test_a_timing_cache_of_something_else(held: bytes, tmp_path: Path) -> None:
    library, cache, said = fake_tensorrt("8.6"), TimingCache(tmp_path / "cache"), list[str]()
    cache.path.write_bytes(held)
    build(library, order(), timing=cache, say=said.append)
    assert cache.path.read_bytes() == b"timed"
    assert said == [f"{cache.path}: made by another TensorRT or on another GPU, so timing starts anew"]


def test_each_gpu_and_version_has_its_timing_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = timing_cache(fake_tensorrt("8.6"), GPU, None)
    assert found is not None
    assert found.path == tmp_path / "fsr-edge" / "engines" / "tensorrt-8.6-NVIDIA-Test-1.timing"
    given = timing_cache(fake_tensorrt("8.6"), GPU, tmp_path / "mine")
    assert given == TimingCache(tmp_path / "mine")


def line(library: TensorRT, *flags: str, timing: TimingCache | None = None) -> str:
    target = Target(library, GPU, ["8.9"])
    return trtexec_line(target, Path("my models/m.onnx"), Path("m.plan"), "low", PROFILES, flags, 256, timing)


def test_the_line_for_trtexec(tmp_path: Path) -> None:
    said = line(fake_tensorrt("8.6"), "FP16", timing=TimingCache(Path("t.cache")))
    assert said == (
        "trtexec '--onnx=my models/m.onnx' --saveEngine=m.plan --minShapes=low:1x16x16x3 --optShapes=low:4x16x16x3 "
        "--maxShapes=low:16x16x16x3 --memPoolSize=workspace:256 --noTF32 --fp16 "
        "--tacticSources=-CUDNN,-CUBLAS,-CUBLAS_LT --preview=+profileSharing0806 --timingCacheFile=t.cache "
        "--skipInference"
    )
    assert " --stronglyTyped --tacticSources=" in line(fake_tensorrt("10"))
    assert line(fake_tensorrt("11")).endswith("--memPoolSize=workspace:256 --noTF32 --skipInference")


def test_profiles_of_the_detector() -> None:
    frames, looks = detector_profiles(Limits(frame_wh=(1920, 1080)))
    assert frames == [[1, 32, 32, 3], [1, 736, 1280, 3], [1, 1088, 1920, 3]]
    assert looks[0][0] == 1 and looks[1] == looks[2]
    small, _ = detector_profiles(Limits(frame_wh=(300, 200)))
    assert small == [[1, 32, 32, 3], [1, 224, 320, 3], [1, 224, 320, 3]]
    assert all(length % STRIDES[-1] == 0 for shapes in (frames, looks, small) for s in shapes for length in s[1:3])


@pytest.mark.parametrize(
    ("batch", "frame", "said"),
    [
        ("1,4", "1x1", "--batch: got '1,4', expected 3 numbers such as 1,4,16"),
        ("4,1,2", "1x1", "--batch: got 4,1,2"),
        ("0,1,2", "1x1", "--batch: got 0,1,2"),
        ("1,2,-3", "1x1", "--batch: got '1,2,-3'"),
        ("1,2,3", "1920", "--frame: got '1920', expected 2 numbers such as 1920x1080"),
        ("1,2,3", "0x9", "--frame: got 0x9"),
    ],
)
def test_limits_that_make_no_sense(batch: str, frame: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Limits.parse(batch, frame)


def test_progress_is_the_share_of_the_outermost_phase() -> None:
    said: list[tuple[str, float]] = []
    watch = Watch(lambda phase, share: said.append((phase, share)), Event())
    watch.started("all", None, 2)
    assert watch.stepped("all", 0)
    watch.started("part", "all", 4)
    assert watch.stepped("part", 0)
    watch.finished("part")
    watch.finished("all")
    assert said == [("all", 0.0), ("all", 0.5), ("part", 0.5), ("part", 0.625)]


def test_a_wish_to_stop_reaches_tensorrt() -> None:
    stop = Event()
    watch = Watch(lambda phase, share: None, stop)
    watch.started("all", None, 2)
    stop.set()
    assert not watch.stepped("all", 0)
    with pytest.raises(KeyboardInterrupt):
        build(fake_tensorrt("10"), order(), watch=watch)
