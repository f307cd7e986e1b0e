"""A page on this machine, to which one drops a clip to see what a run says of it.

It answers at 127.0.0.1 only, to itself only, loads nothing from elsewhere, and forgets a clip within ten minutes.
"""

import os
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from meiju.config import ConfigError, require
from meiju.data.labels import TASKS
from meiju.features.base import Clip
from meiju.features.media import read_seconds
from meiju.serving.bundle import MADE_UP
from meiju.serving.inputs import problem_of
from meiju.serving.predictor import Prediction, Predictor
from meiju.utils.clip_files import MEDIA_SUFFIXES
from meiju.utils.system import Unreadable

# Read when gradio is imported: no usage statistics, and no proxies, as it asks its own page whether it is there.
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "NO_PROXY": "*", "no_proxy": "*"}

import gradio

HOST = "127.0.0.1"
MAX_MEGABYTES = 100  # of a clip
MAX_SECONDS = 60.0  # of a clip
MAX_CHARACTERS = 1000  # of a sentence
DELETION = (60, 540)  # each minute, gradio deletes clips that were dropped so many seconds ago

HELP = f"""Drop a clip of a few seconds, type what is said in it if you know, and see which emotion and which intent it
carries. Sound, pictures and the sentence each count, and each may be missing. A clip has at most {MAX_SECONDS:.0f}
seconds and {MAX_MEGABYTES} MB; it stays on this machine and is deleted within ten minutes."""

# What the page may load: its own parts, which gradio's wheel brings along.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)


def serve(predictor: Predictor, *, title: str, port: int) -> None:
    """Show the page until interrupted; clips lie in a folder of its own. Raises ConfigError if the port is taken."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just given up is free
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"--port: {port} cannot be used ({error.strerror}); give another") from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the folder is removed then too
    # A page elsewhere could reach this one by giving a name of its own to 127.0.0.1; by that name it is refused.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    with tempfile.TemporaryDirectory(prefix="meiju-page-") as uploads, suppress(KeyboardInterrupt):
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page = _build(predictor, title)
        try:
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
                mcp_server=False,
                enable_monitoring=False,
                app_kwargs={"middleware": [hosts, Middleware(BaseHTTPMiddleware, dispatch=_guard)]},
                theme=gradio.themes.Default(primary_hue="indigo", font=["system-ui"], font_mono="monospace"),
            )
            print(f"open {url} in a browser on this machine; Ctrl+C ends it", flush=True)
            threading.Event().wait()
        finally:
            page.close(verbose=False)


def answer(predictor: Predictor, path: str | None, sentence: str) -> tuple[dict | None, dict | None, str]:
    """Probabilities of emotions and of intents by label, and in words what they rest on or why there are none."""
    try:
        require(path or sentence.strip(), "drop a clip, or type a sentence, first")
        require(len(sentence) <= MAX_CHARACTERS, f"the sentence is too long: more than {MAX_CHARACTERS} characters")
        if path:
            name, problem = Path(path).name, problem_of(Path(path))
            require(not problem, f"{name} {problem}")
            # Its packets are looked at, none is decoded.
            require(read_seconds(path) <= MAX_SECONDS, f"{name} is too long: more than {MAX_SECONDS:.0f} seconds")
        (prediction,) = predictor.predict([Clip("", sentence, path or "")])
        require(not prediction.problem, prediction.problem)
    except (ConfigError, Unreadable) as error:
        return None, None, f"No answer: {error}"
    emotions, intents = (prediction.probabilities[task] for task in TASKS)
    return emotions, intents, _in_words(prediction)


def _in_words(prediction: Prediction) -> str:
    lines = [f"judged by {', '.join(prediction.streams)}"]
    if prediction.clip.sentence.strip():
        lines.append(f"{'transcribed' if prediction.transcribed else 'sentence'}: {prediction.clip.sentence}")
    lines += [f"not used: {stream} ({reason})" for stream, reason in prediction.missing.items()]
    return "\n".join([*lines, *(f"{stream}: {note}" for stream, note in prediction.notes.items())])


def _build(predictor: Predictor, title: str) -> gradio.Blocks:
    with gradio.Blocks(title="Emotion and intent", analytics_enabled=False, delete_cache=DELETION) as page:
        caution = f"\n\n**{MADE_UP}**" if predictor.made_up else ""
        gradio.Markdown(f"# Emotion and intent of a clip\n{HELP}{caution}")
        with gradio.Row():
            with gradio.Column(scale=2, min_width=280):
                clip = gradio.File(label="Clip", file_types=list(MEDIA_SUFFIXES), height=150)
                sentence = gradio.Textbox(label="What is said in it (optional)", lines=2, max_length=MAX_CHARACTERS)
                button = gradio.Button("Show emotion and intent", variant="primary")
                # A text box, and no Markdown: names of clips are shown as they are.
                notes = gradio.Textbox(label=f"Guesses of the run {title}", lines=4, elem_id="notes")
            with gradio.Column(scale=3, min_width=320), gradio.Row():
                bars = [gradio.Label(label=task.capitalize(), elem_classes="bars", min_width=240) for task in TASKS]
        asked, outputs = [button.click, sentence.submit], [*bars, notes]
        gradio.on(asked, lambda *given: answer(predictor, *given), [clip, sentence], outputs, api_name="predict")
    return page


async def _guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Refuse requests that other pages make, and tell the browser to load nothing from elsewhere."""
    # A browser names the page that asks, whatever that page wants; its own page is at the host that is asked.
    own = f"http://{request.headers['host']}"
    if request.headers.get("origin", own) != own:
        return PlainTextResponse("refused: asked by a page from elsewhere", 403)
    response = await call_next(request)
    response.headers["content-security-policy"] = POLICY
    return response
