"""A page on this machine, to which one drops a clip to see what a run says of it.

It answers at 127.0.0.1 only, to itself only, loads nothing from elsewhere, and forgets a clip once it is answered.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meiju.config import ConfigError
from meiju.data.corpus import MEDIA_SUFFIXES
from meiju.data.labels import TASKS
from meiju.features.base import Clip
from meiju.features.media import read_seconds
from meiju.serving.bundle import MADE_UP
from meiju.serving.inputs import problem_of
from meiju.serving.predictor import Prediction, Predictor
from meiju.utils.system import Unreadable

# Read when gradio is imported: no usage statistics, and no question about newer versions.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


@contextmanager
def _without_proxies() -> Iterator[None]:
    """Keep the proxies of the environment from gradio, which asks its own page on this machine whether it is there."""
    before = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
    os.environ.update(dict.fromkeys(before, "*"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


with _without_proxies():
    import gradio

HOST = "127.0.0.1"
MAX_MEGABYTES = 100  # of a clip
MAX_SECONDS = 60.0  # of a clip
MAX_CHARACTERS = 1000  # of a sentence
FORGOTTEN_AFTER = 600  # seconds until a clip goes that was dropped, but never asked about

HELP = f"""Drop a clip of a few seconds, type what is said in it if you know, and see which emotion and which intent it
carries. Sound, pictures and the sentence each count, and each may be missing. A clip has at most {MAX_SECONDS:.0f}
seconds and {MAX_MEGABYTES} MB; it stays on this machine and is deleted once it is answered."""

# What the page may load: its own parts, which gradio's wheel brings along.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)

# gradio draws a browser's own meter inside each bar; here a bar is plain, on a track that ends at 100 %.
STYLE = """
.gradio-container {max-width: 1100px !important; margin: 0 auto !important;}
.bars {min-height: 460px;}
.bars .confidence-set {margin-bottom: 12px;}
.bars .inner-wrap {
    display: flex; flex-direction: column-reverse;
    background: linear-gradient(#80808026, #80808026) bottom left / 100% 10px no-repeat;
}
.bars meter.bar {
    appearance: none; height: 10px; margin: 0; border-radius: 0 3px 3px 0; background: var(--primary-500) !important;
}
.bars meter.bar::-webkit-meter-inner-element {display: none;}
.bars meter.bar::-moz-meter-bar {background: none;}
.bars .label {margin-bottom: 2px;}
.bars .label * {font-family: var(--font);}
.bars .line {border: none;}
"""

NOTHING = "Drop a clip, or type a sentence, first."

Answer = tuple[dict[str, float] | None, dict[str, float] | None, str]


def require_free(port: int) -> None:
    """Raise ConfigError if the port is taken."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just given up is free
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"--port: {port} cannot be used ({error.strerror}); give another") from None


def serve(predictor: Predictor, *, title: str, port: int) -> None:
    """Show the page until interrupted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that uploads are removed then too
    with running(predictor, title=title, port=port) as url, suppress(KeyboardInterrupt):
        print(f"open {url} in a browser on this machine; Ctrl+C ends it", flush=True)
        threading.Event().wait()


@contextmanager
def running(predictor: Predictor, *, title: str, port: int) -> Iterator[str]:
    """The page at the URL that is given, with uploads in a folder of their own, which is removed at the end."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="meiju-page-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        waiting = _Waiting(Path(uploads).resolve())
        page = _build(predictor, title, waiting)
        try:
            yield _launch(page, port, waiting)
        finally:
            page.close(verbose=False)
            os.environ.pop("GRADIO_TEMP_DIR")
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


def answer(predictor: Predictor, path: Path | None, sentence: str) -> Answer:
    """Probabilities of emotions and of intents by label, and in words what they rest on or why there are none."""
    sentence = sentence.strip()
    if path is None and not sentence:
        return None, None, NOTHING
    if len(sentence) > MAX_CHARACTERS:
        return None, None, f"The sentence is too long: it has {len(sentence)} characters, of at most {MAX_CHARACTERS}."
    problem = _problem_of(path) if path else ""
    if problem:
        return None, None, f"**{_plain(path.name)}** {_plain(problem)}."
    try:
        (prediction,) = predictor.predict([Clip(path.stem if path else "", sentence, str(path or ""))])
    except (ConfigError, Unreadable) as error:
        return None, None, f"No answer: {_plain(str(error))}"
    name = path.name if path else "the sentence alone"
    if prediction.problem:
        return None, None, f"No answer for **{_plain(name)}**: {_plain(prediction.problem)}."
    emotions, intents = (prediction.probabilities[task] for task in TASKS)
    return emotions, intents, _in_words(name, prediction)


def _problem_of(path: Path) -> str:
    """Why a clip is not answered, or ""; its packets are looked at, none is decoded."""
    if not path.exists():
        return f"is no longer here: clips are deleted after {FORGOTTEN_AFTER // 60} minutes; drop it again"
    try:
        problem = problem_of(path)
        seconds = 0.0 if problem else read_seconds(path)
    except Unreadable as error:
        return str(error)
    return problem or (
        f"is too long: it plays {seconds:.0f} seconds, of at most {MAX_SECONDS:.0f}" if seconds > MAX_SECONDS else ""
    )


