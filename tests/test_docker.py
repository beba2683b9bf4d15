"""docker/: the health check against real answers, and what can be known of the recipes without building them."""

from __future__ import annotations

import re
import runpy
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import metadata
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
check: Callable[[str], str | None] = runpy.run_path(str(ROOT / "docker/healthcheck.py"))["main"]


@pytest.mark.parametrize(("status", "why"), [(200, None), (503, "no frame for 12 s")])
def test_the_health_check_goes_by_the_answer(status: int, why: str | None) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"no frame for 12 s")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        assert check(f"http://127.0.0.1:{server.server_port}/healthz") == why
        thread.join()


def test_a_run_without_a_page_is_healthy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and does not listen
        assert check(f"http://127.0.0.1:{free.getsockname()[1]}/healthz") is None


def test_a_page_that_hangs_up_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=lambda: server.accept()[0].close())
        thread.start()
        assert check(f"http://127.0.0.1:{server.getsockname()[1]}/healthz")
        thread.join()


def test_there_is_one_for_each_kind_of_device() -> None:
    assert [path.name.partition(".")[0] for path in DOCKERFILES] == ["cpu", "cuda", "jetpack6", "jetpack7"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_recipe_asks_for_what_there_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    (extras,) = re.findall(r"\.whl\)\[([\w,-]+)\]", text)
    assert set(extras.split(",")) <= set(metadata("fsr-edge").get_all("Provides-Extra", []))
    bases = re.findall(r"^(?:FROM|ARG BASE=)\s*([^$\s]+:\S+)", text, re.MULTILINE)
    assert bases and not [base for base in bases if base.endswith(":latest")]
    for source in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE):
        assert (ROOT / source).exists()
    assert "healthcheck.py" in text.partition("HEALTHCHECK")[2] and "USER 10001" in text


def test_the_context_holds_all_that_the_wheel_is_made_of() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    packaged = {"calibration", "export", "runtime", "train", "pyproject.toml", "README.md", "LICENSE"}
    assert kept == packaged | {"docker"}
