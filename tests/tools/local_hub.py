"""A small Hugging Face hub on the loopback address, and all presets run through it from an empty cache.

`LocalHub` serves folders as repositories, the way the hub does: a model's description, its list of files, and files by
revision. Files of weights are elsewhere, as on the hub: the answer is a redirection that gives their size and hash, and
their bytes can be asked for from any place on. What can go wrong is switched on by its attributes.

As a program, it makes tiny models of the presets' architectures, each in the files that its real repository has, and
runs each preset on a sample corpus through the hub, in processes of their own: an empty cache, all steps, a submission;
then again without a network. Then the ways in which a download can fail: each must end well, or in one line.

Reads   nothing
Writes  the folder HOME (a temporary one by default)
Run     .venv/bin/python tests/tools/local_hub.py --presets track1-mandarin small
"""

import hashlib
import http.server
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import tyro
from huggingface_hub import constants, hf_api

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import preset_models
from meiju.cli import help_text
from meiju.presets import PRESETS
from meiju.sample import corpus as sample_corpus

FORMATS = {".safetensors", ".bin", ".h5", ".msgpack", ".pt", ".ot"}  # what the hub keeps beside its repositories
CHUNK = 1 << 14  # bytes that are sent at once

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@dataclass
class LocalHub:
    """Repositories by model id, and what goes wrong. Start it with `serving`."""

    repositories: dict[str, Path]
    gated: set[str] = field(default_factory=set)  # models that need a token
    revision: dict[str, str] = field(default_factory=dict)  # commits; others than the digest of the id
    busy: int = 0  # how many of the next requests are answered with 503
    cuts: int = 0  # how often a file of weights breaks off in the middle
    xet: bool = False  # offer weights by Xet as well, whose storage cannot be reached
    asked: list[str] = field(default_factory=list)  # 'METHOD path' of every request, with the range that was wanted
    address: str = ""

    @property
    def elsewhere(self) -> str:
        """The address of the weights: another host, as on the hub, where its own headers are not to be had."""
        return self.address.replace("127.0.0.1", "localhost")

    def use(self, cache: Path, monkeypatch) -> None:
        """Let a test's own process use this hub, with a cache of its own, and without waiting before it asks again."""
        for name, value in {"ENDPOINT": self.address, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": False}.items():
            monkeypatch.setattr(constants, name, value)
        template = f"{self.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hf_api.api, "endpoint", self.address)
        monkeypatch.setattr(time, "sleep", lambda _: None)

    @contextmanager
    def serving(self) -> "Iterator[LocalHub]":
        """Serve on a free port of the loopback address."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        server.hub = self
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def commit(self, model: str) -> str:
        """The commit of a model's main revision."""
        return self.revision.get(model) or hashlib.sha1(model.encode()).hexdigest()

    def sent(self) -> list[str]:
        """'model/file' of the files whose bytes were asked for, in order; a range follows them."""
        wanted = (re.fullmatch(r"GET (?:/cdn)?/(.*)/resolve/[^/]+/(.*)", request) for request in self.asked)
        return [f"{match[1]}/{match[2]}" for match in wanted if match]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub: LocalHub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        wanted = self.headers.get("Range", "")
        hub.asked.append(f"{self.command} {path} {wanted}".strip())
        if hub.busy:
            hub.busy -= 1
            return self._answer(503, b"the hub is busy")
        if "/xet-read-token/" in path:
            token = {"X-Xet-Cas-Url": "http://127.0.0.1:9", "X-Xet-Access-Token": "-"}
            return self._answer(200, b"{}", headers=token | {"X-Xet-Token-Expiration": "4000000000"})
        if match := re.fullmatch(r"/cdn/(.+?)/resolve/[^/]+/(.+)", path):
            return self._send(hub.repositories[match[1]] / match[2], wanted)
        match = re.fullmatch(r"/api/models/(.+?)(?:/(revision|tree)/([^/]+)/?.*)?", path)
        file = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path)
        if not (match or file):
            return self._error(404, "", f"no {path}")
        model, revision = (match[1], match[3]) if match else (file[1], file[2])
        if model not in hub.repositories:
            return self._error(401, "RepoNotFound", "Invalid username or password.")
        if model in hub.gated and "Authorization" not in self.headers and not (match and match[2] is None):
            return self._error(401, "GatedRepo", f"Access to model {model} is restricted.")
        if revision not in (None, "main", hub.commit(model)):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if match:
            return self._answer(200, json.dumps(self._description(model, match[2])).encode(), "application/json")
        return self._file(model, revision, file[3])

    def _description(self, model: str, what: str | None) -> object:
        hub = self.server.hub
        folder = hub.repositories[model]
        paths = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        if what == "tree":
            return [{"type": "file", "path": n, "size": p.stat().st_size, "oid": _etag(p)} for n, p in paths.items()]
        return {"id": model, "modelId": model, "sha": hub.commit(model), "siblings": [{"rfilename": n} for n in paths]}

    def _file(self, model: str, revision: str, name: str) -> None:
        hub = self.server.hub
        path = hub.repositories[model] / name
        commit = {"X-Repo-Commit": hub.commit(model)}
        if not path.is_file():
            return self._error(404, "EntryNotFound", f"Entry not found: {name}", commit)
        if path.suffix not in FORMATS:
            return self._send(path, "", commit)
        linked = {
            "Location": f"{hub.elsewhere}/cdn/{model}/resolve/{revision}/{name}",
            "X-Linked-Etag": f'"{_etag(path)}"',
            "X-Linked-Size": str(path.stat().st_size),
        }
        if hub.xet:
            linked["X-Xet-Hash"] = _etag(path)
            linked["X-Xet-Refresh-Route"] = f"{hub.address}/api/models/{model}/xet-read-token/{hub.commit(model)}"
        return self._answer(302, b"", headers=commit | linked)

    def _send(self, path: Path, wanted: str, headers: dict[str, str] | None = None) -> None:
        """A file, or from the place on that a range names."""
        hub, size = self.server.hub, path.stat().st_size
        start = int(wanted.removeprefix("bytes=").partition("-")[0] or 0)
        self.send_response(206 if wanted else 200)
        for key, value in {"ETag": f'"{_etag(path)}"', "Accept-Ranges": "bytes", **(headers or {})}.items():
            self.send_header(key, value)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = hub.cuts > 0 and path.suffix in FORMATS
        hub.cuts -= cut
        left = (size - start) // 2 if cut else size - start
        with path.open("rb") as file:
            file.seek(start)
            while left and (block := file.read(min(CHUNK, left))):
                self.wfile.write(block)
                left -= len(block)
        if cut:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        self._answer(status, body, headers={"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})

    def _answer(
        self, status: int, body: bytes, kind: str = "text/plain", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(path: Path) -> str:
    """What the hub knows a file by: SHA-256 of weights, Git's hash of others."""
    data = path.read_bytes()
    if path.suffix in FORMATS:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


FLAGS = """--jobs 2 --device cpu --folds 3 --model.heads 1 2 --model.width 16 --train.epochs 2 --train.average-epochs 1
    --pseudo.gate paper --pseudo.threshold 0.2"""


def make_corpus(root: Path, *, n_training: int = 60, n_others: int = 8, n_pool: int = 12) -> Path:
    """A sample corpus whose pool has no transcripts, as the challenge's."""
    sizes = {"training": n_training, "validation": n_others, "testing": n_others, "unlabelled": n_pool}
    sample_corpus.make_sample(root, sizes=sizes, n_jobs=1)
    (root / "NoAnnotation" / "transcription.csv").unlink()
    return root


def models_of(preset: str) -> list[str]:
    """The model ids that a preset reads from the hub."""
    config = PRESETS[preset][1]
    streams = [name.removeprefix("hf:") for name in config.encoders.values() if name.startswith("hf:")]
    return list(dict.fromkeys([*streams, *({config.speech.model} - {"none"})]))


def run_preset(hub: LocalHub, preset: str, home: Path, root: Path, prelude: str = "", **environment: str) -> str:
    """All steps of a preset in a process of their own, with the cache in HOME/cache: its last line.

    prelude: what the shell does before, such as to forbid large files.
    """
    program = [sys.executable, SCRIPTS / "run_all.py", preset, "--home", home, "--corpus.root", root]
    command = f"{prelude} exec {shlex.join(map(str, program))} {' '.join(FLAGS.split())}"
    hugging_face = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment = os.environ | hugging_face | environment
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    if "Traceback" in done.stderr:
        raise SystemExit(f"{preset} ended in a traceback:\n{done.stderr}")
    zipped = home / "submissions" / preset / "submission.zip"
    if done.returncode == 0 and zipped.is_file():
        return zipped.name
    return "\n".join(line for line in done.stderr.splitlines() if line.startswith("error: "))


def try_preset(hub: LocalHub, preset: str, home: Path, root: Path) -> None:
    """From an empty cache to the submission; then again without a network, with nothing but the models kept."""
    expect(run_preset(hub, preset, home, root), "submission.zip")
    sent = set(hub.sent())
    unread = {f"{model}/{name}" for model in models_of(preset) for name in preset_models.REPOSITORIES[model].unread}
    expect(f"unread files that were fetched: {len(sent & unread)}", ": 0$")
    hub.asked.clear()
    for name in ("work", "folds", "submissions"):
        shutil.rmtree(home / name)
    expect(run_preset(hub, preset, home, root, HF_HUB_OFFLINE="1"), "submission.zip")
    expect(f"requests of the run without a network: {len(hub.asked)}", ": 0$")


def try_failures(hub: LocalHub, home: Path, root: Path) -> None:
    """What can go wrong with a download: one line each, and the same command then goes on."""
    model, again = "openai/whisper-base", "give the same command again"
    for change, prelude, environment, pattern in (
        ({}, "", {"HF_HUB_OFFLINE": "1"}, f"error: .*the network is switched off.*hf download {model}"),
        ({"gated": {model}}, "", {}, f"error: .*agree to its terms on .*/{model} and log in with `hf auth login`"),
        ({"gated": set(), "busy": 10_000}, "", {}, f"error: .*503.*{again}"),
        ({"busy": 0}, "ulimit -f 64;", {}, "error: .*File too large.*make room there, or set HF_HOME"),
        ({}, "", {"HF_ENDPOINT": "http://127.0.0.1:9"}, f"error: .*Connection refused.*{again}"),
        ({"cuts": 2, "asked": []}, "", {}, "submission.zip"),
        ({"revision": {model: "f" * 40}}, "", {}, "submission.zip"),  # the commit in the cache stays
    ):
        vars(hub).update(change)
        expect(run_preset(hub, "small", home, root, prelude, **environment), pattern)
    n_asked = sum(path.endswith("model.safetensors") for path in hub.sent())
    expect(f"times that weights were asked for: {n_asked}", "[3-9]$")


def expect(line: str, pattern: str) -> None:
    """Print a line; end the program unless it has the pattern."""
    print(f"  {line}", flush=True)
    if not re.search(pattern, line):
        raise SystemExit(f"expected: {pattern}")


def try_all(presets: tuple[str, ...] = (), home: Path | None = None) -> None:
    """Run presets (all that use the hub by default), and the failures."""
    chosen = presets or tuple(preset for preset in PRESETS if models_of(preset))
    folder = home or Path(tempfile.mkdtemp(prefix="local-hub-"))
    models = list(dict.fromkeys(model for preset in (*chosen, "small") for model in models_of(preset)))
    repositories = {model: preset_models.write(model, folder / "hub" / model) for model in models}
    root = make_corpus(folder / "corpus")
    with LocalHub(repositories).serving() as hub:
        for preset in chosen:
            started = time.perf_counter()
            print(preset)
            try_preset(hub, preset, folder / preset, root)
            print(f"  {time.perf_counter() - started:.0f} s")
        print("failures")
        try_failures(hub, folder / "failures", root)
    if home is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    tyro.cli(try_all, description=help_text(__doc__))
