"""The threads of a run take their memory from one heap."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

if platform.libc_ver()[0] != "glibc":
    pytest.skip("the C library is not glibc, which alone has several heaps", allow_module_level=True)

THREADS = """
import ctypes, sys, threading
from multiprocessing import Pipe
import numpy as np
from fsr.runtime.errors import InputError
from fsr.runtime.media import capture_child
from fsr.runtime.runs import run
from fsr.runtime.runs.request import Request

def nothing_there(uri, record):
    raise InputError("nothing there")

capture_child.end_now = lambda: None

run._doctor = lambda request: 0
if "run" in sys.argv:
    run.run(Request(doctor=True))
if "capture" in sys.argv:
    here, there = Pipe()
    capture_child.serve(here, None, nothing_there, None)
together = threading.Barrier(4)

def work():
    blocks = [np.ones(64_000, np.uint8) for _ in range(100)]
    together.wait()
    assert all((block == 1).all() for block in blocks)

threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]

c = ctypes.CDLL(None)
c.fopen.restype, c.malloc_info.argtypes, c.fclose.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p), None
file = ctypes.c_void_p(c.fopen(sys.argv[1].encode(), b"w"))
c.malloc_info(0, file)
c.fclose(file)
"""


def heaps(report: Path, *options: str, **environment: str) -> int:
    """Of a program with four threads that all hold memory at once."""
    given = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    command = [sys.executable, "-c", THREADS, str(report), *options]
    subprocess.run(command, check=True, env={**given, **environment})
    return report.read_text().count("<heap ")


@pytest.mark.parametrize("who", ["run", "capture"])
def test_each_process_of_a_run_shares_one_heap(tmp_path: Path, who: str) -> None:
    assert heaps(tmp_path / "alone.xml") > 1, "else this test tells nothing"
    assert heaps(tmp_path / "shared.xml", who) == 1


def test_the_environment_has_its_way(tmp_path: Path) -> None:
    assert heaps(tmp_path / "run.xml", "run", MALLOC_ARENA_MAX="3") == 3
