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

from meiju.config import Config, ConfigError
from meiju.text.punctuation import pretrained
from meiju.text.punctuation.base import (
    MARKS,
    MIN_SENTENCES,
    Restorer,
    TooFewSentences,
    evaluate,
    is_punctuated,
    read_sentences,
    report,
)
from meiju.text.punctuation.crf import CrfRestorer, files_of, fit_and_report
from meiju.text.punctuation.pretrained import TokenRestorer
from meiju.utils import files, hub

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
    "restorer_files",
]

RECORD = "punctuation.json"  # says which restorer a folder holds, if any
CRF, FITTED = "restorer.json", "restorer"  # where these restorers lie


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
    try:
        if kind == "crf":
            path, n_jobs = folder / CRF, config.n_jobs
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
    except TooFewSentences:
        # Recorded too: where there is no record, a restorer was lost.
        files.write_json(folder / RECORD, {"restorer": "none"})
        raise
    files.write_json(folder / RECORD, record)
    return restorer, scores


def load_restorer(folder: Path, *, device: torch.device) -> Restorer | None:
    """The restorer that `make_restorer` left in a folder; None where there was too little to learn from."""
    match _read_record(folder):
        case {"restorer": "crf"}:
            return CrfRestorer(folder / CRF)
        case {"restorer": "fit"}:
            return TokenRestorer(str(folder / FITTED), device=device)
        case {"restorer": "hf", "model": str(model), "special tokens": bool(special_tokens)}:
            return TokenRestorer(model, device=device, special_tokens=special_tokens)
        case {"restorer": "none"}:
            return None
    with files.reading(folder / RECORD):
        raise ValueError("names no restorer")


def restorer_files(folder: Path) -> list[Path]:
    """The files that `load_restorer` reads, whether they are there or not."""
    kind = _read_record(folder).get("restorer")
    own = files_of(folder / CRF) if kind == "crf" else []
    if kind == "fit":
        own = [folder / FITTED / "config.json", *(path for path in (folder / FITTED).rglob("*") if path.is_file())]
    return [folder / RECORD, *own]


def _read_record(folder: Path) -> dict:
    path = folder / RECORD
    if not path.is_file():
        raise ConfigError(f"the run has lost {path}; run scripts/02_refine_punctuation.py again, with its arguments")
    return files.read_json(path)
