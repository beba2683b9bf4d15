"""Whom the face network sees, in processes of their own; what happens to those does no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from fsr.calibration import identity
from fsr.calibration.identity import IdentityNetwork, embeddings, identity_drift
from fsr.export.check_faces import Looker, Tools
from fsr.export.parity_faces import stored_faces
from fsr.runtime.alive import is_alive
from fsr.runtime.bundle import default_detector, default_folder, open_bundle
from fsr.runtime.detect import Detector, Face, largest
from fsr.runtime.errors import EngineUnavailableError
from fsr.runtime.pixels import RgbImage


@pytest.fixture
def network() -> IdentityNetwork:
    try:
        return IdentityNetwork()
    except EngineUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> IdentityNetwork:
    """One whose processes are killed as soon as they work; it needs none of the packages."""

    def killed(*_: object) -> None:
        raise BrokenProcessPool("a process in the pool was terminated abruptly")

    monkeypatch.setattr(identity, "_import_dlib", lambda: None)
    monkeypatch.setattr(identity, "_models_folder", lambda: None)
    network = IdentityNetwork()
    monkeypatch.setattr(network._pool, "map", killed)
    return network


def face_in(picture: RgbImage) -> Face:
    face = largest(Detector.open(default_detector())(picture))
    assert face is not None
    return face


def test_people_are_told_apart_and_no_face_is_looked_at_twice(
    network: IdentityNetwork, astronaut: RgbImage, grace_hopper: RgbImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [astronaut, np.ascontiguousarray(astronaut[:, ::-1]), grace_hopper]
    pairs = [(picture, face_in(picture)) for picture in pictures]
    found = network.embed(pairs)
    same, other = np.linalg.norm(found[0] - found[1]), np.linalg.norm(found[0] - found[2])
    assert found.shape == (3, 128) and same < identity.SAME_PERSON < other
    drift = identity_drift(found[:1], found[1:2], None)
    assert drift is not None and drift.mean == round(float(same), 4)

    def refuse(*_: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(network._pool, "map", refuse)
    np.testing.assert_array_equal(network.embed([pairs[2], pairs[0]]), found[[2, 0]])
    assert network.embed([]).shape == (0, 128)


def test_pictures_without_a_face_are_left_out(broken: IdentityNetwork, astronaut: RgbImage) -> None:
    pictures = np.stack([astronaut, astronaut])
    assert embeddings(broken, [None, None], pictures).shape == (0, 128), "no process was asked"


def test_a_process_that_was_killed_is_a_sentence(broken: IdentityNetwork, astronaut: RgbImage) -> None:
    with pytest.raises(EngineUnavailableError, match="a process of it was killed; there may be too little memory"):
        broken.embed([(astronaut, face_in(astronaut))])


def test_the_check_goes_on_without_it(broken: IdentityNetwork) -> None:
    bundle = open_bundle(default_folder())
    tools = Tools(bundle)
    tools.identity = broken
    faces = stored_faces(bundle, bundle.model("edge-S-16x8"))
    landmarks, drift = Looker(faces, tools).drift(faces.reference)
    assert drift is None and landmarks.found > 0
    assert "identity drift was not measured to the end: a process of it was killed" in tools.identity_note


CHILD = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import os
from fsr.runtime.alive import exit_with_parent

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=exit_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


def until(holds: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


@pytest.mark.skipif(sys.platform == "win32", reason="there SIGKILL is another thing")
def test_a_process_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(CHILD)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        os.kill(parent.pid, signal.SIGKILL)
        assert until(lambda: not is_alive(child))
