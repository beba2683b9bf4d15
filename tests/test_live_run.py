"""Live runs as a user types them: every output at once, ended by a signal at any moment, what was written plays."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_fakes import read_records

from fsr.runtime.files import temporaries_of

av = pytest.importorskip("av", reason="videos need PyAV")

WAIT = 60.0
SCENE = "test://?size=320x180&faces=1&fps=15&noise=0&speed=0"
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
from fsr.runtime.cli import main
if __name__ == "__main__":
    main(sys.argv[1:])
"""


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments, "--tier", "S", "--engine", "onnxruntime"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, **pipes)


def until(holds: Callable[[], Any], program: subprocess.Popen[str]) -> None:
    end = time.monotonic() + WAIT
    while not holds():
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def records(folder: Path) -> list[Any]:
    return read_records(folder / "a.frames.jsonl")[1]


def test_every_output_at_once(tmp_path: Path) -> None:
    outputs = ["-o", "a.mp4", "--compare", "--crops", "--record", "raw.mkv", "--headless", "--json"]
    done = start(tmp_path, "-i", f"{SCENE}&seconds=4", *outputs)
    said, trouble = done.communicate(timeout=WAIT)
    assert done.returncode == 0, trouble
    summary = json.loads(said)
    count = summary["done"]
    assert 1 <= count <= 60 and count + summary["dropped"] <= 60 and len(summary["latency_ms"]) == 2
    assert frames_of(tmp_path / "a.mp4") == frames_of(tmp_path / "a.compare.mp4") == len(records(tmp_path)) == count
    assert frames_of(tmp_path / "raw.mkv") == 60, "the recording has what the restoration had no time for too"
    crops = [path.relative_to(tmp_path / "a.faces") for path in (tmp_path / "a.faces").rglob("*.png")]
    restored = [face for record in records(tmp_path) for face in record["faces"] if face["decision"] == "restored"]
    assert len(crops) == len(restored) >= 1
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_live_run_whole(tmp_path: Path, number: signal.Signals) -> None:
    program = start(tmp_path, "-i", SCENE, "-o", "a.mp4", "--record", "raw.mp4")
    until(lambda: len(records(tmp_path)) >= 3, program)
    program.send_signal(number)
    said, trouble = program.communicate(timeout=WAIT)
    assert (program.returncode, said) == (0, "a.mp4\n"), trouble
    assert "Traceback" not in trouble
    assert frames_of(tmp_path / "a.mp4") == len(records(tmp_path)) >= 3
    assert frames_of(tmp_path / "raw.mp4") >= 3
    assert not list(tmp_path.glob(".*"))


def test_a_kill_leaves_what_plays_and_the_next_run_clears_it_away(tmp_path: Path) -> None:
    program = start(tmp_path, "-i", f"{SCENE}&live=0", "-o", "a.mp4")
    until(lambda: len(records(tmp_path)) >= 75, program)
    os.kill(program.pid, signal.SIGKILL)
    program.communicate(timeout=WAIT)
    (left,) = temporaries_of(tmp_path / "a.mp4")
    assert frames_of(left) >= 15 and not (tmp_path / "a.mp4").exists()
    again = start(tmp_path, "-i", f"{SCENE}&live=0&seconds=0.4", "-o", "a.mp4")
    assert again.communicate(timeout=WAIT)[0] == "a.mp4\n"
    assert frames_of(tmp_path / "a.mp4") == 6 and not list(temporaries_of(tmp_path / "a.mp4"))


def test_a_live_source_loses_frames_and_one_that_is_not_none(tmp_path: Path) -> None:
    done = start(tmp_path, "-i", f"{SCENE}&live=0&seconds=1", "-o", "a.mp4", "--json")
    summary = json.loads(done.communicate(timeout=WAIT)[0])
    assert (summary["done"], summary["dropped"], summary["latency_ms"]) == (15, 0, None)
    assert frames_of(tmp_path / "a.mp4") == 15


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no LD_PRELOAD")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds the clock that is set back, and is not here")
def test_a_clock_that_is_set_back_changes_nothing(tmp_path: Path) -> None:
    """By an hour, for the program and the process that reads: the times of the frames, their pace and the figures."""
    library, flag = tmp_path / "clock.so", tmp_path / "back"
    source = Path(__file__).parent / "clock_set_back.c"
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", str(library), "-ldl"], check=True)
    set_back = {"LD_PRELOAD": str(library), "FSR_CLOCK_SET_BACK": str(flag)}
    preview = ["--preview", "127.0.0.1:0", "--json"]
    program = start(tmp_path, "-i", f"{SCENE}&seconds=5", "-o", "a.mp4", *preview, **set_back)
    assert program.stderr is not None
    url = next(found[1] for line in program.stderr if (found := re.search(r"watch at (http\S+/)", line)))
    until(lambda: len(records(tmp_path)) >= 15, program)
    flag.touch()
    asked = [sys.executable, "-c", "import time; print(time.time())"]
    told = subprocess.run(asked, env={**os.environ, **set_back}, capture_output=True, text=True, check=True).stdout
    assert float(told) < time.time() - 3000, "the clock was set back"
    until(lambda: len(records(tmp_path)) >= 30, program)
    state = json.load(urllib.request.urlopen(f"{url}state", timeout=10))
    assert 1 < state["fps"] < 30 and 0 < state["latency_ms"][0] < 60_000 and state["complaint"] is None
    said, _ = program.communicate(timeout=WAIT)
    summary = json.loads(said)
    assert program.returncode == 0 and 0 < summary["latency_ms"][0] < 60_000
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = [float(frame.time) for frame in container.decode(video=0)]
    assert len(shown) == summary["done"] and 0 <= shown[0] < 3 and 4 < shown[-1] < 5
    assert min(np.diff(shown)) > 0.03, "at 15 frames a second, some dropped"


def test_no_password_is_said_or_written(tmp_path: Path) -> None:
    program = start(tmp_path, "-i", "rtsp://user:geheim@127.0.0.1:9/a?key=versteckt", "-o", "a.mp4")
    said, trouble = program.communicate(timeout=WAIT)
    assert program.returncode == 2 and trouble.startswith("error: rtsp://***@127.0.0.1:9/a?***: cannot be opened")
    assert not any(secret in said + trouble for secret in ("geheim", "versteckt"))
    assert list(tmp_path.iterdir()) == []
