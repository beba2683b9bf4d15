"""A camera at the board's CSI connector, read from a `gst-launch-1.0` pipe: OpenCV needs no GStreamer for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

import cv2
import numpy as np

from ..errors import InputError
from ..pixels import RgbImage
from .camera import TIME_BASE
from .source import Source, VideoFrame, timed_by_clock
from .uri import SourceUri

LAUNCH, INSPECT = "gst-launch-1.0", "gst-inspect-1.0"
SIZE_WH, RATE = (1280, 720), Fraction(30)
INSTALL = "sudo apt install gstreamer1.0-tools gstreamer1.0-plugins-base"

_PLAIN = "{element} ! videoconvert ! videoscale ! videorate ! {caps}"
PIPES: Mapping[str, str] = {
    # The ISP of a Jetson works in its own memory, and brings frames out of it as BGRx.
    "nvarguscamerasrc": "nvarguscamerasrc sensor-id={number} ! "
    "video/x-raw(memory:NVMM),width={width},height={height},framerate={rate} ! nvvidconv ! {caps}",
    "libcamerasrc": _PLAIN,
    "videotestsrc": "videotestsrc is-live=true ! {caps}",
}
"""Pipe by element; the first two are tried in turn, the last is a test card. Others get the plain one."""
CAPS = "video/x-raw,format=BGRx,width={width},height={height},framerate={rate}"
_CHANNELS = 4
_LINES = 100
"""That are kept of what the pipe says: in the last ones stands why it ended."""


class CsiCamera(Source):
    """Frames as they come, timed by the clock, at the size and rate of the URI, by default 1280x720 at 30 a second.

    Raises:
        InputError: GStreamer or the camera's element is missing, or no frame comes; says what to install. A pipe that
            ends later ends the frames, which is raised when the camera is left.
    """

    live = True

    def __init__(self, uri: SourceUri, clock: Callable[[], float] = time.monotonic) -> None:
        self.uri, self._clock = uri, clock
        self.size_wh: tuple[int, int] = uri.options.get("size", SIZE_WH)
        self.rate: Fraction = uri.options.get("fps", RATE)
        element, (ours, theirs) = find_element(uri), os.pipe()
        self._frames = os.fdopen(ours, "rb")
        try:
            self._process = subprocess.Popen(
                command(uri, element, self.size_wh, self.rate, theirs),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # where some elements talk, nvarguscamerasrc too: no place for frames
                stderr=subprocess.PIPE,
                pass_fds=(theirs,),
            )
        finally:
            os.close(theirs)  # else the frames would not end with the process
        self._words: deque[bytes] = deque(maxlen=_LINES)
        self._listener = threading.Thread(target=self._listen, name="csi words", daemon=True)
        self._listener.start()
        if (first := self._read()) is None:
            why = self._last_words()
            self.close()
            raise InputError(f"{uri}: delivers no frame: {why}; check its cable and that no other program uses it")
        self._first = first

    def __iter__(self) -> Iterator[VideoFrame]:
        yield from timed_by_clock(self._first, self._read, self._clock, TIME_BASE)
        self.failure = InputError(f"{self.uri}: stopped delivering frames: {self._last_words()}; check its cable")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._frames.close()
        self._listener.join(1.0)  # a second is for what the process started and left behind

    def _read(self) -> RgbImage | None:
        width, height = self.size_wh
        wanted = width * height * _CHANNELS
        data = self._frames.read(wanted)
        if len(data) < wanted:
            return None
        bgrx = np.frombuffer(data, np.uint8).reshape(height, width, _CHANNELS)
        return np.asarray(cv2.cvtColor(bgrx, cv2.COLOR_BGRA2RGB), np.uint8)

    def _listen(self) -> None:
        """Of the thread: a pipe that is not read blocks who writes into it."""
        assert self._process.stderr is not None
        with self._process.stderr as words:
            self._words.extend(words)

    def _last_words(self) -> str:
        """Of the pipe that has ended: its first error."""
        self._process.kill()
        self._listener.join(1.0)
        said = [line.decode(errors="replace") for line in self._words]
        return next((line.strip() for line in said if "ERROR" in line or "could not" in line), "it says nothing")


def command(uri: SourceUri, element: str, size_wh: tuple[int, int], rate: Fraction, file: int) -> list[str]:
    """Arguments that write raw frames, BGRx and nothing else, to the open file of that number."""
    fields = {
        "element": element,
        "number": uri.number,
        "width": size_wh[0],
        "height": size_wh[1],
        "rate": f"{rate.numerator}/{rate.denominator}",
    }
    pipe = PIPES.get(element, _PLAIN).format(caps=CAPS.format(**fields), **fields)
    return [LAUNCH, "-q", *pipe.split(), "!", "fdsink", f"fd={file}"]


def find_element(uri: SourceUri) -> str:
    """The element that reads this board's camera.

    Raises:
        InputError: GStreamer, or every element that is known, is missing.
    """
    if missing := [tool for tool in (LAUNCH, INSPECT) if shutil.which(tool) is None]:
        raise InputError(f"{uri}: needs {' and '.join(missing)}, which is not installed; {INSTALL}")
    wanted = uri.options.get("element")
    tried = [wanted] if wanted else [name for name in PIPES if name != "videotestsrc"]
    for element in tried:
        if subprocess.run([INSPECT, "--exists", element], check=False, capture_output=True).returncode == 0:
            return element
    raise InputError(
        f"{uri}: GStreamer has no {' or '.join(tried)}; nvarguscamerasrc comes with a Jetson's L4T, libcamerasrc with "
        "sudo apt install gstreamer1.0-libcamera; another one is named so: csi://0?element=NAME"
    )
