"""One grammar for every source, and nothing secret in what is shown of it."""

from __future__ import annotations

from copy import copy
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsr.runtime.errors import UsageError
from fsr.runtime.media.uri import STREAMS, _path, parse_uri, without_secrets


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("0", "camera", {"number": 0}),
        ("/dev/video12", "camera", {"number": 12}),
        ("0?size=1280x720&fps=29.97", "camera", {"number": 0, "size": (1280, 720), "fps": Fraction(2997, 100)}),
        ("csi://1", "csi", {"number": 1}),
        ("csi://0?element=libcamerasrc&fps=30000/1001", "csi", {"fps": Fraction(30000, 1001)}),
        ("test://", "test", {}),
        ("test://?faces=3&seconds=2.5&live=0", "test", {"faces": 3, "seconds": 2.5, "live": False}),
        ("RTSP://camera/1", "stream", {}),
        ("https://host/film.mp4", "stream", {}),
        ("film.MP4", "video", {}),
        ("a/b?c=1", "pictures", {}),
        ("file:///a%20b/c.mkv", "video", {}),
        ("video0", "pictures", {}),
        ("1.jpg", "pictures", {}),
    ],
)
def test_every_way_to_name_a_source(text: str, kind: str, options: dict[str, Any]) -> None:
    uri = parse_uri(text)
    assert uri.kind == kind and options.items() <= uri.options.items()
    assert uri.is_moving == (kind not in ("video", "pictures"))
    assert copy(uri) == uri


def test_a_file_uri_is_a_path() -> None:
    assert str(parse_uri("file:///a%20b/c.mkv").path) == "/a b/c.mkv"
    assert str(parse_uri("a%20b/c.mkv").path) == "a%20b/c.mkv", "a name is a name"
    assert _path("file:///C:/a%20b.mkv", on_windows=True) == "C:/a b.mkv"
    assert _path("file:///C:/a", on_windows=False) == _path("file://localhost/C:/a", on_windows=False) == "/C:/a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gopher://host", "got gopher://, expected"),
        ("", "got '', which names nothing"),
        ("file://", "got 'file://', which names nothing"),
        ("file://photos/2024", "a file of another machine; expected file:///"),
        ("csi://", "expected csi:// and the number"),
        ("csi://left", "expected csi:// and the number"),
        ("0?width=3", "got option 'width' in 0.width=3, expected one of size, fps"),
        ("0?size=0x9", "expected a size such as 1280x720"),
        ("0?fps=0", "expected frames a second"),
        ("0?fps=1/0", "got fps=1/0"),
        ("test://?fps=nan", r"got fps=nan in test://\?fps=nan; expected frames a second"),
        ("0?fps=1e999999999", "expected frames a second"),
        ("test://?seconds=inf", "got seconds=inf in .*; expected a number"),
        ("test://?speed=nan", "expected a number"),
        ("test://?faces=two", "got faces=two in .*; expected a whole number"),
        ("test://?live=maybe", "expected 0 or 1"),
        ("csi://0?element=a!b", "expected the name of a GStreamer element"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_uri(text)


SECRETS = st.text("abcXYZ019_-.~%+", min_size=6, max_size=12).map(lambda text: f"q{text}q")


@given(st.sampled_from(STREAMS), SECRETS, SECRETS, SECRETS, st.booleans())
def test_no_secret_is_shown(scheme: str, user: str, password: str, key: str, has_port: bool) -> None:
    uri = parse_uri(f"{scheme}://{user}:{password}@host.example{':8554' if has_port else ''}/a/b?token={key}&x={key}")
    for shown in (str(uri), repr(uri), f"{uri}", uri.shown):
        assert not any(secret in shown for secret in (user, password, key))
        assert "host.example" in shown and "/a/b" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://cam:554/user=admin&password=123456&channel=1&stream=0.sdp", "rtsp://cam:554/user=***"),
        ("rtsp://cam/a/user%3dadmin%26password%3d1", "rtsp://cam/a/user%3d***"),
        ("rtsp://admin:12/34@cam/1", "rtsp://***"),
        ("rtsp://admin:1234#x@cam/1", "rtsp://***"),
        ("rtsp://admin:1234?x@cam/1", "rtsp://***"),
        ("rtsp://admin:p@ss/word@cam/1", "rtsp://***"),
        ("http://[2001:DB8::1]:8080/a", "http://[2001:db8::1]:8080/a"),
        ("http://user:secret@[::1]/a", "http://***@[::1]/a"),
    ],
)
def test_a_secret_in_an_odd_place_is_not_shown_either(text: str, shown: str) -> None:
    assert str(parse_uri(text)) == shown


def test_an_address_that_cannot_be_read_shows_next_to_nothing() -> None:
    assert without_secrets("rtsp://user:secret@[host/a?b") == "rtsp://***"
    assert without_secrets("rtsp://user:se/cret@host") == "rtsp://***"
    assert without_secrets("rtsp://host:554/a") == "rtsp://host:554/a"
