"""A headless Chromium that is told what a user would do, over its DevTools protocol: no package is needed for it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--mute-audio")
PATIENCE = 30.0


def find_chromium() -> str | None:
    """The program, if this machine has it."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """One page of a browser."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self._socket, self._session = socket, session
        self._number = 0
        self.asked: list[str] = []
        """Addresses that the page has asked for."""
        self.complaints: list[str] = []
        """Errors of its scripts, and what the content security policy refused."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        answer = self._answer(method, **parameters)
        assert "error" not in answer, answer
        return answer["result"]

    def _answer(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "sessionId": self._session, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while (answer := self._receive()).get("id") != self._number:
            pass
        return answer

    def open(self, url: str, size_wh: tuple[int, int], *, phone: bool = False) -> None:
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        width, height = size_wh
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression."""
        made = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in made, made["exceptionDetails"]
        return made["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression holds, and return its value; a page on its way to another may fail to answer."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = self._answer("Runtime.evaluate", expression=expression, returnByValue=True)
            if value := answer.get("result", {}).get("result", {}).get("value"):
                return value
            time.sleep(0.02)
        raise AssertionError(f"never came true: {expression}")

    def text(self, selector: str) -> str:
        return self.value(f"document.querySelector({selector!r}).innerText")

    def middle(self, selector: str) -> tuple[float, float]:
        """Of an element, scrolled into view."""
        x, y = self.value(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'nearest'}});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        return x, y

    def click(self, selector: str) -> None:
        x, y = self.middle(selector)
        self.drag((x, y), (x, y))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse, move it in steps, and let go."""
        (x, y), (to_x, to_y) = start, end
        self._mouse("mousePressed", x, y)
        for step in (0.25, 0.5, 0.75, 1.0):
            self._mouse("mouseMoved", x + step * (to_x - x), y + step * (to_y - y))
        self._mouse("mouseReleased", to_x, to_y)

    def swipe(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The same with a finger."""
        (x, y), (to_x, to_y) = start, end
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        for step in (0.25, 0.5, 0.75, 1.0):
            point = {"x": x + step * (to_x - x), "y": y + step * (to_y - y)}
            self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[point])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str, code: str = "", text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code, text=text if kind == "keyDown" else "")

    def screenshot(self, whole: bool = False) -> bytes:
        """A PNG file."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def _mouse(self, kind: str, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def _receive(self) -> dict[str, Any]:
        message = json.loads(self._socket.recv(PATIENCE))
        if message.get("sessionId") != self._session:
            return {}
        parameters = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(parameters["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])
        return message


class Chromium:
    """A browser; each tab has its own cookies."""

    def __init__(self, socket: ClientConnection, downloads: Path) -> None:
        self._socket, self.downloads = socket, downloads
        self._number = 0

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """Closed at the end: one that goes on takes time from the next."""
        context = self._call("Target.createBrowserContext")["browserContextId"]
        folder = {"behavior": "allow", "downloadPath": str(self.downloads), "browserContextId": context}
        self._call("Browser.setDownloadBehavior", **folder)
        target = self._call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        yield Tab(self._socket, self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        self._call("Target.disposeBrowserContext", browserContextId=context)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number -= 1  # tabs count upwards
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(PATIENCE))).get("id") != self._number:
            pass
        return answer["result"]


@contextmanager
def running_chromium(program: str, folder: Path) -> Iterator[Chromium]:
    """folder: for its profile and downloads."""
    profile, downloads = folder / "profile", folder / "downloads"
    downloads.mkdir()
    command = [program, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port, path = _door(profile / "DevToolsActivePort", process)
        with connect(f"ws://127.0.0.1:{port}{path}", compression=None, max_size=None, proxy=None) as socket:
            yield Chromium(socket, downloads)
            socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
            process.wait(10)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _door(file: Path, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Port and path of DevTools, which Chromium writes when it is ready."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and len(lines := file.read_text().splitlines()) == 2:
            return int(lines[0]), lines[1]
        time.sleep(0.02)
    raise AssertionError(f"Chromium did not start within {PATIENCE:g} s, exit code {process.poll()}")
