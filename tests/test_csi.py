"""A board's camera comes through a GStreamer pipe, or a sentence says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from fsr.runtime.errors import InputError
from fsr.runtime.media import csi
from fsr.runtime.media.csi import CsiCamera, command
from fsr.runtime.media.uri import parse_uri

CARD = "csi://0?element=videotestsrc&size=96x64&fps=50"


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="no gst-launch-1.0 is installed")
def test_the_test_card_of_gstreamer_comes_in_rgb() -> None:
    with CsiCamera(parse_uri(CARD)) as camera:
        assert (camera.size_wh, camera.rate, camera.live) == ((96, 64), 50, True)
        frames = list(islice(camera, 5))
    bars = [frame.pixels[20, 96 // 14 :: 96 // 7][:7] for frame in frames]
    expected = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1)]
    for bar in bars:
        assert ((bar > 120).astype(int) == expected).all(), "white, yellow, cyan, green, magenta, red, blue"
    assert all(late.pts > early.pts for early, late in pairwise(frames)) and frames[0].captured is not None
    assert camera._process.returncode is not None, "the pipe has ended"


def fake_tools(folder: Path, launch: str, inspect: str = "exit 0") -> None:
    for name, script in (("gst-launch-1.0", launch), ("gst-inspect-1.0", inspect)):
        (folder / name).write_text(f"#!/bin/sh\nfor last; do :; done\nframes=/dev/fd/${{last#fd=}}\n{script}\n")
        (folder / name).chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    return tmp_path


def test_without_gstreamer_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        InputError, match=r"needs gst-launch-1\.0 and gst-inspect-1\.0, which is not installed; sudo apt"
    ):
        CsiCamera(parse_uri("csi://0"))


def test_without_the_boards_element_the_sentence_names_it(tools: Path) -> None:
    fake_tools(tools, "exit 1", inspect="exit 1")
    with pytest.raises(InputError, match=r"GStreamer has no nvarguscamerasrc or libcamerasrc; .* L4T"):
        CsiCamera(parse_uri("csi://0"))
    with pytest.raises(InputError, match="GStreamer has no mine;"):
        CsiCamera(parse_uri("csi://0?element=mine"))


def test_a_pipe_that_fails_says_why(tools: Path) -> None:
    fake_tools(tools, "echo 'ERROR: from element: No cameras available' >&2; exit 1")
    with pytest.raises(
        InputError, match="csi://0: delivers no frame: ERROR: from element: No cameras available; check"
    ):
        CsiCamera(parse_uri("csi://0"))


def test_a_pipe_that_ends_ends_the_frames(tools: Path) -> None:
    fake_tools(tools, f"head -c {3 * 96 * 64 * 4 + 100} /dev/zero > $frames; echo 'ERROR: sensor lost' >&2")
    frames = []
    with (
        pytest.raises(InputError, match="stopped delivering frames: ERROR: sensor lost"),
        CsiCamera(parse_uri(CARD)) as it,
    ):
        frames.extend(it)
    assert len(frames) == 3 and not np.any(frames[0].pixels)


def test_what_the_pipe_says_does_not_mix_with_the_frames_nor_stop_them(tools: Path) -> None:
    words = "echo 'GST_ARGUS: Creating output stream'; head -c 200000 /dev/zero | tr '\\0' '\\n' >&2"
    fake_tools(tools, f"{words}; head -c {2 * 96 * 64 * 4} /dev/zero > $frames; {words}; echo 'ERROR: gone' >&2")
    frames = []
    with pytest.raises(InputError, match="ERROR: gone"), CsiCamera(parse_uri(CARD)) as it:
        frames.extend(it)
    assert len(frames) == 2 and not any(np.any(frame.pixels) for frame in frames)


def test_a_jetsons_camera_is_read_through_its_own_memory() -> None:
    words = " ".join(command(parse_uri("csi://2"), "nvarguscamerasrc", (1920, 1080), Fraction(30000, 1001), 5))
    assert "nvarguscamerasrc sensor-id=2 ! video/x-raw(memory:NVMM),width=1920,height=1080" in words
    assert "nvvidconv ! video/x-raw,format=BGRx,width=1920,height=1080,framerate=30000/1001 ! fdsink fd=5" in words


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="no gst-launch-1.0 is installed")
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the pipe in /proc")
def test_the_pipe_ends_with_the_process_that_reads_it() -> None:
    from fsr.runtime.media.capture import Capture, Patience

    with Capture(parse_uri(CARD), patience=Patience(first_pause=0.01)) as source:
        frames = iter(source)
        next(frames)
        mark = "width=96,height=64,framerate=50/1"
        assert mark in running()
    assert mark not in running()
    assert csi.RATE == 30


def running() -> str:
    listing = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in listing.splitlines() if line.startswith("gst-launch"))
