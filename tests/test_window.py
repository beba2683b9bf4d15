"""A real window on a screen of its own (Xvfb): it fits, says nothing, and its X button ends the run."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import pytest

from fsr.runtime.media.display import gui_backend
from fsr.runtime.media.window import LARGEST_WH, window_size

TESTS = Path(__file__).parent
PATIENCE = 60.0
"""Seconds that a test waits for a program."""
TITLE = "fsr-run: h shows the keys, q ends"

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from fractions import Fraction
from itertools import count
import numpy as np
from rich.console import Console
from run_fakes import FakeRestorer
from fsr.runtime.media.source import Source, VideoFrame
from fsr.runtime.runs.frame_work import FrameWork
from fsr.runtime.runs.live import in_window, show_live
from fsr.runtime.runs.stats import StreamStats

class Endless(Source):
    size_wh, rate = (1920, 300), Fraction(30)
    def __iter__(self):
        pixels = np.full((300, 1920, 3), 90, np.uint8)
        return (VideoFrame(pixels, number, Fraction(1, 30), number / 30) for number in count())
    def close(self): pass

source, work = Endless(), FrameWork(FakeRestorer(scale=1), 1)
stats = StreamStats(source)
summary = show_live(source, work, Console(quiet=True), stats, [in_window(work, stats, compare=True)])
print(summary.exit_code, summary.done > 0)
"""


CHANGING = f"""
import sys
import numpy as np
from fsr.runtime.media.window import Window
with Window({TITLE!r}) as window:
    for shape in [(360, 640, 3)] * 5 + [(360, 1280, 3)]:
        window.show(np.zeros(shape, np.uint8))
    while window.show(np.zeros((600, 640, 3), np.uint8)):
        pass
"""


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """The DISPLAY of an X server without a window manager."""
    if shutil.which("Xvfb") is None or find_library("X11") is None:
        pytest.skip("Xvfb or libX11 is not installed")
    if not (gui_backend() or "").startswith("QT"):
        pytest.skip("this OpenCV does not draw with Qt")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1366x768x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f":{server.stdout.readline().strip()}"
        server.terminate()


class Desk:
    """What a desktop does with windows, through libX11."""

    def __init__(self, display: str) -> None:
        self._x = ctypes.CDLL(find_library("X11"))
        for name in ("XOpenDisplay", "XDefaultRootWindow", "XInternAtom"):
            getattr(self._x, name).restype = ctypes.c_void_p if name == "XOpenDisplay" else ctypes.c_ulong
        self._display = ctypes.c_void_p(self._x.XOpenDisplay(display.encode()))

    def window(self) -> ctypes.c_ulong | None:
        """The one with the program's title."""
        root = ctypes.c_ulong(self._x.XDefaultRootWindow(self._display))
        windows, number, unused = ctypes.POINTER(ctypes.c_ulong)(), ctypes.c_uint(), ctypes.c_ulong()
        found = (ctypes.byref(unused), ctypes.byref(unused), ctypes.byref(windows), ctypes.byref(number))
        self._x.XQueryTree(self._display, root, *found)
        for window in map(ctypes.c_ulong, windows[: number.value]):
            name = ctypes.c_char_p()
            if self._x.XFetchName(self._display, window, ctypes.byref(name)) and name.value == TITLE.encode():
                return window
        return None

    def size(self, window: ctypes.c_ulong) -> tuple[int, int]:
        values = [ctypes.c_ulong(), *(ctypes.c_int() for _ in range(2)), *(ctypes.c_uint() for _ in range(4))]
        self._x.XGetGeometry(self._display, window, *map(ctypes.byref, values))
        return values[3].value, values[4].value

    def press_the_x_button(self, window: ctypes.c_ulong) -> None:
        """As a window manager says it: a message WM_DELETE_WINDOW (ICCCM 4.2.8.1)."""
        protocols, delete = (
            self._x.XInternAtom(self._display, name, False) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
        )
        client_message = 33
        event = (ctypes.c_long * 24)(client_message, 0, 1, self._display.value, window.value, protocols, 32, delete)
        self._x.XSendEvent(self._display, window, False, ctypes.c_long(0), event)
        self._x.XSync(self._display, False)

    def close(self) -> None:
        self._x.XCloseDisplay(self._display)


@pytest.mark.parametrize("desktop", [{}, {"WAYLAND_DISPLAY": "wayland-0", "QT_QPA_PLATFORM": "wayland"}])
def test_a_window_fits_says_nothing_and_its_x_button_ends_the_run(screen: str, desktop: dict[str, str]) -> None:
    environment = {**os.environ, "DISPLAY": screen, **desktop}
    program = [sys.executable, "-c", PROGRAM, str(TESTS)]
    process = subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    desk, deadline = Desk(screen), time.monotonic() + PATIENCE
    while (window := desk.window()) is None or desk.size(window)[0] != LARGEST_WH[0]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, window and desk.size(window)
        time.sleep(0.05)
    assert desk.size(window)[1] < LARGEST_WH[1], "3840 x 316 in its own ratio"
    desk.press_the_x_button(window)
    said, trouble = process.communicate(timeout=PATIENCE)
    desk.close()
    assert (process.returncode, said, trouble) == (0, "0 True\n", "")


def test_a_window_takes_the_shape_of_its_picture(screen: str) -> None:
    environment = {**os.environ, "DISPLAY": screen}
    desk, deadline = Desk(screen), time.monotonic() + PATIENCE
    with subprocess.Popen([sys.executable, "-c", CHANGING], env=environment) as process:
        try:
            while (window := desk.window()) is None or desk.size(window) != (640, 600):
                assert process.poll() is None
                assert time.monotonic() < deadline, window and desk.size(window)
                time.sleep(0.05)
            desk.press_the_x_button(window)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            desk.close()


def test_without_x11_nothing_is_opened_that_would_end_the_program() -> None:
    """With Wayland alone Qt aborts; this must come before."""
    if not sys.platform.startswith("linux") or not (gui_backend() or "").startswith("QT"):
        pytest.skip("this OpenCV does not draw with Qt on Linux")
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run(
        [sys.executable, "-c", "from fsr.runtime.media.window import Window; Window('a')"],
        env={**environment, "WAYLAND_DISPLAY": "wayland-0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "needs X11, and DISPLAY is not set" in done.stderr


@pytest.mark.parametrize(
    ("frame", "expected"),
    [((640, 480), (640, 480)), ((3840, 1080), (1280, 360)), ((1000, 2000), (360, 720)), ((50_000, 10), (1280, 1))],
)
def test_a_window_is_as_large_as_its_frames_or_fits(frame: tuple[int, int], expected: tuple[int, int]) -> None:
    assert window_size(*frame) == expected
