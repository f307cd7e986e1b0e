"""A small Hugging Face hub on the loopback address, and all presets run through it from an empty cache.

`LocalHub` serves folders as repositories, as far as a download asks: a model's description with the list of its files,
and files at a revision, from any byte on. What can go wrong is switched on by its attributes.

As a program, it makes tiny models of the presets' architectures, each in the files that its real repository has, and
runs each preset on a sample corpus through the hub, in processes of their own: an empty cache, all steps, a submission;
then again without a network. The ways in which a download can fail are in tests/utils/test_hub.py.

Reads   nothing
Writes  a temporary folder, which is removed
Run     .venv/bin/python tests/tools/local_hub.py --presets track1-mandarin small
"""

import hashlib
import http.server
import json
import os
import re
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
from toy_run import SCRIPTS


@dataclass
class LocalHub:
    """Repositories by model id, and what goes wrong. Start it with `serving`."""

    repositories: dict[str, Path]
    gated: set[str] = field(default_factory=set)  # models that need a token
    revision: dict[str, str] = field(default_factory=dict)  # commits; others than the digest of the id
    busy: int = 0  # how many of the next requests are answered with 503
    cuts: int = 0  # how often a file of weights breaks off in the middle
    asked: list[str] = field(default_factory=list)  # 'METHOD path' of every request, with the range that was wanted
    address: str = ""

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
        wanted = (re.fullmatch(r"GET /(.*)/resolve/[^/]+/(.*)", request) for request in self.asked)
        return [f"{match[1]}/{match[2]}" for match in wanted if match]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        hub: LocalHub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        wanted = self.headers.get("Range", "")
        hub.asked.append(f"{self.command} {path} {wanted}".strip())
        if hub.busy:
            hub.busy -= 1
            return self._answer(503)
        described, file = re.fullmatch(r"/api/models/(.+)", path), re.fullmatch(r"/(.+?)/resolve/[^/]+/(.+)", path)
        model = found[1] if (found := described or file) else ""  # transformers asks for other things too
        if model not in hub.repositories:
            return self._answer(401, {"X-Error-Code": "RepoNotFound"})
        if file and model in hub.gated and "Authorization" not in self.headers:
            return self._answer(401, {"X-Error-Code": "GatedRepo"})
        folder = hub.repositories[model]
        if file:
            return self._send(folder / file[2], wanted, hub.commit(model))
        names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        siblings = [{"rfilename": name} for name in names]
        described = {"id": model, "sha": hub.commit(model), "siblings": siblings}
        return self._answer(200, body=json.dumps(described).encode())

    do_HEAD = do_GET

    def _send(self, path: Path, wanted: str, commit: str) -> None:
        """A file, or from the place on that a range names."""
        data, hub = path.read_bytes(), self.server.hub
        start = int(wanted.removeprefix("bytes=").partition("-")[0] or 0)
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = hub.cuts > 0 and self.command == "GET" and path.name in ("model.safetensors", "pytorch_model.bin")
        hub.cuts -= cut
        self._answer(206 if wanted else 200, headers, data[start:], cut=cut)

    def _answer(self, status: int, headers: dict | None = None, body: bytes = b"", *, cut: bool = False) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True


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


def run_presets(presets: tuple[str, ...] = ()) -> None:
    """Run presets (all that use the hub by default) from an empty cache to a submission; then again offline."""
    chosen = presets or tuple(preset for preset in PRESETS if models_of(preset))
    with tempfile.TemporaryDirectory(prefix="local-hub-") as name:
        folder = Path(name)
        models = {model for preset in chosen for model in models_of(preset)}
        root = make_corpus(folder / "corpus")
        with LocalHub({model: preset_models.write(model, folder / model) for model in models}).serving() as hub:
            for preset in chosen:
                home = folder / preset
                for offline in ("0", "1"):
                    environment = {"HF_ENDPOINT": hub.address, "HF_HOME": f"{home}-cache", "HF_HUB_OFFLINE": offline}
                    program = [sys.executable, SCRIPTS / "run_all.py", preset, "--home", home, "--corpus.root", root]
                    subprocess.run([*program, *FLAGS.split()], env=os.environ | environment, check=True)
                    shutil.rmtree(home)
                print(f"\n{preset}: a submission, and one without a network")


if __name__ == "__main__":
    tyro.cli(run_presets, description=help_text(__doc__))
