"""The page in a real browser, used as a user would: by mouse, finger and keys."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event, Thread

import cv2
import numpy as np
import pytest
from chromium import Chromium, Tab, find_chromium, running_chromium
from preview_parts import left_face, preview, result, with_faces

from fsr.runtime.options import RestoreOptions
from fsr.runtime.preview.controls import Controls
from fsr.runtime.preview.preview import Preview

DESK, PHONE = (1440, 900), (390, 844)
CUT = "Number(document.querySelector('#slider').getAttribute('aria-valuenow'))"
LIVE = "document.querySelector('#status')?.dataset.kind === 'live'"

PIXEL = """(() => { const [x, y] = [%f, %f], canvas = new OffscreenCanvas(1, 1), context = canvas.getContext('2d');
context.drawImage(document.querySelector('#%s'), x, y, 1, 1, 0, 0, 1, 1);
return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3); })()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: apt install chromium")
    with running_chromium(program, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def controls() -> Controls:
    return Controls(RestoreOptions())


@pytest.fixture
def page(controls: Controls, monkeypatch: pytest.MonkeyPatch) -> Iterator[Preview]:
    """Fed with frames that grow greener, ten a second."""
    monkeypatch.delenv("FSR_PREVIEW_TOKEN", raising=False)
    with preview(controls=controls, source="test") as page, fed(page):
        yield page


@contextmanager
def fed(page: Preview) -> Iterator[None]:
    """Give `page` frames, ten a second."""
    stop = Event()

    def feed() -> None:
        for number in count():
            page.show(result(number))
            if stop.wait(0.1):
                return

    thread = Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def tab(browser: Chromium, page: Preview) -> Iterator[Tab]:
    with browser.tab() as tab:
        tab.open(page.url, DESK)
        tab.until(LIVE)
        yield tab
        keep(tab)
    assert tab.complaints == []
    asked = {address.split("/")[2] for address in tab.asked if not address.startswith("blob:")}
    assert asked == {f"127.0.0.1:{page.port}"}, "asked somebody outside"


def keep(tab: Tab, whole: bool = False) -> None:
    """The screenshot of a test, where somebody wants to look at it: in the folder that FSR_SCREENSHOTS names."""
    if folder := os.environ.get("FSR_SCREENSHOTS"):
        name = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]
        Path(folder, f"{name}.png").write_bytes(tab.screenshot(whole))


def test_shows_before_after_faces_and_figures(tab: Tab) -> None:
    red = tab.value(PIXEL % (120, 100, "after"))
    assert red[0] > 180 and red[1] < 80
    assert tab.value(PIXEL % (60, 50, "before"))[0] < 80
    cards = tab.value("[...document.querySelectorAll('#faces button')].map(e => e.innerText.split('\\n').join(' '))")
    assert [card.split() for card in cards] == [["#7", "40", "px"], ["#9", "90", "px", "·", "large", "enough"]]
    tab.until("document.querySelector('#fps').innerText === '24.7'")
    assert tab.text("#latency") == "42 ms"
    assert "95% within 58 ms" in tab.text("#latency-95")
    assert tab.text("#dropped") == "3"
    assert tab.text("#face-fates") == "1 restored, 1 left"
    assert tab.text("#effort") == "To keep up, faces are restored by tier S."
    assert tab.text("#chips").split("\n") == ["fake", "int8", "tier S"]
    tab.until("/ms to this screen/.test(document.querySelector('#latency-95').innerText)")


def test_slider_is_dragged(tab: Tab) -> None:
    assert tab.value(CUT) == 50
    x, y = tab.middle("#slider")
    width = tab.value("document.querySelector('#picture').clientWidth")
    tab.drag((x, y), (x - width / 4, y))
    assert tab.value(CUT) == pytest.approx(25, abs=1)
    assert "25" in tab.value("getComputedStyle(document.querySelector('#cut')).clipPath")
    tab.value("document.querySelector('#slider').focus()")
    tab.press("ArrowRight", "ArrowRight")
    assert tab.value(CUT) == pytest.approx(27, abs=1)
    tab.press("Home", "Home")
    assert tab.value(CUT) == 0
    assert tab.value("document.querySelector('#tag-before').hidden")


