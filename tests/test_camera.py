"""A camera delivers timed frames or says what to try; a window shows them or says why it cannot."""

from __future__ import annotations

import socket
import sys
from fractions import Fraction
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fsr.runtime.errors import InputError, OutputError
from fsr.runtime.media import camera as camera_module
from fsr.runtime.media import display
from fsr.runtime.media.camera import Camera
from fsr.runtime.media.window import Window, has_display

RED = np.full((48, 64, 3), (200, 30, 10), np.uint8)


class FakeCapture:
    """Stands in for cv2.VideoCapture: `frames` red pictures, then nothing."""

    def __init__(self, frames: int = 5, *, is_open: bool = True, rate: float = 30.0) -> None:
        self.left, self.is_open, self.rate, self.released = frames, is_open, rate, False
        self.asked: dict[int, float] = {}

    def isOpened(self) -> bool:
        return self.is_open

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return (True, RED[..., ::-1].copy()) if self.left >= 0 else (False, None)

    def get(self, propId: int, /) -> float:
        return self.rate

    def set(self, propId: int, value: float, /) -> bool:
        self.asked[propId] = value
        return True

    def release(self) -> None:
        self.is_open, self.released = False, True


def seconds(step: float = 0.04) -> Any:
    ticks = count()
    return lambda: 100 + next(ticks) * step


# Camera


def test_frames_come_in_rgb_and_timed_by_the_clock() -> None:
    capture = FakeCapture()
    with Camera(0, lambda index: capture, seconds()) as camera:
        assert (camera.size_wh, camera.rate, camera.frames) == ((64, 48), 30, None)
        frames = list(islice(camera, 5))
    np.testing.assert_array_equal(frames[0].pixels, RED)
    assert [frame.seconds for frame in frames] == pytest.approx([0.04, 0.08, 0.12, 0.16, 0.2])
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(n, 25) for n in range(1, 6)]
    assert capture.released


def test_times_rise_even_where_the_clock_stands() -> None:
    with Camera(0, lambda index: FakeCapture(), lambda: 1.0) as camera:
        frames = list(islice(camera, 4))
    assert all(late.pts > early.pts for early, late in pairwise(frames))


@pytest.mark.parametrize(("rate", "expected"), [(0, 30), (float("nan"), 30), (29.97, Fraction(2997, 100)), (25, 25)])
def test_a_rate_that_the_camera_does_not_know_is_the_usual(rate: float, expected: Fraction) -> None:
    with Camera(0, lambda index: FakeCapture(rate=rate)) as camera:
        assert camera.rate == expected


def test_a_camera_that_stops_ends_its_frames_and_says_so_when_left() -> None:
    capture, frames = FakeCapture(3), []
    with (
        pytest.raises(InputError, match=r"camera 2: stopped delivering frames after 0\.\d s; check its cable"),
        Camera(2, lambda index: capture, seconds()) as camera,
    ):
        frames = list(camera)
    assert len(frames) == 3 and capture.released


def test_another_error_is_not_hidden_by_the_camera_that_stopped() -> None:
    with pytest.raises(ZeroDivisionError), Camera(0, lambda index: FakeCapture(1)) as camera:
        list(camera)
        raise ZeroDivisionError


def test_a_size_and_a_rate_are_asked_for() -> None:
    capture = FakeCapture()
    with Camera(0, lambda index: capture, size_wh=(1280, 720), rate=Fraction(2997, 100)) as camera:
        assert camera.size_wh == (64, 48), "what comes counts"
    assert list(capture.asked.values()) == [1280, 720, 29.97]
    assert capture.asked[cv2.CAP_PROP_FRAME_WIDTH] == 1280


def test_the_number_reaches_opencv() -> None:
    asked = []

    def opened(index: int) -> FakeCapture:
        asked.append(index)
        return FakeCapture()

    with Camera(7, opened):
        assert asked == [7]


@pytest.mark.parametrize(
    ("frames", "is_open", "what"), [(5, False, "cannot be opened"), (0, True, "delivers no frame")]
)
def test_a_camera_that_does_not_work_is_released_and_named(frames: int, is_open: bool, what: str) -> None:
    capture = FakeCapture(frames, is_open=is_open)
    with pytest.raises(InputError, match=f"camera 3: {what}; "):
        Camera(3, lambda index: capture)
    assert capture.released


