"""A headless Chromium for tests, spoken to in plain WebDriver (W3C), so that no package is needed for it."""

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key under which WebDriver names an element
OPEN = build_opener(ProxyHandler({})).open  # whatever proxy is set: all of this is on this machine
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
    "--lang=en",
)


class Browser:
    """One session of a browser."""

    def __init__(self, driver: str, folder: Path):
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={folder}"]}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        session = _ask(f"{driver}/session", wanted)["sessionId"]
        self._session = f"{driver}/session/{session}"

    def go(self, url: str) -> None:
        _ask(f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments):
        """What a script returns on the page; its `arguments` are JSON values."""
        return _ask(f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, *arguments, seconds: float = 30):
        """What a script returns, once that is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(script, *arguments):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"{script} stayed false; the page reads: {self.text()}")

    def type(self, css: str, text: str) -> None:
        """Type into a field, or give a file's path to a file field."""
        _ask(f"{self._session}/element/{self._element(css)}/value", {"text": text})

    def click(self, css: str) -> None:
        _ask(f"{self._session}/element/{self._element(css)}/click", {})

    def text(self) -> str:
        """What can be read on the page."""
        return self.run("return document.body.innerText")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(_ask(f"{self._session}/screenshot")))

    def close(self) -> None:
        _ask(self._session, method="DELETE")

    def _element(self, css: str) -> str:
        return _ask(f"{self._session}/element", {"using": "css selector", "value": css})[ELEMENT]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser that keeps what it keeps in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url)
            session = Browser(url, folder)
            try:
                yield session
            finally:
                session.close()
        finally:
            driver.terminate()


def _wait_for(url: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            _ask(f"{url}/status")
            return
        except URLError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _ask(url: str, body: dict | None = None, method: str | None = None):
    data = None if body is None else json.dumps(body).encode()
    with OPEN(Request(url, data, {"Content-Type": "application/json"}, method=method), timeout=60) as reply:
        return json.load(reply)["value"]