def test_pause_holds_and_resumes(tab: Tab, page: Preview, controls: Controls) -> None:
    tab.click("#pause")
    wait_for(lambda: controls.setting.paused)
    tab.until("document.querySelector('#status').innerText === 'paused'")
    assert tab.text("#pause") == "Resume"
    held = page._latest.shot
    assert held is not None
    green = f"Math.abs(({PIXEL % (10, 10, 'before')})[1] - {held.result.frame.pixels[10, 10, 1]}) < 3"
    tab.until(green)  # the last picture before the pause may have been on its way
    frames = page._watchdog.frames
    wait_for(lambda: page._watchdog.frames > frames + 5)
    assert page._latest.shot is held
    assert tab.value(green)
    tab.value("document.activeElement.blur()")
    tab.press(" ", "Space")
    wait_for(lambda: not controls.setting.paused)
    tab.until(LIVE)


def test_pipeline_sees_strength_and_scale(tab: Tab, controls: Controls) -> None:
    x, y = tab.middle("#strength")
    width = tab.value("document.querySelector('#strength').clientWidth")
    tab.drag((x + width / 2 - 8, y), (x, y))
    wait_for(lambda: controls.setting.strength == pytest.approx(0.5, abs=0.03))
    assert controls.options(RestoreOptions()).strength == controls.setting.strength
    assert tab.text("#strength-value") == f"{100 * controls.setting.strength:.0f}%"
    tab.click("#scale label:nth-child(3)")
    wait_for(lambda: controls.setting.scale == 3)


def test_strength_of_a_held_picture_is_seen_at_once(tab: Tab, controls: Controls) -> None:
    tab.click("#pause")
    wait_for(lambda: controls.setting.paused)
    x, y = tab.middle("#strength")
    width = tab.value("document.querySelector('#strength').clientWidth")
    tab.drag((x + width / 2 - 8, y), (x - width / 2, y))
    wait_for(lambda: controls.setting.strength == 0)
    tab.until(f"({PIXEL % (120, 100, 'after')})[0] < 80")


def test_snapshot_is_downloaded(tab: Tab, browser: Chromium) -> None:
    tab.click("#snapshot")
    wait_for(lambda: bool(list(browser.downloads.glob("fsr-*.png"))))
    assert next(browser.downloads.glob("fsr-*.png")).read_bytes().startswith(b"\x89PNG")


def test_face_fills_the_picture_and_boxes_show(tab: Tab) -> None:
    tab.click("#show-boxes")
    tab.until("document.querySelectorAll('#boxes rect').length === 2")
    tab.click("#faces li:first-child button")
    assert "scale(" in tab.value("document.querySelector('#picture').style.getPropertyValue('--zoom')")
    tab.until("Math.abs(document.querySelector('#boxes rect').getBoundingClientRect().height / "
              "document.querySelector('#picture').clientHeight - 0.6) < 0.05")  # fmt: skip
    keep(tab)
    tab.click("#whole")
    assert tab.value("document.querySelector('#picture').style.getPropertyValue('--zoom')") == ""


