"""Restorers of ，。？！ in transcripts that lost them, by the name in --punctuation.

crf           a pair of CRFs, fitted on the run's punctuated sentences
fit:ENCODER   a pretrained encoder, fine-tuned on them
hf:MODEL      a token classification model as it is
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
import transformers

from meiju import files, hub
from meiju.config import Config
from meiju.punctuation import pretrained
from meiju.punctuation.base import (
    MARKS,
    MIN_SENTENCES,
    Restorer,
    TooFewSentences,
    evaluate,
    is_punctuated,
    read_sentences,
    report,
)
from meiju.punctuation.crf import CrfRestorer, fit_and_report
from meiju.punctuation.pretrained import TokenRestorer

__all__ = [
    "MARKS",
    "MIN_SENTENCES",
    "CrfRestorer",
    "Restorer",
    "TokenRestorer",
    "TooFewSentences",
    "evaluate",
    "fingerprint",
    "fit_and_report",
    "is_punctuated",
    "load_restorer",
    "make_restorer",
    "read_sentences",
]


def fingerprint(config: Config) -> dict:
    """What decides a restorer besides its sentences. Raises ConfigError for a model that is missing or unfit."""
    kind, _, model = config.punctuation.partition(":")
    decided_by = {"punctuation": kind}
    if kind in ("hf", "fit"):
        try:
            decided_by |= {"model": hub.identity(model), "transformers": transformers.__version__}
        except hub.MissingModel as error:
            raise hub.MissingModel(f"--punctuation: {error}") from None
    if kind == "hf":
        pretrained.marks_of_model(model)  # refuses a model without marks before any work
    if kind == "fit":
        decided_by |= {"epochs": config.punctuation_epochs, "lr": config.punctuation_lr}
    return decided_by


def make_restorer(
    config: Config, punctuated: Sequence[str], folder: Path, *, device: torch.device
) -> tuple[Restorer, pd.DataFrame | None]:
    """The restorer that --punctuation names, and its scores: None where there is nothing to measure it on.

    `load_restorer` finds it in the folder again. Raises TooFewSentences where there is too little to learn from.
    """
    kind, _, model = config.punctuation.partition(":")
    record: dict[str, object] = {"restorer": kind}
    if kind == "crf":
        path, n_jobs = folder / "restorer.json", config.n_jobs
        restorer, scores = fit_and_report(punctuated, seed=config.seed, model_path=path, n_jobs=n_jobs)
    elif kind == "fit":
        options = {"epochs": config.punctuation_epochs, "lr": config.punctuation_lr}
        restorer, scores = pretrained.fit_and_report(
            model, punctuated, folder, **options, seed=config.seed, device=device
        )
    else:
        marked = sorted({s for s in punctuated if is_punctuated(s)})
        restorer = pretrained.open_pretrained(model, marked, device=device)
        scores = report(restorer, marked) if marked else None
        record |= {"model": model, "special tokens": restorer.special_tokens}
    files.write_json(folder / "punctuation.json", record)
    return restorer, scores


def load_restorer(folder: Path, *, device: torch.device) -> Restorer | None:
    """The restorer that `make_restorer` left in a folder; None where sentences were left as they are."""
    path = folder / "punctuation.json"
    record = files.read_json(path) if path.exists() else {"restorer": "none"}
    match record:
        case {"restorer": "crf"}:
            return CrfRestorer(folder / "restorer.json")
        case {"restorer": "fit"}:
            return TokenRestorer(str(folder / "restorer"), device=device)
        case {"restorer": "hf", "model": str(model), "special tokens": bool(special_tokens)}:
            return TokenRestorer(model, device=device, special_tokens=special_tokens)
        case {"restorer": "none"}:
            return None
    with files.reading(path):
        raise ValueError("names no restorer")