def test_a_missing_camera_is_one_sentence_and_no_noise(capfd: pytest.CaptureFixture[str]) -> None:
    level = cv2.utils.logging.getLogLevel()
    with pytest.raises(InputError, match="camera 93: cannot be opened; "):
        Camera(93)
    assert capfd.readouterr() == ("", "")
    assert cv2.utils.logging.getLogLevel() == level


def test_advice_goes_by_what_the_machine_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_module, "DEVICES", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert "plug a camera in" in camera_module.advice(0)
    (tmp_path / "video2").touch()
    (tmp_path / "video10").touch()
    assert camera_module.advice(0) == f"found {tmp_path}/video2, {tmp_path}/video10: try --camera 2"
    assert "close other programs" in camera_module.advice(2)
    monkeypatch.setattr(camera_module, "_may_read", lambda device: False)
    assert "sudo usermod -aG video $USER" in camera_module.advice(2)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "may use cameras" in camera_module.advice(2)


# Display


@pytest.fixture
def with_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenCV that can draw, on Linux without a screen."""
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           QT5\n    QT: YES\n")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def test_a_headless_opencv_shows_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    can_show, why = has_display()
    assert not can_show and "pip install opencv-python" in why
    with pytest.raises(OutputError, match=r"no window can be shown: .*this OpenCV cannot draw.*; or write to a file"):
        Window("faces")
    assert capfd.readouterr() == ("", "")


def test_the_build_at_hand_says_what_it_draws_with() -> None:
    assert (display.gui_backend() is None) == ("GUI:                           NONE" in cv2.getBuildInformation())


@pytest.mark.usefixtures("with_windows")
def test_without_a_screen_nothing_is_shown() -> None:
    assert has_display() == (False, "neither DISPLAY nor WAYLAND_DISPLAY is set: there is no screen")


@pytest.mark.usefixtures("with_windows")
@pytest.mark.parametrize("name", [":987", "unix:987.0", "127.0.0.1:59000.0", "nonsense", ""])
def test_a_display_that_does_not_answer_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DISPLAY", name)
    assert not has_display()[0]


@pytest.mark.usefixtures("with_windows")
def test_a_display_that_answers_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_X11_SOCKETS", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "X5"))
        server.listen()
        monkeypatch.setenv("DISPLAY", ":5.0")
        assert has_display() == (True, "OpenCV draws with QT5 on :5.0")


@pytest.mark.usefixtures("with_windows")
def test_wayland_alone_is_no_display_for_qt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Qt that opencv-python brings ends the program there."""
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert has_display() == (False, "OpenCV draws with QT5, which needs X11, and DISPLAY is not set: turn XWayland on")


@pytest.mark.usefixtures("with_windows")
def test_wayland_is_a_display_for_what_can_draw_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           GTK3\n")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setenv("DISPLAY", ":987")
    assert has_display() == (True, "OpenCV draws with GTK3 on Wayland")


# Window


class Screen:
    """Stands in for OpenCV's windows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[np.ndarray] = []
        self.key, self.visible, self.destroyed = -1, 1.0, False
        monkeypatch.setattr("fsr.runtime.media.window.has_display", lambda: (True, "tested"))
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "resizeWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "imshow", lambda title, bgr: self.shown.append(bgr))
        monkeypatch.setattr(cv2, "waitKey", lambda delay: self.key)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: self.visible)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: setattr(self, "destroyed", True))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    return Screen(monkeypatch)


def test_a_window_shows_frames_in_opencvs_colour_order(screen: Screen) -> None:
    with Window("faces") as window:
        assert window.show(RED)
    assert tuple(screen.shown[0][0, 0]) == (10, 30, 200)
    assert screen.destroyed


@pytest.mark.parametrize("key", [ord("q"), ord("Q"), 27, 27 + 0x100000])
def test_q_and_escape_end_it(screen: Screen, key: int) -> None:
    with Window("faces") as window:
        assert window.show(RED)
        screen.key = key
        assert not window.show(RED)


def test_another_key_does_not(screen: Screen) -> None:
    screen.key = ord("x")
    with Window("faces") as window:
        assert window.show(RED)


def test_closing_the_window_ends_it(screen: Screen) -> None:
    with Window("faces") as window:
        screen.visible = 0.0
        assert not window.show(RED)
