"""How much memory this process takes."""

from __future__ import annotations

import numpy as np
import pytest

from fsr.runtime.bench.memory import PROC, peak_megabytes, resident_megabytes


def test_counts_what_is_resident() -> None:
    if not (PROC / "self" / "status").exists():
        pytest.skip(f"no {PROC}: not Linux")
    before = resident_megabytes()
    touched = np.ones(64_000_000, np.uint8)
    after, peak = resident_megabytes(), peak_megabytes()
    assert before is not None and after is not None and peak is not None
    assert 50 < after - before < 80, "64 MB were touched"
    assert peak > after - 1, "the system counts a little late"
    del touched
    assert (peak_megabytes() or 0) > peak - 1 > (resident_megabytes() or 0) + 50, "the peak stays"


def test_a_process_that_is_not_there_has_none() -> None:
    assert resident_megabytes(2**22 + 1) is None
