"""Where frames live in memory: one heap for all threads.

By itself glibc gives each thread a heap of its own, and what is freed in one serves no other. So each comes to hold as
many frames, and as much between them, as that thread ever needed at once: together more than the program ever did, and
ever more the longer it runs.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_ARENA_MAX = -8
"""Of glibc's malloc.h: how many heaps there may be; see mallopt(3)."""


def share_heap() -> bool:
    """Let threads that start from now on share the first one's heap, unless the environment says how many there are.

    Not where the C library is not glibc, which alone is asked: False.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_ARENA_MAX, 1))
