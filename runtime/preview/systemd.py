"""Tells systemd that frames flow, so that a unit with `WatchdogSec=` is started anew when they no longer do.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

from .health import Watchdog

USUAL = 1.0
"""Seconds between two messages where the unit has no watchdog of its own."""


async def tell_systemd(watchdog: Watchdog) -> None:
    """Ready with the first frame, alive with every later one; nothing where systemd did not start this program."""
    if not (address := os.environ.get("NOTIFY_SOCKET")):
        return
    pause = int(os.environ.get("WATCHDOG_USEC", 4e6 * USUAL)) / 4e6
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messages:
        messages.setblocking(False)
        while True:
            if watchdog.frames and watchdog.complaint() is None:
                with suppress(OSError):  # systemd does not listen just now: the next message may reach it
                    messages.sendto(b"READY=1\nWATCHDOG=1", address.replace("@", "\0", 1))
            await asyncio.sleep(pause)
