"""Restorers of ，。？！ in transcripts that lost them, by the name in --punctuation.

crf           a pair of CRFs, fitted on the run's punctuated sentences
fit:ENCODER   a pretrained encoder, fine-tuned on them
hf:MODEL      a token classification model as it is
"""

import random
import shutil
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    import torch

from meiju.config import SCRIPTS, Config, ConfigError
from meiju.text.punctuation.base import (
    MARKS,
    MIN_SENTENCES,
    Restorer,
    TooFewSentences,
    as_subtitle,
    evaluate,
    is_punctuated,
    read_sentences,
    report,
)
from meiju.text.punctuation.crf import CrfRestorer, files_of, fit_and_report
from meiju.utils import files, hub

__all__ = [
    "MARKS",
    "MIN_SENTENCES",
    "CrfRestorer",
    "Restorer",
    "TooFewSentences",
    "as_subtitle",
    "evaluate",
    "fingerprint",
    "fit_and_report",
    "is_punctuated",
    "load_restorer",
    "make_restorer",
    "read_sentences",
    "restore_unlearnt",
    "restorer_files",
]

PARTS = 5  # of the sentences, for restorers that did not learn from one of them
RECORD = "punctuation.json"  # says which restorer a folder holds, if any
CRF, FITTED = "restorer.json", "restorer"  # where these restorers lie


def fingerprint(config: Config) -> dict:
    """What decides a restorer besides its sentences. Raises ConfigError for a model that is missing or unfit."""
    kind, _, model = config.punctuation.partition(":")
    decided_by = {"punctuation": kind}
    if kind in ("hf", "fit"):
        try:
            decided_by |= {"model": hub.identity(model), "transformers": version("transformers")}
        except hub.MissingModel as error:
            raise hub.MissingModel(f"--punctuation: {error}") from None
    if kind == "hf":
        from meiju.text.punctuation import pretrained

        pretrained.marks_of_model(model)  # refuses a model without marks before any work
    if kind == "fit":
        decided_by |= {"epochs": config.punctuation_epochs, "lr": config.punctuation_lr}
    return decided_by


def make_restorer(
    config: Config, punctuated: Sequence[str], folder: Path, *, drops_marks: bool, device: "torch.device"
) -> tuple[Restorer, pd.DataFrame | None]:
    """The restorer that --punctuation names, and its scores: None where there is nothing to measure it on.

    drops_marks: see `Restorer`. `load_restorer` finds it in the folder again. Raises TooFewSentences where there is too
    little to learn from.
    """
    kind, _, model = config.punctuation.partition(":")
    record: dict[str, object] = {"restorer": kind, "drops marks": drops_marks}
    try:
        if kind == "crf":
            path, n_jobs = folder / CRF, config.n_jobs
            restorer, scores = fit_and_report(punctuated, seed=config.seed, model_path=path, n_jobs=n_jobs)
        elif kind == "fit":
            from meiju.text.punctuation import pretrained

            options = {"epochs": config.punctuation_epochs, "lr": config.punctuation_lr}
            restorer, scores = pretrained.fit_and_report(
                model, punctuated, folder, **options, seed=config.seed, device=device
            )
        else:
            from meiju.text.punctuation import pretrained

            marked = sorted({s for s in punctuated if is_punctuated(s)})
            restorer = pretrained.open_pretrained(model, marked, device=device)
            scores = report(restorer, marked) if marked else None
            record |= {"model": model, "special tokens": restorer.special_tokens}
    except TooFewSentences:
        # Recorded too: where there is no record, a restorer was lost.
        files.write_json(folder / RECORD, {"restorer": "none"})
        raise
    files.write_json(folder / RECORD, record)
    restorer.drops_marks = drops_marks
    return restorer, scores


def restore_unlearnt(
    config: Config, sentences: Iterable[str], given: Sequence[str], folder: Path, *, device: "torch.device"
) -> dict[str, str]:
    """Punctuated sentences restored from their words alone, each by a restorer that did not learn from it.

    The restorers of `make_restorer` are fitted once for each of PARTS parts of the sentences, on the other parts and on
    the sentences that are `given` besides (cross-fitting).
    """
    kind, _, model = config.punctuation.partition(":")
    distinct = sorted(set(sentences))
    random.Random(config.seed).shuffle(distinct)
    options = {"epochs": config.punctuation_epochs, "lr": config.punctuation_lr, "seed": config.seed, "device": device}
    restored = {}
    for k in range(PARTS):
        part, others = distinct[k::PARTS], [s for j in range(PARTS) if j != k for s in distinct[j::PARTS]]
        if kind == "crf":
            path = folder / f"part{k}" / CRF
            path.parent.mkdir(exist_ok=True)
            restorer = CrfRestorer.fit([*others, *given], path=path, n_jobs=config.n_jobs)
        else:
            from meiju.text.punctuation import pretrained

            restorer = pretrained.fit(model, [*others, *given], folder / f"part{k}", **options)
        restored |= dict(zip(part, restorer.restore_all([as_subtitle(sentence) for sentence in part]), strict=True))
    for k in range(PARTS):
        shutil.rmtree(folder / f"part{k}", ignore_errors=True)
    return restored


def load_restorer(folder: Path, *, device: "torch.device") -> Restorer | None:
    """The restorer that `make_restorer` left in a folder; None where there was too little to learn from."""
    record = _read_record(folder)
    match record:
        case {"restorer": "none"}:
            return None
        case {"restorer": "crf", "drops marks": bool()}:
            restorer = CrfRestorer(folder / CRF)
        case {"restorer": "fit", "drops marks": bool()}:
            from meiju.text.punctuation.pretrained import TokenRestorer

            restorer = TokenRestorer(str(folder / FITTED), device=device)
        case {"restorer": "hf", "drops marks": bool(), "model": str(model), "special tokens": bool(special_tokens)}:
            from meiju.text.punctuation.pretrained import TokenRestorer

            restorer = TokenRestorer(model, device=device, special_tokens=special_tokens)
        case _:
            with files.reading(folder / RECORD):
                raise ValueError("names no restorer")
    restorer.drops_marks = record["drops marks"]
    return restorer


def restorer_files(folder: Path) -> list[Path]:
    """The files that `load_restorer` reads, whether they are there or not."""
    kind = _read_record(folder).get("restorer")
    paths = files_of(folder / CRF) if kind == "crf" else []
    if kind == "fit":
        paths = [folder / FITTED / "config.json", *(path for path in (folder / FITTED).rglob("*") if path.is_file())]
    return [folder / RECORD, *paths]


def _read_record(folder: Path) -> dict:
    path = folder / RECORD
    if not path.is_file():
        raise ConfigError(f"the run has lost {path}; run {SCRIPTS}/02_refine_punctuation.py again, with its arguments")
    return files.read_json(path)
