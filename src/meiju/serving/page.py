"""A page on this machine, to which one drops a clip to see what a run says of it.

It answers at 127.0.0.1 only, loads nothing from elsewhere, and forgets a clip once it is answered.
"""

import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Read when gradio is imported: no usage statistics, and no question about newer versions.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meiju.config import ConfigError
from meiju.corpus import MEDIA_SUFFIXES
from meiju.encoders.base import Clip
from meiju.encoders.media import read_seconds
from meiju.labels import TASKS
from meiju.serving.inputs import problem_of
from meiju.serving.predictor import Prediction, Predictor

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
        page = _build(predictor, title, Path(uploads).resolve())
        try:
            yield _launch(page, port)
        finally:
            page.close(verbose=False)
            os.environ.pop("GRADIO_TEMP_DIR")
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


def answer(predictor: Predictor, path: Path | None, sentence: str) -> Answer:
    """Probabilities of emotions and of intents by label, and in words what they rest on or why there are none."""
    sentence = sentence.strip()
    if path is None and not sentence:
        return None, None, "Drop a clip, or type a sentence, first."
    if len(sentence) > MAX_CHARACTERS:
        return None, None, f"The sentence is too long: it has {len(sentence)} characters, of at most {MAX_CHARACTERS}."
    problem = problem_of(path) or _too_long(path) if path else ""
    if problem:
        return None, None, f"**{_plain(path.name)}** {_plain(problem)}."
    try:
        (prediction,) = predictor.predict([Clip(path.stem if path else "", sentence, str(path or ""))])
    except ConfigError as error:
        return None, None, f"No answer: {_plain(str(error))}"
    name = path.name if path else "the sentence alone"
    if prediction.problem:
        return None, None, f"No answer for **{_plain(name)}**: {_plain(prediction.problem)}."
    emotions, intents = (prediction.probabilities[task] for task in TASKS)
    return emotions, intents, _in_words(name, prediction)


def _too_long(path: Path) -> str:
    """What is said of a clip that plays too long; its packets are looked at, none is decoded."""
    seconds = read_seconds(path)
    return f"is too long: it plays {seconds:.0f} seconds, of at most {MAX_SECONDS:.0f}" if seconds > MAX_SECONDS else ""


def _in_words(name: str, prediction: Prediction) -> str:
    lines = [f"**{_plain(name)}**: judged by {', '.join(prediction.streams)}."]
    lines += [f"- heard in it: {_plain(prediction.clip.sentence)}"] if prediction.heard else []
    lines += [f"- not used: {stream} ({_plain(reason)})" for stream, reason in prediction.missing.items()]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-!|~$&" else c for c in " ".join(text.split()))


def _build(predictor: Predictor, title: str, uploads: Path) -> gradio.Blocks:
    def ask(path: str | None, sentence: str):
        place = Path(path) if path else None
        try:
            return *answer(predictor, place, sentence or ""), None
        finally:
            if place and place.resolve().is_relative_to(uploads):
                place.unlink(missing_ok=True)

    deletion = (FORGOTTEN_AFTER // 10, FORGOTTEN_AFTER)
    with gradio.Blocks(title="Emotion and intent", analytics_enabled=False, delete_cache=deletion) as page:
        gradio.Markdown(f"# Emotion and intent of a clip\n{HELP}")
        with gradio.Row():
            with gradio.Column(scale=2, min_width=280):
                clip = gradio.File(label="Clip", file_types=list(MEDIA_SUFFIXES), height=150)
                sentence = gradio.Textbox(label="What is said in it (optional)", lines=2, max_length=MAX_CHARACTERS)
                button = gradio.Button("Show emotion and intent", variant="primary")
                notes = gradio.Markdown(elem_id="notes")
            with gradio.Column(scale=3, min_width=320), gradio.Row(equal_height=True):
                bars = [gradio.Label(label=task.capitalize(), elem_classes="bars", min_width=240) for task in TASKS]
        gradio.Markdown(f"<small>Run: {_plain(title)}. These are a model's guesses.</small>")
        gradio.on(
            [button.click, sentence.submit],
            ask,
            inputs=[clip, sentence],
            outputs=[*bars, notes, clip],  # the clip is taken off the page: it is deleted
            api_name="predict",
        )
    return page


def _launch(page: gradio.Blocks, port: int) -> str:
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
        app_kwargs={"middleware": [hosts, Middleware(_OwnPartsOnly)]},
        theme=gradio.themes.Default(primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=STYLE,
    )
    return url


class _OwnPartsOnly:
    """Tells the browser to load nothing from elsewhere."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message = message | {"headers": [*message.get("headers", []), policy]}
            await send(message)

        await self.app(scope, receive, send_with_policy)
