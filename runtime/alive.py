"""Whether a process lives, by its number; and the end of those whose parent does no more."""

from __future__ import annotations

import os
import sys
from multiprocessing import parent_process
from multiprocessing.connection import wait
from threading import Thread

_MAY_ASK = 0x1000
"""PROCESS_QUERY_LIMITED_INFORMATION of Windows."""
_IS_ALIVE = 259
"""STILL_ACTIVE, in place of an exit code."""
_FORBIDDEN = 5
"""ERROR_ACCESS_DENIED: it is there, and another user's."""


def is_alive(process: int) -> bool:
    """Whether a process of that number runs here; it may be another than the one that had it yesterday."""
    if process < 1:  # for POSIX these are groups
        return False
    if sys.platform == "win32":
        return _is_alive_on_windows(process)
    try:
        os.kill(process, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_alive_on_windows(process: int) -> bool:
    """There `os.kill` would end it."""
    import ctypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # pyright: ignore[reportAttributeAccessIssue]
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(_MAY_ASK, False, process)
    if not handle:
        return ctypes.get_last_error() == _FORBIDDEN  # pyright: ignore[reportAttributeAccessIssue]
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
    kernel.CloseHandle(ctypes.c_void_p(handle))
    return code.value == _IS_ALIVE


def exit_with_parent() -> None:
    """Let this process, a child of `multiprocessing`, end when its parent does, however that ends."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, name="parent", daemon=True).start()
