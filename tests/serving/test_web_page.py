import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import pytest

from meiju.data.labels import TASKS
from meiju.features import media
from meiju.features.base import Clip
from meiju.serving.bundle import find_run
from meiju.serving.predictor import Predictor
from toy_clips import write_noise
from toy_run import SCRIPTS, run_script

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPEN = build_opener(ProxyHandler({})).open


@pytest.fixture(scope="module")
def page(home, tmp_path_factory):
    """URL of the page, served by a process of its own as a person would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, SCRIPTS / "predict.py", "sample", "--home", home, "--serve", "--port", str(port)]
    # The page is on this machine: proxies do not concern it, not even such as no program understands.
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks9://127.0.0.1:9", "NO_PROXY": "fd07:b51a::/64"}
    uploads = tmp_path_factory.mktemp("uploads")
    environment = os.environ | proxies | {"TMPDIR": str(uploads)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            assert f"http://127.0.0.1:{port}" in line
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)
    assert not any(path.is_file() for path in uploads.rglob("*"))  # nothing is left of what was dropped


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    return write_noise(tmp_path_factory.mktemp("clips") / "short_[1].mp4")


def upload(page: str, name: str, content: bytes, origin: str | None = None) -> str:
    """Drop a clip as a browser does; returns its place on the server."""
    border = "xxborder"
    head = f'--{border}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{border}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={border}"} | ({"Origin": origin} if origin else {})
    with OPEN(Request(f"{page}/gradio_api/upload", body, headers)) as reply:
        (place,) = json.load(reply)
    return place


def ask(page: str, place: str | Path | None, sentence: str = "") -> tuple[dict, dict, str]:
    """What the page answers: probabilities of emotions and intents by label, and what they rest on."""
    clip = place and {"path": str(place), "meta": {"_type": "gradio.FileData"}}
    body, headers = json.dumps({"data": [clip, sentence]}).encode(), {"Content-Type": "application/json"}
    event = json.load(OPEN(Request(f"{page}/gradio_api/call/predict", body, headers)))
    with OPEN(f"{page}/gradio_api/call/predict/{event['event_id']}") as reply:
        text = reply.read().decode()
    *predictions, notes = json.loads(re.search("event: complete\ndata: (.*)", text)[1])
    emotions, intents = ({c["label"]: c["confidence"] for c in (s or {}).get("confidences", [])} for s in predictions)
    return emotions, intents, notes


def test_a_dropped_clip_is_answered_as_by_the_script(page, home, short):
    emotions, intents, notes = ask(page, upload(page, short.name, short.read_bytes()), "你真的太棒了")
    (expected,) = Predictor(find_run("sample", home), device="cpu").predict([Clip("short", "你真的太棒了", str(short))])
    for task, predictions in zip(TASKS, (emotions, intents), strict=True):
        assert predictions == pytest.approx(expected.probabilities[task], abs=1e-6)
    assert "text, audio, visual" in notes


def test_a_clip_or_a_sentence_alone_is_answered_and_what_is_missing_reported(page, short):
    assert "not used: text (no sentence)" in ask(page, upload(page, short.name, short.read_bytes()))[2]
    emotions, intents, notes = ask(page, None, "好")
    assert sum(emotions.values()) == pytest.approx(sum(intents.values())) == pytest.approx(1)
    assert "judged by text\n" in notes


def test_what_cannot_be_answered_is_reported_in_words(page, tmp_path):
    media.write_clip(tmp_path / "long.mp4", None, np.zeros(16000 * 61), fps=5)
    cases = [
        (upload(page, "long.mp4", (tmp_path / "long.mp4").read_bytes()), "", "too long"),
        (upload(page, "broken.mp4", b"x" * 1000), "", "cannot be read"),
        (None, "好" * 1001, "too long"),
        (None, " ", "drop a clip"),
    ]
    for place, sentence, part in cases:
        emotions, intents, notes = ask(page, place, sentence)
        assert (emotions, intents) == ({}, {})
        assert part in notes


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "null"])
def test_pages_from_elsewhere_are_refused(page, short, origin):
    clip = (short.name, short.read_bytes())
    for attempt in (lambda: upload(page, *clip, origin), lambda: OPEN(Request(page, headers={"Origin": origin}))):
        with pytest.raises(HTTPError, match="403") as caught:
            attempt()
        caught.value.close()
    assert upload(page, *clip, origin=page)  # its own


def test_the_page_and_the_script_tell_that_the_sample_is_made_up(page, home, capsys):
    with OPEN(page) as reply:
        assert "drawn faces and made-up voices" in reply.read().decode()
    run_script("predict.py", "sample", "--text", "好", "--home", str(home))
    printed = capsys.readouterr()
    assert "drawn faces and made-up voices" in printed.err
    assert "drawn faces" not in printed.out


def test_other_files_and_files_of_this_machine_are_refused(page, short):
    for place in (upload(page, "notes.txt", b"x"), short):
        with pytest.raises(TypeError):  # the event is an error
            ask(page, place)


def test_a_file_that_is_too_large_is_refused(page):
    with pytest.raises(HTTPError, match="413") as caught:
        upload(page, "big.mp4", bytes(101 * 2**20))
    caught.value.close()


def test_the_page_is_there_for_this_machine_only(page):
    port = int(page.rsplit(":", 1)[1])
    for host in ("127.0.0.2", socket.gethostbyname(socket.gethostname())):
        if host != "127.0.0.1":
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((host, port), timeout=2)
    with pytest.raises(HTTPError, match="400") as caught:  # another site's name for 127.0.0.1
        OPEN(Request(page, headers={"Host": f"elsewhere.example:{port}"}))
    caught.value.close()


def test_a_port_that_is_taken_is_reported(page, home):
    port = page.rsplit(":", 1)[1]
    with pytest.raises(SystemExit, match=f"error: --port: {port} cannot be used"):
        run_script("predict.py", "sample", "--home", str(home), "--serve", "--port", port)


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_a_browser_draws_the_page_by_what_it_may_load(page, tmp_path):
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server", f"--user-data-dir={tmp_path}")
    command = [CHROMIUM, *flags, "--virtual-time-budget=20000", "--dump-dom", page]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    drawn = re.sub(r"<!--.*?-->", "", drawn, flags=re.DOTALL)
    assert re.search(r"<button[^>]*>\s*Show emotion and intent", drawn)
    assert len(re.findall(r'type="file"', drawn)) == 1
    addresses = re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="(https?://[^"]*)"', drawn)
    assert [address for address in addresses if not address.startswith(page)] == []