def test_face_that_is_gone_lets_go_of_the_view(browser: Chromium, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FSR_PREVIEW_TOKEN", raising=False)
    lost = "document.querySelector('#notice').innerText === 'The face left the picture'"
    zoomed = "document.querySelector('#picture').style.getPropertyValue('--zoom') !== ''"
    with preview() as page, browser.tab() as tab:
        page.show(result())
        tab.open(page.url, DESK)
        tab.until(LIVE)
        tab.click("#faces li:first-child button")
        page.show(with_faces(result(), left_face(9, (200, 60))))
        tab.until(lost)
        assert tab.value(zoomed)
        page.show(result())
        tab.until("document.querySelector('#notice').innerText === ''")
        time.sleep(2.2)  # longer than the view waits for a face that is gone
        assert tab.value(zoomed), "a face that came back is followed"
        assert tab.text("#face-number") == "2", "the run's five, said since, beside the fates of the picture's two"
        page.show(with_faces(result(), left_face(9, (200, 60))))
        tab.until(lost)
        keep(tab)
        tab.until(f"!({zoomed}) && !({lost})")
        assert tab.value("document.querySelector('#whole').hidden")


def test_view_of_a_face_in_a_corner_is_filled(browser: Chromium, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture whose width on the screen is no whole number of pixels, enlarged 27 times."""
    monkeypatch.delenv("FSR_PREVIEW_TOKEN", raising=False)
    shown = result()
    shown.restored.image[:] = shown.frame.pixels[:] = (200, 220, 210)
    corner = np.array([315, 175, 319, 179], np.float32)
    small = left_face(7, (0, 0))
    small = replace(small, face=replace(small.face, box_xyxy=corner))
    with preview() as page, browser.tab() as tab:
        page.show(with_faces(shown, small))
        tab.open(page.url, DESK)
        tab.until(LIVE)
        tab.click("#faces li:first-child button")
        tab.until("document.querySelector('#before').getAnimations().length === 0")
        top, right, bottom = tab.value(
            "(({ top, right, bottom }) => [top, right, bottom])"
            "(document.querySelector('#picture').getBoundingClientRect())"
        )
        assert right % 1 > 0.5
        keep(tab)
        seen = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert seen is not None
    columns = seen[int(top) + 60 : int(bottom) - 60, int(right) - 8 : int(right)]  # free of labels
    assert columns.min() > 150, "dark beside the picture"


def test_phone(browser: Chromium, page: Preview) -> None:
    with browser.tab() as tab:
        tab.open(page.url, PHONE, phone=True)
        tab.until(LIVE)
        assert tab.value("document.documentElement.scrollWidth") == PHONE[0], "scrolls sideways"
        assert tab.value("document.querySelector('#quality').value") == "small"
        small = tab.value(
            "[...document.querySelectorAll('.tools button, .tools a, select')]"
            ".filter(e => e.offsetParent && e.offsetHeight < 40).map(e => e.id)"
        )
        assert small == [], "too small for a finger"
        x, y = tab.middle("#slider")
        tab.swipe((x, y), (x - 100, y))
        assert tab.value(CUT) == pytest.approx(50 - 100 * 100 / PHONE[0], abs=2)
        keep(tab, whole=True)


def test_token_comes_from_the_address_or_the_form(browser: Chromium, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSR_PREVIEW_TOKEN", "a-token-of-24-characters")
    with preview() as page, fed(page), browser.tab() as tab, browser.tab() as stranger:
        tab.open(f"{page.url}#token=a-token-of-24-characters", DESK)
        tab.until(LIVE)
        assert tab.value("location.hash + location.search") == ""
        stranger.open(page.url, DESK)
        stranger.until("document.querySelector('form button:enabled') !== null && document.readyState === 'complete'")
        keep(stranger)
        stranger.value("document.querySelector('#token').value = 'a-token-that-is-wrong'")
        stranger.click("form button")
        stranger.until("document.querySelector('.problem').innerText")
        stranger.value("document.querySelector('#token').value = 'a-token-of-24-characters'")
        stranger.click("form button")
        stranger.until(LIVE)


def test_address_with_a_token_is_opened_in_the_same_tab(browser: Chromium, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is behind its # is new, so browsers load nothing."""
    monkeypatch.setenv("FSR_PREVIEW_TOKEN", "a-token-of-24-characters")
    with preview() as page, fed(page), browser.tab() as tab:
        tab.open(page.url, DESK)
        tab.until("document.querySelector('#token') !== null")
        tab.call("Page.navigate", url=f"{page.url}#token=a-token-that-is-wrong")
        tab.until("document.querySelector('.problem').innerText")
        assert tab.value("location.hash") == ""
        keep(tab)
        for _ in ("at the form", "at the page"):
            tab.call("Page.navigate", url=f"{page.url}#token=a-token-of-24-characters")
            tab.until(f"{LIVE} && location.hash === ''")


def test_run_that_ends_and_starts_again(browser: Chromium, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FSR_PREVIEW_TOKEN", raising=False)
    with browser.tab() as tab:
        with preview() as page, fed(page):
            tab.open(page.url, DESK)
            tab.until(LIVE)
        tab.until("document.querySelector('#status').innerText === 'disconnected'")
        keep(tab)
        with preview(f"127.0.0.1:{page.port}") as again, fed(again):
            tab.until(LIVE)
            tab.until("document.querySelector('#notice').innerText === ''")


def test_without_websockets_mjpeg(browser: Chromium, page: Preview) -> None:
    blocked = "WebSocket = class { static OPEN = 1; constructor() { setTimeout(() => this.onclose({ code: 1006 })); } }"
    with browser.tab() as tab:
        tab.call("Page.enable")
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=blocked)
        tab.open(page.url, DESK)
        tab.until("document.querySelector('#fallback')?.naturalWidth === 640")
        tab.until("document.querySelector('#fps').innerText === '24.7'")
        tab.until("document.querySelector('#face-number').innerText === '5'")
        keep(tab)


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
