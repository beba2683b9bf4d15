"""Whether a window can be shown here, found out without opening one: that may end the whole program."""

from __future__ import annotations

import os
import re
import socket
import sys

import cv2

_X11_SOCKETS = "/tmp/.X11-unix"  # noqa: S108  where every X server listens
_X11_PORT = 6000


def has_display() -> tuple[bool, str]:
    """Whether a window can be shown, and why, as a clause."""
    if (backend := gui_backend()) is None:
        return (
            False,
            "this OpenCV cannot draw: pip uninstall opencv-python-headless, then pip install opencv-python",
        )
    if sys.platform != "linux":
        return True, f"OpenCV draws with {backend}"
    display, wayland = os.environ.get("DISPLAY"), os.environ.get("WAYLAND_DISPLAY")
    if display and _answers(display):
        return True, f"OpenCV draws with {backend} on {display}"
    if wayland and not _needs_x11(backend):
        return True, f"OpenCV draws with {backend} on Wayland"
    if display:
        return False, f"DISPLAY is {display}, where no screen answers"
    if wayland:
        return False, f"OpenCV draws with {backend}, which needs X11, and DISPLAY is not set: turn XWayland on"
    return False, "neither DISPLAY nor WAYLAND_DISPLAY is set: there is no screen"


def prepare() -> None:
    """To be called before the first window: what else would end the program, or make it talk."""
    if sys.platform == "linux" and _needs_x11(gui_backend() or ""):
        os.environ["QT_QPA_PLATFORM"] = "xcb"  # desktops set wayland, which ends a program whose Qt has no such part
        os.environ.setdefault("QT_LOGGING_RULES", "*=false")  # else: missing fonts, with every window


def _needs_x11(backend: str) -> bool:
    """The Qt of opencv-python brings nothing but xcb."""
    return backend.startswith("QT")


def gui_backend() -> str | None:
    """What OpenCV draws windows with, such as QT5 or GTK3; None for a headless build."""
    found = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    return None if found is None or found[1] == "NONE" else found[1]


def _answers(display: str) -> bool:
    """Whether an X server takes connections at `display`: `:0`, `host:10.0`."""
    host, _, number = display.rpartition(":")
    if not (screen := number.split(".")[0]).isdigit():
        return False
    local = host in ("", "unix")
    kind = socket.AF_UNIX if local else socket.AF_INET
    address = f"{_X11_SOCKETS}/X{screen}" if local else (host, _X11_PORT + int(screen))
    try:
        with socket.socket(kind, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            connection.connect(address)
    except OSError:
        return False
    return True
