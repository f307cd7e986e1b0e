"""Restorers of ，。？！ in transcripts that lost them, by the name in --punctuation.

crf        a pair of CRFs, fitted on the run's punctuated sentences
hf:MODEL   a token classification model as it is
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from meiju.config import SCRIPTS, Config, ConfigError
from meiju.text.punctuation.base import Restorer, is_punctuated, report
from meiju.text.punctuation.crf import MIN_SENTENCES, CrfRestorer, fit_and_report
from meiju.utils import files, hub
from meiju.utils.compute import pick_device

UNRESTORED = ("none", "stripped")  # what needs no restorer
RECORD = "punctuation.json"  # says which restorer a folder holds, if any


def fingerprint(config: Config) -> dict:
    """What decides a restorer besides its sentences. Raises ConfigError for a model that is missing or unfit."""
    kind, _, model = config.punctuation.partition(":")
    if kind != "hf":
        return {"punctuation": kind}
    from meiju.text.punctuation.pretrained import marks_of_model

    try:
        marks_of_model(model)  # refuses a model without marks before any work
        return {"punctuation": kind, "model": hub.identity(model), "transformers": version("transformers")}
    except hub.MissingModel as error:
        raise hub.MissingModel(f"--punctuation: {error}") from None


def make_restorer(
    config: Config, punctuated: Sequence[str], folder: Path, *, drops_marks: bool
) -> tuple[Restorer | None, pd.DataFrame | None]:
    """The restorer that --punctuation names, and its scores: None where there is nothing to measure it on.

    drops_marks: see `Restorer`. `load_restorer` finds it in the folder again. Where there is too little to learn from,
    that is printed, and both are None.
    """
    marked = sorted({sentence for sentence in punctuated if is_punctuated(sentence)})
    kind, _, model = config.punctuation.partition(":")
    record: dict[str, object] = {"restorer": kind, "drops marks": drops_marks}
    if kind == "crf":
        if len(marked) < MIN_SENTENCES:
            what = f"{len(marked)} punctuated sentences are too few to learn from ({MIN_SENTENCES} are needed)"
            remedy = "give text files of punctuated sentences with --punctuation-texts"
            print(f"punctuation is left as it is: {what}; {remedy}")
            # Recorded too: where there is no record, a restorer was lost.
            files.write_json(folder / RECORD, {"restorer": "none"})
            return None, None
        restorer, scores = fit_and_report(marked, seed=config.seed, n_jobs=config.n_jobs)
        restorer.save(folder)
    else:
        from meiju.text.punctuation.pretrained import open_pretrained

        restorer = open_pretrained(model, marked, device=pick_device(config.device))
        scores = report(restorer, marked) if marked else None
        record |= {"model": model, "special tokens": restorer.special_tokens}
    files.write_json(folder / RECORD, record)
    restorer.drops_marks = drops_marks
    return restorer, scores


def load_restorer(config: Config, folder: Path) -> Restorer | None:
    """The restorer of a finished folder, if there is to be one. Raises ConfigError where it is lost, and Damaged."""
    if config.punctuation in UNRESTORED:
        return None
    path = folder / RECORD
    if not path.is_file():
        raise ConfigError(f"the run has lost {path}; run {SCRIPTS}/02_refine_punctuation.py again, with its arguments")
    record = files.read_json(path)
    if record["restorer"] == "none":
        return None
    if record["restorer"] == "crf":
        restorer: Restorer = CrfRestorer.load(folder)
    else:
        from meiju.text.punctuation.pretrained import TokenRestorer

        device = pick_device(config.device)
        restorer = TokenRestorer(record["model"], device=device, special_tokens=record["special tokens"])
    restorer.drops_marks = record["drops marks"]
    return restorer


def restorer_files(config: Config, folder: Path) -> list[Path]:
    """The files that `load_restorer` reads."""
    return [] if config.punctuation in UNRESTORED else [folder / RECORD, *folder.glob("restorer*")]
