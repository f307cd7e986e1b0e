"""A headless Chromium for tests, spoken to through the pipe of its developer tools, so that no package is needed."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--lang=en")


class Tab:
    """A page, in the protocol of the developer tools: JSON, each message ended by a zero byte."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO):
        self._requests, self._replies, self._n = requests, replies, 0
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}

    def call(self, method: str, **parameters) -> dict:
        """What a method of the protocol returns; events are passed over."""
        self._n += 1
        message = {"id": self._n, "method": method, "params": parameters} | self._session
        self._requests.write(json.dumps(message).encode() + b"\0")
        while True:
            reply = bytearray()
            while (byte := self._replies.read(1)) != b"\0":
                if not byte:
                    raise EOFError("the browser has ended")
                reply += byte
            if (found := json.loads(reply)).get("id") == self._n:
                return found["result"]

    def run(self, expression: str):
        """The value of an expression on the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 30):
        """The value of an expression, once that is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(expression):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"{expression} stayed false; the page reads: {self.run('document.body.innerText')}")

    def type(self, css: str, text: str) -> None:
        self.run(f"document.querySelector({css!r}).focus()")
        self.call("Input.insertText", text=text)

    def give_file(self, css: str, path: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=css)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """A page of a browser that keeps what it keeps in `folder`."""
    (its_requests, requests), (replies, its_replies) = os.pipe(), os.pipe()
    # The developer tools read from file 3 and write to file 4.
    command = ["bash", "-c", f'exec "$@" 3<&{its_requests} 4>&{its_replies}', "bash", CHROMIUM, *FLAGS]
    command += [f"--user-data-dir={folder}", "--remote-debugging-pipe"]
    pipes = (its_requests, its_replies)
    with subprocess.Popen(command, pass_fds=pipes, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for pipe in pipes:
            os.close(pipe)
        with os.fdopen(requests, "wb", 0) as to, os.fdopen(replies, "rb") as back:
            try:
                yield Tab(to, back)
            finally:
                process.terminate()
