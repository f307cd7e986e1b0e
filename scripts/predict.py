"""Predict emotion and intent of clips with a finished run.

RUN is a run's name, or the folder of its model.json. A clip without a sentence is transcribed where the run transcribed
such clips. A stream that a clip lacks (no sound, no sentence) is not used, and the answer says so. If a clip has a
problem, the others are predicted all the same, and the exit status is 1.

Reads   submissions/<run>/model.json and what it names, and the clips (files, or folders of them)
Writes  the answer: to the terminal, or to --output FILE
Run     .venv/bin/python scripts/predict.py sample clip.mp4 --text "真的吗"
Run     .venv/bin/python scripts/predict.py sample clips/ --texts sentences.csv --format csv --output predictions.csv
Run     .venv/bin/python scripts/predict.py sample --serve
Run     .venv/bin/python scripts/predict.py sample --export model/
"""

import gc
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from meiju.cli import help_text, plain_end
from meiju.config import REPOSITORY, ConfigError, require
from meiju.serving import bundle, outputs
from meiju.serving.inputs import find_clips
from meiju.serving.predictor import Predictor
from meiju.utils import files
from meiju.utils.spreadsheets import one_line


@dataclass(frozen=True)
class Arguments:
    """What to predict, and the form of the answer."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A finished run's name, or the folder of its model.json."""
    clips: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="CLIP ...")] = ()
    """Clips, or folders of them."""
    text: str | None = None
    """Sentence of the clip; without a clip, the prediction is made from the sentence alone."""
    texts: Path | None = None
    """Table (csv) of clips' names and sentences: name or FileName, sentence or Subtitle."""
    format: Literal["table", "json", "csv"] = "table"
    """A table of the likeliest labels, or JSON or csv with all probabilities."""
    output: Path | None = None
    """File to write the answer to."""
    home: Path = REPOSITORY
    """Folder that holds submissions/ and work/."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; auto uses CUDA if available."""
    export: Path | None = None
    """New folder for a copy of all files of the run that predictions need, to pass on."""
    serve: bool = False
    """Open a page on this machine, to which clips can be dropped."""
    port: int = 7860
    """Port of the page."""

    def __post_init__(self):
        asked = bool(self.clips) or self.text is not None
        what = "name clips, a folder of clips or a sentence with --text; or --serve or --export, which stand alone"
        require(asked + self.serve + (self.export is not None) == 1, what)
        require(asked or (self.texts, self.output) == (None, None), what)
        require(0 < self.port < 65536, f"--port is between 1 and 65535; got {self.port}")
        is_file = self.output is None or not self.output.exists() or self.output.is_file()
        require(is_file, f"--output: {self.output} is no file; without --output, the answer is printed")


def main(arguments: Arguments) -> None:
    folder = bundle.find_run(arguments.run, arguments.home)
    if arguments.export is not None:
        exported = bundle.export(folder, arguments.export)
        print(f"{arguments.export} can be given in place of {arguments.run}")
        if exported.models:
            print(f"pretrained models are not copied; it needs {', '.join(exported.models)}")
        return
    if arguments.serve:
        install = ".venv/bin/python -m pip install -r requirements-serve.txt"
        require(importlib.util.find_spec("gradio") is not None, f"--serve needs packages that are missing; {install}")
        predictor = _load(folder, arguments.device)
        from meiju.serving import page  # gradio takes seconds to import, and nothing else needs it

        page.serve(predictor, title=arguments.run, port=arguments.port)
        return
    clips, problems, remarks = find_clips(arguments.clips, text=arguments.text, texts=arguments.texts)
    for remark in remarks:
        print(one_line(remark), file=sys.stderr)
    n_jobs = os.cpu_count() or 1
    predictions = _load(folder, arguments.device, n_jobs=n_jobs).predict(clips) if clips else []
    records = outputs.as_records(predictions, problems)
    answer = outputs.FORMATS[arguments.format](records)
    if arguments.output is None:
        sys.stdout.write(answer)
    else:
        try:
            files.write_text(Path(os.path.realpath(arguments.output)), answer)
        except OSError as error:
            sys.stdout.write(answer)  # rather than to work for it once more
            what = f"{error.strerror}: {error.filename}"
            raise ConfigError(f"--output: {what}; the answer is printed here, name another file next time") from None
    failed = [f"{record['clip']}: {record['problem']}" for record in records if record["problem"]]
    if failed:
        raise SystemExit("\n".join(["error: not all clips could be used:", *failed]))


def _load(folder: Path, device: str, *, n_jobs: int = 1) -> Predictor:
    predictor = Predictor(folder, device=device, n_jobs=n_jobs)
    if predictor.made_up:
        print(bundle.MADE_UP, file=sys.stderr)
    return predictor


if __name__ == "__main__":
    with plain_end("interrupted"):
        main(tyro.cli(Arguments, description=help_text(__doc__)))
        gc.freeze()  # the system takes the memory back sooner than Python finds what of it is garbage
