"""The page's server, asked as browsers, scrapers and troublemakers ask it. The page itself: test_preview_page.py."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pytest
from preview_parts import (
    ask,
    left_face,
    next_picture,
    next_state,
    preview,
    raw,
    restored_face,
    result,
    told,
    watch,
    with_faces,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fsr.runtime.errors import UsageError
from fsr.runtime.options import RestoreOptions
from fsr.runtime.preview import connections
from fsr.runtime.preview.access import token_for
from fsr.runtime.preview.address import Address, _own_port
from fsr.runtime.preview.controls import Controls
from fsr.runtime.preview.preview import Preview
from fsr.runtime.runs.frame_work import FrameResult

TOKEN = "a-token-of-24-characters"
DARK = {"strength": 0.0}


@pytest.fixture
def controls() -> Controls:
    return Controls(RestoreOptions())


@pytest.fixture
def page(controls: Controls) -> Iterator[Preview]:
    with preview(controls=controls, source="test") as page:
        yield page


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Preview]:
    monkeypatch.setenv("FSR_PREVIEW_TOKEN", TOKEN)
    with preview() as page:
        page.show(result())
        yield page


def decoded(jpeg: bytes) -> np.ndarray:
    """BGR."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


class TestStream:
    def test_viewer_gets_before_after_and_faces(self, page: Preview) -> None:
        page.show(result(100))
        with watch(page) as viewer:
            got = next_picture(viewer)
        assert got.header["size"] == [320, 180]
        assert got.header["restored_size"] == [640, 360]
        assert [(face["id"], face["size"], face["restored"]) for face in got.header["faces"]] == [
            (7, 40, True),
            (9, 90, False),
        ]
        before, after, strip = map(decoded, (got.before, got.after, got.strip))
        assert before.shape == (180, 320, 3)
        assert after.shape == (360, 640, 3)
        tile = got.header["tile"]
        assert strip.shape == (2 * tile, 2 * tile, 3)
        assert abs(before[90, 160].astype(int) - (90, 100, 40)).max() < 8
        assert after[100, 120, 2] > 180  # the face came out red
        assert strip[tile + tile // 2, tile // 2, 2] > 180
        assert abs(strip[tile // 2, tile // 2].astype(int) - 128).max() < 8  # and went in grey

    def test_more_faces_than_the_strip_shows_are_counted(self, page: Preview) -> None:
        faces = [restored_face(track, (10 * track, 30)) for track in range(14)]
        page.show(with_faces(result(), *faces, left_face(99, (200, 60))))
        with watch(page) as viewer:
            header = next_picture(viewer).header
        assert (len(header["faces"]), header["count"], header["restored"]) == (12, 15, 14)

    def test_slow_viewer_skips_to_the_newest(self, page: Preview) -> None:
        with watch(page) as viewer:
            seen = []
            for number in range(3):
                page.show(result(number))
                if number < 2:  # two may be under way
                    seen.append(next_picture(viewer).header["number"])
            for number in range(3, 50):
                page.show(result(number))
            told(viewer, shown=seen[-1])
            assert next_picture(viewer).header["number"] == 50

    def test_nothing_is_sent_to_a_viewer_who_shows_nothing(self, page: Preview) -> None:
        with watch(page) as viewer:
            for number in range(2):
                page.show(result(number))
                next_picture(viewer)
            page.show(result(2))
            states = [viewer.recv(10) for _ in range(2)]  # half a second apart
            assert all(isinstance(state, str) for state in states)

    def test_one_file_a_frame_whoever_watches(self, page: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[int] = []
        real = cv2.imencode
        monkeypatch.setattr(cv2, "imencode", lambda *given: made.append(1) or real(*given))
        page.show(result())
        with watch(page) as one, watch(page) as two:
            assert next_picture(one).after == next_picture(two).after
        assert len(made) == 3

    def test_quality_is_the_viewers_own(self, page: Preview) -> None:
        page.show(result(size_wh=(1000, 500)))
        with watch(page) as viewer:
            assert decoded(next_picture(viewer).after).shape[1] == 1280
            told(viewer, quality="small")
            page.show(result(size_wh=(1000, 500)))
            assert decoded(next_picture(viewer).after).shape[1] == 640

    def test_state_says_what_runs(self, page: Preview) -> None:
        page.show(result())
        with watch(page) as viewer:
            state = next_state(viewer)
            assert state["fps"] == 24.7
            assert state["latency_ms"] == [41.6, 58.2]
            assert (state["dropped"], state["viewers"], state["source"]) == (3, 1, "test")
            assert state["effort"] == "faces are restored by tier S"
            told(viewer, shown=next_picture(viewer).header["number"])
            while "screen_ms" not in (state := next_state(viewer)):
                pass
            assert 0 <= state["screen_ms"] < 10_000

    @pytest.mark.parametrize("nonsense", ["{", "[]", "null", '{"shown": "x"}', '{"other": 1}', "[" * 900])
    def test_nonsense_ends_the_viewer_alone(self, page: Preview, nonsense: str) -> None:
        page.show(result())
        with watch(page) as well, watch(page) as bad:
            bad.send(nonsense)
            with pytest.raises(ConnectionClosed):
                while True:
                    bad.recv(10)
            assert next_picture(well).header["number"] == 1

    def test_too_many_viewers_are_told(self, page: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fsr.runtime.preview.viewers.MOST", 1)
        page.show(result())
        with watch(page) as first:
            next_picture(first)
            with watch(page) as second, pytest.raises(ConnectionClosed) as closed:
                second.recv(10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013
            assert ask(page, "/stream.mjpg")[0] == 503

    def test_mjpeg_for_the_rest(self, page: Preview) -> None:
        page.show(result(50))
        with raw(page, b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
            stream = connection.makefile("rb")
            assert b"200" in stream.readline()
            while stream.readline().strip():
                pass
            first = _part(stream)
            page.show(result(60))
            assert decoded(first).shape == (360, 640, 3)
            assert _part(stream) != first


def _part(stream: BinaryIO) -> bytes:
    """The next picture of a multipart answer in chunks."""
    while not (line := stream.readline()).lower().startswith(b"content-length"):
        assert line
    length = int(line.split(b":")[1])
    stream.readline()
    return stream.read(length)


class TestPauseAndControls:
    def test_pipeline_sees_what_is_set(self, page: Preview, controls: Controls) -> None:
        status, _, body = ask(page, "/controls", "POST", {"strength": 0.25, "scale": 3})
        assert (status, json.loads(body)) == (200, {"paused": False, "strength": 0.25, "scale": 3})
        base = RestoreOptions(min_face=24)
        assert controls.options(base) == RestoreOptions(min_face=24, strength=0.25, scale=3)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"strength": 1.5},
            {"strength": "1"},
            {"strength": True},
            {"strength": float("nan")},
            {"scale": 2.5},
            {"scale": 9},
            {"paused": 1},
            {"speed": 2},
            {"strength": 0.5, "scale": 0},
            [],
        ],
    )
    def test_wrong_value_changes_nothing(self, page: Preview, controls: Controls, wrong: object) -> None:
        before = controls.setting
        status, _, body = ask(page, "/controls", "POST", wrong)
        assert status == 400
        assert "expected" in json.loads(body)["error"]
        assert controls.setting == before

    def test_fixed_scale_stays(self) -> None:
        controls = Controls(RestoreOptions(scale=2), fixed_scale=True)
        with pytest.raises(UsageError, match="scale: got 3, expected one of 2"):
            controls.change({"scale": 3})

    def test_pause_holds_the_picture_and_the_run_goes_on(self, page: Preview) -> None:
        page.show(result(1))
        with watch(page) as viewer:
            held = next_picture(viewer)
            told(viewer, shown=held.header["number"])
            ask(page, "/controls", "POST", {"paused": True})
            page.show(result(200))
            with watch(page) as late:
                assert next_picture(late).before == held.before
            assert b"fsr_frames_total 2\n" in ask(page, "/metrics")[2]
            ask(page, "/controls", "POST", {"paused": False})
            page.show(result(201))
            assert next_picture(viewer).before != held.before

    def test_strength_of_a_held_picture(self, page: Preview) -> None:
        page.show(result(1))
        ask(page, "/controls", "POST", {"paused": True})
        with watch(page) as viewer:
            told(viewer, shown=next_picture(viewer).header["number"])
            ask(page, "/controls", "POST", {"strength": 0, "scale": 1})
            plain = next_picture(viewer)
            told(viewer, shown=plain.header["number"])
            ask(page, "/controls", "POST", {"strength": 1})
            full = next_picture(viewer)
        assert plain.header["restored_size"] == [320, 180]
        assert decoded(plain.after)[50, 60, 2] < 60
        assert decoded(full.after)[50, 60, 2] > 180

    def test_snapshot_is_the_restored_picture(self, page: Preview) -> None:
        assert ask(page, "/snapshot.png")[0] == 503
        shown = result(30)
        page.show(shown)
        status, headers, body = ask(page, "/snapshot.png")
        assert status == 200
        assert headers["content-disposition"].startswith('attachment; filename="fsr-')
        np.testing.assert_array_equal(decoded(body)[..., ::-1], shown.restored.image)


class TestAccess:
    def test_loopback_needs_no_token_beyond_it_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FSR_PREVIEW_TOKEN", raising=False)
        assert token_for(Address("127.0.0.1")) == (None, False)
        (first, new), (second, _) = (token_for(Address("0.0.0.0")) for _ in range(2))
        assert first and second and first != second and len(first) >= 24 and new

    def test_short_token_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FSR_PREVIEW_TOKEN", "short")
        with pytest.raises(UsageError, match="expected 16 or more"):
            preview()

    @pytest.mark.parametrize("path", ["/state", "/snapshot.png", "/stream.mjpg", "/metrics", "/main.js", "/nowhere"])
    def test_nothing_without_the_token(self, guarded: Preview, path: str) -> None:
        assert ask(guarded, path)[0] == 401
        assert ask(guarded, path, Authorization="Bearer a-token-of-24-characterS")[0] == 401
        assert ask(guarded, f"{path}?token=")[0] == 401
        assert ask(guarded, "/controls", "POST", {"paused": True})[0] == 401
        with pytest.raises(InvalidStatus), watch(guarded):
            pass

    def test_page_asks_for_the_token_and_keeps_it_as_a_cookie(self, guarded: Preview) -> None:
        status, _, body = ask(guarded, "/")
        assert (status, b"Token" in body) == (401, True)
        assert ask(guarded, "/login", "POST", {"token": "wrong" * 5})[0] == 403
        status, headers, _ = ask(guarded, "/login", "POST", {"token": TOKEN})
        assert status == 204
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie
        assert str(guarded.port) in cookie.split("=")[0]
        kept = cookie.split(";")[0]
        assert b"before" in ask(guarded, "/", Cookie=kept)[2]
        with watch(guarded, additional_headers={"Cookie": kept}) as viewer:
            assert next_picture(viewer).header["number"] == 1

    def test_token_of_a_query_leaves_the_address(self, guarded: Preview) -> None:
        status, headers, _ = ask(guarded, f"/?token={TOKEN}")
        assert (status, headers["location"]) == (303, "./")
        assert TOKEN in headers["set-cookie"]
        assert ask(guarded, f"/metrics?token={TOKEN}")[0] == 200

    def test_scrapers_bear_it_and_health_is_open(self, guarded: Preview) -> None:
        assert ask(guarded, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask(guarded, "/healthz")[0] == 200

    def test_url_shows_a_new_token_and_none_that_was_given(
        self, guarded: Preview, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert guarded.url == f"http://127.0.0.1:{guarded.port}/"
        monkeypatch.delenv("FSR_PREVIEW_TOKEN")
        with preview("0.0.0.0:0") as wide:
            page, _, token = wide.url.partition("#token=")
            assert ask(wide, "/state", Authorization=f"Bearer {token}")[0] == 200
            assert page.endswith(f":{wide.port}/")

    def test_other_pages_are_refused(self, page: Preview) -> None:
        page.show(result())
        assert ask(page, "/state", Origin="https://evil.example")[0] == 403
        assert ask(page, "/controls", "POST", {"paused": True}, Origin="null")[0] == 403
        assert ask(page, "/state", Host="evil.example")[0] == 403  # DNS rebinding
        assert ask(page, "/state", Host="[")[0] == 403
        assert ask(page, "/controls", "POST", '{"paused": true}', Content_Type="text/plain")[0] == 400
        with pytest.raises(InvalidStatus), watch(page, origin="https://evil.example"):
            pass

    def test_proxy_that_names_itself_is_the_same_page(self, page: Preview) -> None:
        assert ask(page, "/state", Origin="https://cam.example", X_Forwarded_Host="cam.example")[0] == 200

    def test_browser_is_told_to_ask_nobody_else(self, page: Preview) -> None:
        for path in ("/", "/main.js", "/nowhere", "/healthz"):
            headers = ask(page, path)[1]
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"


class TestHealth:
    def test_watchdog_bites_and_lets_go(self) -> None:
        with preview(deadline=0.05) as page:
            page.show(result())
            assert ask(page, "/healthz")[0] == 200
            time.sleep(0.1)
            status, _, body = ask(page, "/healthz")
            assert (status, body) == (503, b"no frame for 0 s, the limit is 0.05 s\n")
            assert b"fsr_up 0\n" in ask(page, "/metrics")[2]
            page.show(result())
            assert ask(page, "/healthz")[::2] == (200, b"ok\n")

    def test_metrics_are_what_prometheus_reads(self, page: Preview) -> None:
        page.show(result())
        page.show(result(error="0.03 s: broken"))
        _, headers, body = ask(page, "/metrics")
        assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        samples = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
        assert samples["fsr_up"] == "1"
        assert samples["fsr_frames_total"] == "2"
        assert samples["fsr_frames_failed_total"] == "1"
        assert samples["fsr_frames_dropped_total"] == "3"
        assert samples["fsr_reconnects_total"] == "1" and samples["fsr_effort_saved"] == "4"
        assert samples["fsr_latency_seconds_count"] == samples['fsr_latency_seconds_bucket{le="+Inf"}'] == "2"
        buckets = [int(samples[name]) for name in samples if "_bucket" in name]
        assert buckets == sorted(buckets)

    def test_systemd_hears_of_frames_and_nothing_without(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "40000")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, preview(deadline=0.1) as page:
            systemd.bind(str(tmp_path / "notify"))
            systemd.settimeout(0.2)
            with pytest.raises(TimeoutError):
                systemd.recv(100)
            page.show(result())
            assert systemd.recv(100) == b"READY=1\nWATCHDOG=1"
            with pytest.raises(TimeoutError):  # falls silent once frames no longer come
                for _ in range(100):
                    systemd.recv(100)


class TestTroublemakers:
    """Whatever comes, the server answers the next request and the pipeline never waits."""

    @pytest.fixture(autouse=True)
    def survives(self, page: Preview) -> Iterator[None]:
        page.show(result())
        yield
        assert ask(page, "/healthz")[0] == 200

    @pytest.mark.parametrize(
        "data",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
            b"GARBAGE\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: =;;=\x00\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000,
            b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
            b"\r\n" * 40_000,
        ],
    )
    def test_malformed_request_is_answered_and_closed(self, page: Preview, data: bytes) -> None:
        with raw(page, data) as connection:
            answer = _rest(connection)
        assert answer.startswith(b"HTTP/1.1 400") or answer == b""

    @pytest.mark.parametrize(
        ("path", "fields", "status"),
        [
            ("/healthz", {"X_Padding": "a" * 16_000}, 200),
            ("/healthz", {"X_Padding": "a" * 17_000}, 431),
            ("/healthz", {f"X_{number}": "a" * 1000 for number in range(17)}, 431),
            ("/healthz", {"Cookie": "a=" + "a" * 100_000}, 431),
            ("/healthz?" + "a" * 17_000, {}, 431),
            ("/healthz/" + "a" * 17_000, {}, 431),
            ("/state?token=" + "a" * 17_000, {}, 431),
        ],
    )
    def test_large_header_is_refused(self, page: Preview, path: str, fields: dict[str, str], status: int) -> None:
        assert ask(page, path, **fields)[0] == status

    def test_large_header_that_comes_in_parts_is_refused(self, page: Preview) -> None:
        with raw(page, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n") as connection:
            with suppress(ConnectionError):
                for _ in range(17):
                    connection.sendall(b"X: " + b"a" * 1000 + b"\r\n")
                    time.sleep(0.002)
                connection.sendall(b"\r\n")
            answer = _rest(connection)
        assert answer.startswith(b"HTTP/1.1 4") or answer == b""

    def test_large_header_of_a_viewer_is_refused(self, page: Preview) -> None:
        padding = {f"X-{number}": "a" * 1000 for number in range(17)}
        with pytest.raises(InvalidStatus, match="403"), watch(page, additional_headers=padding):
            pass

    def test_large_body_is_refused(self, page: Preview) -> None:
        status, _, body = ask(
            page, "/controls", "POST", '{"strength": ' + " " * 5000 + "0.5}", Content_Type="application/json"
        )
        assert (status, b"more than 1024 bytes" in body) == (400, True)

    def test_endless_body_is_refused(self, page: Preview) -> None:
        head = b"POST /controls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with raw(page, head + b"Content-Length: 1000000000\r\n\r\n" + b"a" * 5000) as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 400")

    def test_body_that_dawdles_is_cut(self, page: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fsr.runtime.preview.body.PATIENCE", 0.05)
        head = b"POST /controls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with raw(page, head + b"Content-Length: 9\r\n\r\n{") as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 400")

    @pytest.mark.parametrize("start", [b"", b"GET / HTT"])
    def test_header_that_never_ends_is_cut(self, page: Preview, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
        monkeypatch.setattr(connections, "HEADER_PATIENCE", 0.05)
        with raw(page, start) as connection:
            _rest(connection)  # returns once it is closed

    def test_second_header_that_never_ends_is_cut(self, page: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connections, "HEADER_PATIENCE", 0.05)
        with raw(page, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            connection.sendall(b"GET / HTT")
            started = time.monotonic()
            _rest(connection)
        assert time.monotonic() - started < 4  # sooner than an idle connection

    def test_flood_is_refused_politely(self, page: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connections, "MOST", 10)
        flood = [raw(page) for _ in range(10)]
        with raw(page, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as late:
            answer = _rest(late)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 5" in answer
        for connection in flood:
            connection.close()
        for _ in range(100):  # until the server has noticed
            if ask(page, "/healthz")[0] == 200:
                break

    @pytest.mark.parametrize(
        "asking",
        [
            b"GET /stream.mjpg?quality=full HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        ],
        ids=["MJPEG", "WebSocket"],
    )
    def test_viewer_who_never_reads_is_cut(self, page: Preview, monkeypatch: pytest.MonkeyPatch, asking: bytes) -> None:
        monkeypatch.setattr(connections, "READER_PATIENCE", 0.2)
        noise = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
        shown = result(size_wh=(1280, 720), scale=1)
        shown.frame.pixels[:] = noise
        shown.restored.image[:] = noise
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before it connects
            connection.connect(("127.0.0.1", page.port))
            connection.sendall(asking)
            assert _shown_until_viewers(page, shown, 1)
            assert _shown_until_viewers(page, shown, 0)


def _shown_until_viewers(page: Preview, shown: FrameResult, count: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        page.show(shown)
        if json.loads(ask(page, "/state")[2])["viewers"] == count:
            return True
    return False


def _rest(connection: socket.socket) -> bytes:
    """Everything until the other end closes."""
    got = b""
    try:
        while data := connection.recv(65536):
            got += data
    except ConnectionResetError:
        pass
    return got


class TestLife:
    def test_address_in_use_is_a_sentence(self, page: Preview) -> None:
        with (
            pytest.raises(UsageError, match="nothing can listen: Address already in use"),
            preview(f"127.0.0.1:{page.port}"),
        ):
            pass

    def test_on_windows_too_a_port_has_one_listener(self) -> None:
        assert (_own_port("posix"), _own_port("nt")) == (socket.SO_REUSEADDR, ~socket.SO_REUSEADDR)

    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("8091", Address("127.0.0.1", 8091)),
            ("0.0.0.0:80", Address("0.0.0.0", 80)),
            ("camera.local", Address("camera.local", 8090)),
            ("[::1]:99", Address("::1", 99)),
            ("[::]", Address("::", 8090)),
        ],
    )
    def test_addresses(self, text: str, address: Address) -> None:
        assert Address.parse(text) == address

    @pytest.mark.parametrize("text", ["", ":", ":80", "host:", "host:x", "host:70000", "::1", "70000"])
    def test_wrong_addresses(self, text: str) -> None:
        with pytest.raises(UsageError, match="--preview: got"):
            Address.parse(text)

    def test_ends_at_once_whoever_watches(self) -> None:
        with ExitStack() as stack:
            page = stack.enter_context(preview())
            page.show(result())
            viewer = stack.enter_context(watch(page))
            next_picture(viewer)
            stack.enter_context(raw(page))
            endless = stack.enter_context(raw(page, b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            assert endless.recv(100)
            started = time.monotonic()
            page.__exit__(None, None, None)
            assert time.monotonic() - started < 4
            assert not [thread for thread in threading.enumerate() if thread.name.startswith("fsr-preview")]
            page.show(result())  # a late frame does no harm
            with pytest.raises(ConnectionClosed):
                while True:
                    viewer.recv(5)

    def test_every_file_of_the_page_is_served(self, page: Preview) -> None:
        folder = Path(connections.__file__).parent / "page"
        for file in folder.iterdir():
            status, _, body = ask(page, "/" if file.name == "index.html" else f"/{file.name}")
            assert (status, body) == (200, file.read_bytes())
