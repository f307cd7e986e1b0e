"""Trains the variants of a run beside it, and says what each is worth.

All variants share the run's folder, so what one of them trained, another finds: results lie in folders named by what
decides them. The time that training took is kept with them, in work/<run>/ablation/.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from meiju import files, members, scores, stages
from meiju.labels import TASKS
from meiju.metrics import bootstrap, interval, joint_score
from meiju.scores import MEAN, OUT_OF_FOLD, VALIDATION, decide
from meiju.steps import Run
from meiju.variants import FULL, SUPERVISED, Variant

SCORES = ("E", "I", "JRBM")


@dataclass(frozen=True)
class Outcome:
    """A variant that was carried out: predicted class numbers by part and task, and what it took to train.

    trained: members trained for it beyond what was there; seconds: of wall time that this took (0 where none was).
    """

    variant: Variant
    predicted: dict[str, dict[str, np.ndarray]]
    trained: int
    seconds: float
    note: str = ""


def plan(run: Run, chosen: list[Variant]) -> pd.DataFrame:
    """What carrying out the variants, in this order, would mean: members there already, and members to train."""
    seen: set[Path] = set()
    rows = []
    for variant in chosen:
        paths = set(_member_files(run.variant(variant.config), variant.pseudo))
        there = {path for path in paths if path in seen or path.exists()}
        seen |= paths
        row = {"variant": variant.name, "members": len(paths), "reused": len(there), "to train": len(paths - there)}
        rows.append(row | {"what": variant.what})
    return pd.DataFrame(rows)


def carry_out(run: Run, variant: Variant) -> Outcome:
    """Train what is missing of a variant, and gather what its members say. The steps before stage 1 come first."""
    own = run.variant(variant.config)
    stages.refine_transcripts(own)
    if variant.config.punctuation != run.config.punctuation and _same_transcripts(run, own):
        full = Variant(FULL, FULL, "", run.config)
        return Outcome(variant, _predicted(run, full), 0, 0.0, "no sentence changes: the same as the full run")
    stages.extract_features(own)
    log = run.config.work / "ablation" / f"{files.digest(_identity(own, variant))}.json"
    before = files.read_json(log) if log.exists() else {"trained": 0, "seconds": 0.0}
    missing = _missing(own, variant.pseudo)
    start = time.monotonic()
    try:
        _train(own, variant.pseudo)
    finally:  # an interruption keeps the time spent so far
        trained = missing - _missing(own, variant.pseudo)
        if trained:
            seconds = before["seconds"] + time.monotonic() - start
            before = {"trained": before["trained"] + trained, "seconds": round(seconds, 1)}
            files.write_json(log, before)
    return Outcome(variant, _predicted(own, variant), before["trained"], before["seconds"])


def table(run: Run, outcomes: list[Outcome]) -> pd.DataFrame:
    """A row a variant and part: E, I, JRBM, the difference of each from the full run, and its 95 % interval.

    Differences d_E, d_I, d_JRBM with _low and _high are paired bootstraps over clips. Columns besides: variant, group,
    what, part, n_clips, JRBM_low, JRBM_high, trained (members), seconds, same (whether the variant's settings are the
    full run's), note. The first outcome is the full run.
    """
    average = run.config.corpus.average
    rows = []
    for part, names in ((OUT_OF_FOLD, run.folds.name), (VALIDATION, run.corpus.part("validation").name)):
        clips = run.corpus.clips.set_index("name").loc[list(names)]
        truth = {task: run.corpus.labels.encode(task, clips[task]) for task in TASKS}
        predictions = [outcome.predicted[part] for outcome in outcomes]
        drawn = bootstrap(truth, predictions, average)
        full = joint_score(truth, predictions[0], average)
        for k, (outcome, predicted) in enumerate(zip(outcomes, predictions, strict=True)):
            score = joint_score(truth, predicted, average)
            low, high = interval(drawn["JRBM"][k])
            row = {"variant": outcome.variant.name, "group": outcome.variant.group, "what": outcome.variant.what}
            row |= {"part": part, "n_clips": len(names), **vars(score), "JRBM_low": low, "JRBM_high": high}
            for name in SCORES:
                low, high = interval(drawn[name][k] - drawn[name][0])
                row |= {f"d_{name}": getattr(score, name) - getattr(full, name)}
                row |= {f"d_{name}_low": low, f"d_{name}_high": high}
            row |= {"trained": outcome.trained, "seconds": outcome.seconds, "same": _same(outcome.variant, run)}
            rows.append(row | {"note": _note(outcome, run)})
    return pd.DataFrame(rows)


def low_resource(found: pd.DataFrame) -> pd.DataFrame:
    """The low-resource curve of a `table`: share (0 to 1), pseudo (bool), part, JRBM, JRBM_low, JRBM_high."""
    rows = []
    for row in found.itertuples():
        if row.group == "low-resource":
            share = int(row.variant.split("-")[1]) / 100
        elif row.variant in (FULL, SUPERVISED):
            share = 1.0
        else:
            continue
        pseudo = not row.variant.endswith(SUPERVISED)
        rows.append((share, pseudo, row.part, row.JRBM, row.JRBM_low, row.JRBM_high))
    columns = ["share", "pseudo", "part", "JRBM", "JRBM_low", "JRBM_high"]
    return pd.DataFrame(rows, columns=columns).sort_values(["part", "pseudo", "share"], ignore_index=True)


def as_markdown(found: pd.DataFrame) -> str:
    """The table for a reader: a part each, differences with their intervals; bold where an interval leaves out 0."""
    lines = [
        "What each decision is worth: every row is the full run with one thing changed. Differences are from the full "
        "run, with 95 % intervals (paired bootstrap over clips); bold where the interval leaves out 0.",
    ]
    for part, rows in found.groupby("part", sort=False):
        lines += ["", f"**{part}**, {rows.n_clips.iloc[0]} clips", ""]
        lines += ["| variant | what | E | I | JRBM | difference in E | in I | in JRBM | training |"]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for _, row in rows.iterrows():
            scored = [f"{row[name]:.4f}" for name in SCORES]
            cells = [row.variant, row.what, *scored, *(_difference(row, name) for name in SCORES), row.note]
            lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _difference(row: pd.Series, name: str) -> str:
    if row.variant == FULL:
        return "–"
    low, high = row[f"d_{name}_low"], row[f"d_{name}_high"]
    text = f"{row[f'd_{name}']:+.4f} ({low:+.4f} to {high:+.4f})"
    return f"**{text}**" if low > 0 or high < 0 else text


def _note(outcome: Outcome, run: Run) -> str:
    if outcome.note:
        return outcome.note
    if _same(outcome.variant, run) and outcome.variant.name != FULL:
        return "is the full run"
    if outcome.trained == 0:
        return "all reused"
    return f"{outcome.trained} members in {outcome.seconds:.0f} s"


def _same(variant: Variant, run: Run) -> bool:
    return variant.pseudo and variant.config == run.config


def _train(own: Run, pseudo: bool) -> None:
    if pseudo:
        stages.train_stage1(own)
        stages.label_pool(own)
        stages.train_stage2(own)
    else:  # without the members that check teachers: there is no gate to fit
        plan = members.plan(own.config, checks=False)
        members.train(own.config, own.data(), plan, own.folder("stage1"), stage=1, label="stage 1")


def _predicted(own: Run, variant: Variant) -> dict[str, dict[str, np.ndarray]]:
    folder = own.result("stage2") if variant.pseudo else own.folder("stage1")
    stage = scores.read_stage(variant.name, own.config, own.corpus, own.folds, folder)
    return {OUT_OF_FOLD: decide(stage.out_of_fold[MEAN]), VALIDATION: decide(stage.validation[MEAN])}


def _member_files(own: Run, pseudo: bool) -> list[Path]:
    """The predictions of all members that a variant needs, teachers included."""
    named = [own.folder("stage1") / f"{m.stem}.npz" for m in members.plan(own.config, checks=pseudo)]
    while pseudo and own:
        named += [own.folder("stage2") / f"{m.stem}.npz" for m in members.plan(own.config, checks=False)]
        own = own.round_before
    return named


def _missing(own: Run, pseudo: bool) -> int:
    return sum(not path.exists() for path in _member_files(own, pseudo))


def _same_transcripts(first: Run, second: Run) -> bool:
    return len({files.file_digest(run.result("transcripts") / "transcripts.csv") for run in (first, second)}) == 1


def _identity(own: Run, variant: Variant) -> dict:
    """What the time log of a variant goes by: where its last members lie, and which they are."""
    step = "stage2" if variant.pseudo else "stage1"
    heads, seeds = own.config.model.heads, own.config.train.seeds
    return {"step": step, "folder": own.folder(step).name, "heads": list(heads), "seeds": seeds}
