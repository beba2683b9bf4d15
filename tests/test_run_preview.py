"""`fsr-run --preview`: what it refuses, and a run that is watched, ended and leaves nothing."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from preview_parts import next_picture, told
from websockets.sync.client import connect

from fsr.runtime.errors import UsageError
from fsr.runtime.preview import sink
from fsr.runtime.runs.request import Request

FSR_RUN = [sys.executable, "-c", "from fsr.runtime.cli import main; main()"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"input": "photos"}, "--window, --preview: show one video"),
        ({"input": "test://", "preview": "0.0.0.0:x"}, "--preview: got '0.0.0.0:x', expected a port"),
    ],
)
def test_refused(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        Request(**{"preview": "8090", **given})  # pyright: ignore[reportArgumentType]


def test_missing_extra_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "NEEDED", ("no_such_package",))
    with pytest.raises(UsageError, match=r'needs no_such_package, which is missing; pip install "fsr-edge\[preview\]"'):
        sink.require_preview()


def test_help_imports_no_server() -> None:
    code = "import sys, fsr.runtime.cli, fsr.runtime.runs.request; print({'uvicorn', 'starlette'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_run_is_watched_and_changed(tmp_path: Path) -> None:
    options = ["--input", "test://?size=320x240&faces=1&fps=10", "--preview", "127.0.0.1:0", "--tier", "S", "--quiet"]
    process = subprocess.Popen([*FSR_RUN, *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = next(found[1] for line in process.stderr if (found := re.search(r"watch at (http\S+/)", line)))
        with connect(f"{url.replace('http', 'ws')}stream", compression=None, proxy=None) as viewer:
            first = next_picture(viewer, 30)
            assert first.header["size"] == [320, 240]
            assert first.header["restored_size"] == [640, 480]
            told(viewer, shown=first.header["number"])
            change = urllib.request.Request(
                f"{url}controls", b'{"scale": 1, "strength": 0.5}', {"Content-Type": "application/json"}
            )
            assert json.load(urllib.request.urlopen(change, timeout=10))["scale"] == 1
            while (got := next_picture(viewer, 30)).header["restored_size"] != [320, 240]:
                told(viewer, shown=got.header["number"])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.communicate()
