"""fsr-export kit: packed from wheels made here, installed by its own script in a new environment, without a network."""

from __future__ import annotations

import ensurepip
import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsr.export.cli import main
from fsr.export.kit.device import Device, this_device
from fsr.export.kit.own_wheel import own_wheel
from fsr.export.kit.wheels import fetch, requirements
from fsr.runtime.bundle import read_manifest
from fsr.runtime.errors import UsageError

NEEDS = ("numpy", "typing-extensions", "opencv-python", "onnxruntime", "pillow", "click", "rich")
"""What pyproject.toml says: a requirement that is added there is missed here."""

on_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("aarch64", "x86_64"), reason="kits are for Linux"
)


def write_wheel(
    folder: Path,
    name: str,
    number: str,
    requires: tuple[str, ...] = (),
    tag: str = "py3-none-any",
    files: dict[str, str] | None = None,
) -> Path:
    """A wheel of almost nothing."""
    stem = f"{name.replace('-', '_')}-{number}"
    about = f"{stem}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {number}", *(f"Requires-Dist: {r}" for r in requires)]
    content = {
        **(files or {}),
        f"{about}/METADATA": "\n".join([*lines, ""]),
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{file},,\n" for file in (*content, f"{about}/RECORD"))
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as archive:
        for file, text in {**content, f"{about}/RECORD": record}.items():
            archive.writestr(file, text)
    return folder / f"{stem}-{tag}.whl"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins for what the program requires; one of them lends it the real ones of these tests."""
    folder = tmp_path_factory.mktemp("wheels")
    bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not bundled:
        pytest.skip("this Python comes without the wheel of pip")
    shutil.copy(bundled[0], folder)
    for name in NEEDS:
        lends = {"lent.pth": f"{sysconfig.get_path('purelib')}\n"} if name == "numpy" else {}
        write_wheel(folder, name, version(name), files=lends)
    return folder


@functools.cache
def packed() -> tuple[str, bytes]:
    """This program: it takes a second, so once."""
    return own_wheel()


def make(output: Path, wheels: Path, *arguments: object) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fsr.export.kit.kit.own_wheel", packed)
        return CliRunner().invoke(main, ["kit", "-o", str(output), "--wheels", str(wheels), *map(str, arguments)])


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}  # pyright: ignore[reportOptionalMemberAccess]


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as opened:
        opened.extractall(folder)
    return folder / "fsr-kit"


def install(kit: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """As on a device: no index and nothing of these tests' environment, but a cache of plans that is empty."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(kit), "XDG_CACHE_HOME": str(kit / "cache")}
    command = ["sh", str(kit / "install.sh"), "--python", sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="session")
def kit(wheels: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a bundle, for this machine; to be read, never changed."""
    archive = tmp_path_factory.mktemp("kit") / "fsr-kit.tar.gz"
    done = make(archive, wheels, "--bundle", tiny_bundle)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{archive}\n"
    return archive


@on_linux
def test_it_installs_without_a_network_and_restores_a_picture(kit: Path, tmp_path: Path) -> None:
    here, venv = unpacked(kit, tmp_path), tmp_path / "a folder with spaces" / "venv"
    write_wheel(here / "wheels", "rich", "999.0", files={"unpacked.py": ""})
    done = install(here, venv)
    assert done.returncode == 0, done.stderr
    assert not list(venv.rglob("unpacked.py"))  # a wheel that the kit does not list
    assert "every hash holds" in done.stdout  # of fsr-run --doctor
    assert f"--bundle {venv}/bundle" in done.stdout
    program = "import fsr.runtime; print(fsr.runtime.__file__)"
    ran = subprocess.run([venv / "bin/python", "-c", program], check=False, capture_output=True, text=True)
    assert Path(ran.stdout.strip()).is_relative_to(venv), ran.stderr
    picture = Path(__file__).parent.parent / "examples" / "hopper_32px.png"
    command = [venv / "bin/fsr-run", "--input", picture, "--output", tmp_path / "out", "--bundle", venv / "bundle"]
    ran = subprocess.run([*command, "--engine", "onnxruntime"], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out/restored/hopper_32px.png").is_file()
    again = install(here, venv)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


@on_linux
def test_a_damaged_kit_is_refused_and_nothing_is_left(kit: Path, tmp_path: Path) -> None:
    here = unpacked(kit, tmp_path)
    with next(here.glob("wheels/rich-*.whl")).open("ab") as wheel:
        wheel.write(b"x")
    done = install(here, tmp_path / "venv")
    assert done.returncode == 2 and "the kit is damaged" in done.stderr
    assert not (tmp_path / "venv").exists()


@on_linux
@pytest.mark.parametrize(("marker", "said"), [("want_python", "this kit is for 3.99"), ("want_machine", "for 3.99")])
def test_a_kit_for_another_machine_is_refused(kit: Path, tmp_path: Path, marker: str, said: str) -> None:
    here = unpacked(kit, tmp_path)
    script = (here / "install.sh").read_text().splitlines()
    changed = [f"{marker}=3.99" if line.startswith(f"{marker}=") else line for line in script]
    (here / "install.sh").write_text("\n".join(changed) + "\n")
    done = install(here, tmp_path / "venv")
    assert done.returncode == 2 and said in done.stderr
    assert not (tmp_path / "venv").exists()


def test_every_hash_is_listed_and_every_path_stays_inside(kit: Path, tiny_bundle: Path) -> None:
    content = members(kit)
    lines = content["fsr-kit/SHA256SUMS"].decode().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums.keys() == {name.removeprefix("fsr-kit/") for name in content} - {"SHA256SUMS"}
    assert all(hashlib.sha256(content[f"fsr-kit/{name}"]).hexdigest() == digest for name, digest in sums.items())
    named = {f"fsr-kit/bundle/{entry.file}" for entry in read_manifest(tiny_bundle).file_entries()}
    assert named | {"fsr-kit/bundle/manifest.json"} <= content.keys()
    assert not any(name.startswith("/") or ".." in name.split("/") for name in content)
    told = json.loads(content["fsr-kit/kit.json"])
    assert told["bundle"] and told["wheels"]["fsr-edge"] == version("fsr-edge")
    pinned = content["fsr-kit/requirements.txt"].decode()
    assert pinned.count("--hash=sha256:") == len(told["wheels"]) == len(NEEDS) + 2


def test_the_same_wheels_give_the_same_bytes(kit: Path, wheels: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    assert make(tmp_path / "again.tar.gz", wheels, "--bundle", tiny_bundle).exit_code == 0
    assert (tmp_path / "again.tar.gz").read_bytes() == kit.read_bytes()


def test_the_wheel_of_the_program_holds_it_and_its_licence() -> None:
    name, data = own_wheel()
    assert (name, data) == packed()
    with zipfile.ZipFile(BytesIO(data)) as archive:
        names = set(archive.namelist())
        assert b"Requires-Dist: numpy" in archive.read(f"{name.removesuffix('-py3-none-any.whl')}.dist-info/METADATA")
    assert {"fsr/runtime/cli.py", "fsr/export/kit/install.sh", "fsr/runtime/default_bundle/manifest.json"} <= names
    assert any(file.endswith("licenses/LICENSE") for file in names)
    assert not [file for file in names if "__pycache__" in file]


def test_conditions_are_read_as_the_device_would(tmp_path: Path) -> None:
    """pip itself goes by the Python that it runs on."""
    write_wheel(tmp_path, "one", "1", ('two; python_version < "3.11"', 'three; platform_machine == "x86_64"'))
    write_wheel(tmp_path, "two", "1", ('four[more]; sys_platform == "linux"', 'three; python_version >= "3.11"'))
    write_wheel(tmp_path, "four", "1", ('five; extra == "more"', 'three; extra == "most"'))
    write_wheel(tmp_path, "five", "1")
    write_wheel(tmp_path, "three", "1")
    there = [wheel.name for wheel in fetch(["one"], Device("linux_aarch64", "3.10"), tmp_path)]
    assert set(there) - {"three"} == {"one", "two", "four", "five"}
    if sys.version_info >= (3, 11):
        assert "three" not in there or platform.machine() == "x86_64"
    metadata = b'Requires-Dist: a; extra == "x"\nRequires-Dist: b; python_version < "3.11"\nRequires-Dist: c<2\n'
    kept = [str(r).partition(";")[0] for r in requirements(metadata, ["x"], Device("linux_x86_64", "3.12"))]
    assert kept == ["a", "c<2"]


def test_the_wheel_that_fits_the_device_is_taken(tmp_path: Path) -> None:
    tags = (
        "cp310-cp310-manylinux_2_28_aarch64",
        "cp310-cp310-manylinux_2_38_aarch64",
        "cp310-cp310-manylinux_2_28_x86_64",
    )
    for tag in tags:
        write_wheel(tmp_path, "part", "1", tag=tag)
    (wheel,) = fetch(["part"], Device("linux_aarch64", "3.10"), tmp_path)
    assert wheel.file == "part-1-cp310-cp310-manylinux_2_28_aarch64.whl"
    (wheel,) = fetch(["part"], Device("linux_aarch64", "3.10", "2.39"), tmp_path)
    assert wheel.file == "part-1-cp310-cp310-manylinux_2_38_aarch64.whl"
    with pytest.raises(
        UsageError, match=r"no wheel of part for linux_aarch64, Python 3\.12, glibc 2\.35 in .*--wheels"
    ):
        fetch(["part"], Device("linux_aarch64", "3.12"), tmp_path)


def test_what_is_missing_is_named_and_no_file_is_left(wheels: Path, tmp_path: Path) -> None:
    done = make(tmp_path / "kit.tar.gz", wheels, "--extra", "video")
    assert done.exit_code == 2
    assert "pip finds no wheel of av>=17" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--platform", "win_amd64"), "expected one of linux_aarch64, linux_x86_64"),
        (("--python", "3.8"), "expected 3.10 or newer"),
        (("--python", "three"), "expected 3.10 or newer"),
        (("--glibc", "2.5"), "expected 2.17 or newer"),
        (("--also", "--index-url=http://elsewhere"), "expected a requirement"),
        (("--bundle", "nowhere"), "not a bundle"),
        (("--wheels", "nowhere"), "expected a folder of wheels"),
    ],
)
def test_a_wrong_option_is_a_sentence(wheels: Path, tmp_path: Path, arguments: tuple[str, str], said: str) -> None:
    done = make(tmp_path / "kit.tar.gz", wheels, "--platform", "linux_x86_64", *arguments)
    assert done.exit_code == 2 and said in done.stderr, done.output
    assert not (tmp_path / "kit.tar.gz").exists()


def test_nothing_is_overwritten(wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "kit.tar.gz").write_text("mine")
    done = make(tmp_path / "kit.tar.gz", wheels)
    assert done.exit_code == 2 and "exists already" in done.stderr
    assert (tmp_path / "kit.tar.gz").read_text() == "mine"
    assert "ends in .tar.gz" in make(tmp_path / "kit.zip", wheels).stderr


def test_tensorrt_brings_cuda_bindings_and_says_what_it_does_not_bring(wheels: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    shutil.copytree(wheels, both)
    write_wheel(both, "cuda-bindings", "12.9.10")
    write_wheel(both, "cuda-bindings", "13.5.0")
    device = ("--platform", "linux_aarch64", "--python", "3.10")
    done = make(tmp_path / "kit.tar.gz", both, "--extra", "tensorrt", "--also", "cuda-bindings<13", *device)
    assert done.exit_code == 0, done.output
    assert "TensorRT itself is not in the kit" in done.stderr
    told = json.loads(members(tmp_path / "kit.tar.gz")["fsr-kit/kit.json"])
    assert told["wheels"]["cuda-bindings"] == "12.9.10" and "pycuda" not in told["wheels"]


@on_linux
def test_this_machine_is_a_device() -> None:
    assert this_device().machine == platform.machine()
