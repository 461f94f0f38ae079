"""A page in a real browser without a window, driven by the DevTools protocol."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1000, 800
START_TIMEOUT_S = 60.0


def browser_path() -> str | None:
    """The browser of this machine; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Page:
    """A page that is open in a browser.

    errors: what it wrote to the console as an error or warning, and what it did not catch.
    fetched: addresses that it asked for, itself included.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._sent = 0
        self._events: list[str] = []
        self.errors: list[str] = []
        self.fetched: list[str] = []

    def open(self, address: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call("Page.navigate", url=address)
        while "Page.loadEventFired" not in self._events:
            self._take(json.loads(self._socket.recv(timeout=START_TIMEOUT_S)))
        self.settle()

    def run(self, script: str) -> Any:
        """The value of an expression, a promise's when it has one."""
        answer = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def settle(self) -> None:
        """Until what was asked for has been drawn."""
        frames = "new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))"
        self.run(f"{frames}.then(() => null)")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """x, y, width and height of an element that is first scrolled into sight, px."""
        return tuple(
            self.run(
                f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = "
                "e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })"
                f"(document.querySelector({json.dumps(selector)}))"
            )
        )

    def pixels(self, selector: str) -> np.ndarray:
        """[H, W, 3] uint8, what is seen of an element."""
        x, y, width, height = self.box(selector)
        self.settle()
        image = self._call("Page.captureScreenshot")["data"]
        rgba = matplotlib.image.imread(io.BytesIO(base64.b64decode(image)))
        window = np.rint(255 * rgba[..., :3]).astype(np.uint8)
        # The pixels that lie in it whole.
        left, top, right, bottom = *np.ceil((x, y)), *np.floor((x + width, y + height))
        return window[int(top) : int(bottom), int(left) : int(right)]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the left button, in px of the window."""
        self._mouse("mouseMoved", start, 0)
        self._mouse("mousePressed", start, 1)
        for share in (0.25, 0.5, 0.75, 1.0):
            at = tuple(a + share * (b - a) for a, b in zip(start, end))
            self._mouse("mouseMoved", at, 1)
        self._mouse("mouseReleased", end, 0)
        self.settle()

    def click(self, selector: str) -> None:
        x, y, width, height = self.box(selector)
        at = x + width / 2, y + height / 2
        self._mouse("mousePressed", at, 1)
        self._mouse("mouseReleased", at, 0)
        self.settle()

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, text=key)
        self.settle()

    def _mouse(self, kind: str, at: tuple[float, ...], pressed: int) -> None:
        self._call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=at[0],
            y=at[1],
            button="left" if pressed or kind == "mouseReleased" else "none",
            buttons=pressed,
            clickCount=1,
        )

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=START_TIMEOUT_S))
            if message.get("id") == self._sent:
                assert "error" not in message, message
                return message["result"]
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        method, content = message.get("method", ""), message.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(content["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning"):
            self.errors.append(" ".join(str(part.get("value")) for part in content["args"]))
        elif method == "Log.entryAdded" and content["entry"]["level"] == "error":
            self.errors.append(content["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.fetched.append(content["request"]["url"])


@contextmanager
def opened(address: str, profile: Path, *switches: str) -> Iterator[Page]:
    """A page in a browser of its own, which draws in three dimensions without a GPU.

    Args:
        profile: new folder for the browser's files.
        switches: further ones of its command line.
    """
    program = browser_path()
    assert program is not None
    command = [
        program, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--hide-scrollbars",
        "--force-device-scale-factor=1", "--force-color-profile=srgb", "--disable-extensions",
        "--disable-background-networking", "--remote-debugging-port=0",
        f"--window-size={WIDTH},{HEIGHT}", f"--user-data-dir={profile}", *switches, "about:blank",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with connect(_page_socket(profile), max_size=None, ping_interval=None) as socket:
                page = Page(socket)
                page.open(address)
                yield page
        finally:
            process.kill()


def _page_socket(profile: Path) -> str:
    """Address of the first page's DevTools, once the browser has written its port."""
    written = profile / "DevToolsActivePort"
    deadline = time.monotonic() + START_TIMEOUT_S
    while not written.exists() or len(written.read_text().split()) < 2:
        assert time.monotonic() < deadline, "the browser did not start"
        time.sleep(0.05)
    port = written.read_text().split()[0]
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [entry for entry in json.load(answer) if entry["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