def _in_words(name: str, prediction: Prediction) -> str:
    lines = [f"**{_plain(name)}**: judged by {', '.join(prediction.streams)}."]
    if prediction.clip.sentence.strip():
        lines.append(f"- {'transcribed' if prediction.transcribed else 'sentence'}: {_plain(prediction.clip.sentence)}")
    lines += [f"- not used: {stream} ({_plain(reason)})" for stream, reason in prediction.missing.items()]
    lines += [f"- {stream}: {_plain(note)}" for stream, note in prediction.notes.items()]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-!|~$&" else c for c in " ".join(text.split()))


class _Waiting:
    """The dropped clips that are still to be answered.

    gradio keeps the same clip, dropped by several people, as one file: it goes when the last of them is answered.
    """

    def __init__(self, folder: Path):
        self._folder, self._times, self._lock = folder, Counter(), threading.Lock()

    def add(self, path: Path) -> None:
        """A clip has been dropped."""
        with self._lock:
            self._times[path.resolve()] += 1

    def answered(self, path: Path) -> None:
        """A clip has been answered, or cannot be."""
        path = path.resolve()
        with self._lock:
            self._times[path] -= 1
            if self._times[path] <= 0:
                del self._times[path]
                if path.is_relative_to(self._folder):
                    path.unlink(missing_ok=True)


def _build(predictor: Predictor, title: str, waiting: _Waiting) -> gradio.Blocks:
    def ask(path: str | None, sentence: str):
        """The answer; then the clip, which is deleted, and its sentence are taken off the page."""
        place, sentence = Path(path) if path else None, sentence or ""
        if place is None and not sentence.strip():
            gradio.Info(NOTHING)
            return [gradio.update()] * 5  # an answer that is there stays
        try:
            emotions, intents, notes = answer(predictor, place, sentence)
        finally:
            if place:
                waiting.answered(place)
        return emotions, intents, notes, None, "" if place or emotions else sentence

    deletion = (FORGOTTEN_AFTER // 10, FORGOTTEN_AFTER)
    with gradio.Blocks(title="Emotion and intent", analytics_enabled=False, delete_cache=deletion) as page:
        caution = f"\n\n**{MADE_UP}**" if predictor.made_up else ""
        gradio.Markdown(f"# Emotion and intent of a clip\n{HELP}{caution}")
        with gradio.Row():
            with gradio.Column(scale=2, min_width=280):
                clip = gradio.File(label="Clip", file_types=list(MEDIA_SUFFIXES), height=150)
                sentence = gradio.Textbox(label="What is said in it (optional)", lines=2, max_length=MAX_CHARACTERS)
                button = gradio.Button("Show emotion and intent", variant="primary")
                notes = gradio.Markdown(elem_id="notes")
            with gradio.Column(scale=3, min_width=320), gradio.Row(equal_height=True):
                bars = [gradio.Label(label=task.capitalize(), elem_classes="bars", min_width=240) for task in TASKS]
        gradio.Markdown(f"<small>Run: {_plain(title)}. These are a model's guesses.</small>")
        # One press at a time: until it is answered, neither the button nor the sentence can be used.
        quiet = {"outputs": [button, sentence], "queue": False, "show_progress": "hidden", "api_name": False}
        pressed = gradio.on([button.click, sentence.submit], lambda: _usable(False), trigger_mode="once", **quiet)
        outputs = [*bars, notes, clip, sentence]
        answered = pressed.then(ask, [clip, sentence], outputs, api_name="predict", trigger_mode="once")
        answered.then(lambda: _usable(True), **quiet)
    return page


def _usable(usable: bool) -> list[dict]:
    return [gradio.update(interactive=usable)] * 2


@_without_proxies()
def _launch(page: gradio.Blocks, port: int, waiting: _Waiting) -> str:
    # A page elsewhere could reach this one by giving a name of its own to 127.0.0.1; by that name it is refused.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    _, url, _ = page.launch(
        server_name=HOST,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=f"{MAX_MEGABYTES}mb",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        app_kwargs={"middleware": [hosts, Middleware(_Guard, waiting=waiting)]},
        theme=gradio.themes.Default(primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=STYLE,
    )
    return url


class _Guard:
    """Refuses requests that other pages make, tells the browser to load nothing from elsewhere, and counts uploads."""

    def __init__(self, app: ASGIApp, waiting: _Waiting):
        self.app, self.waiting = app, waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", []))
        # A browser names the page that asks, whatever that page wants; its own page is at the host that is asked.
        if headers.get(b"origin", b"http://" + headers.get(b"host", b"")) != b"http://" + headers.get(b"host", b""):
            await PlainTextResponse("refused: asked by a page from elsewhere", 403)(scope, receive, send)
            return
        is_upload, body = scope.get("path", "").endswith("/upload"), b""

        async def send_guarded(message: Message) -> None:
            nonlocal body
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message = message | {"headers": [*message.get("headers", []), policy]}
            elif is_upload and message["type"] == "http.response.body":
                body += message.get("body", b"")
                if not message.get("more_body"):
                    self._count(body)
            await send(message)

        await self.app(scope, receive, send_guarded)

    def _count(self, body: bytes) -> None:
        """Note the clips that an upload's reply names; an error's reply names none."""
        with suppress(ValueError):
            paths = json.loads(body)
            for path in paths if isinstance(paths, list) else []:
                self.waiting.add(Path(path))
