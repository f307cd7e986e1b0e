"""Trains the variants of a run beside it, and says what each is worth.

All variants share the run's folder, so what one of them trained, another finds: results lie in folders named by what
decides them. The time that training took is kept with them, in work/<run>/ablation/.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from meiju import pipeline
from meiju.analysis.variants import FULL, Variant
from meiju.evaluation import scores
from meiju.evaluation.metrics import SCORES
from meiju.evaluation.scores import OUT_OF_FOLD, System
from meiju.run import Run
from meiju.training import members, workers
from meiju.utils import files


@dataclass(frozen=True)
class Outcome:
    """A variant that was carried out: its predictions and members by part, and what it took to train.

    trained: members trained for it beyond what was there; seconds: of wall time that this took (0 where none was).
    """

    variant: Variant
    systems: dict[str, System]
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
    """Train what is missing of a variant, the steps before stage 1 first, and gather the predictions of its members."""
    varied = run.variant(variant.config)
    pipeline.refine_transcripts(varied)
    if variant.config.punctuation != run.config.punctuation and _same_transcripts(run, varied):
        full = Variant(FULL, FULL, "", run.config)
        return Outcome(variant, _systems(run, full), 0, 0.0, "no sentence changes: the same as the full run")
    pipeline.extract_features(varied)
    log = run.config.work / "ablation" / f"{files.digest(_identity(varied, variant))}.json"
    before = files.read_json(log) if log.exists() else {"trained": 0, "seconds": 0.0}
    missing = _missing(varied, variant.pseudo)
    start = time.monotonic()
    try:
        _train(varied, variant.pseudo)
    finally:  # an interruption keeps the time spent so far
        trained = missing - _missing(varied, variant.pseudo)
        if trained:
            seconds = before["seconds"] + time.monotonic() - start
            before = {"trained": before["trained"] + trained, "seconds": round(seconds, 1)}
            files.write_json(log, before)
    return Outcome(variant, _systems(varied, variant), before["trained"], before["seconds"])


def table(run: Run, outcomes: list[Outcome]) -> pd.DataFrame:
    """One row per variant and part: E, I, JRBM, log-losses, the difference of each from the full run, and intervals.

    Columns variant, group, what, part, those of `meiju.evaluation.scores.score_rows` (without fold_std), those of
    `meiju.evaluation.scores.differences`, trained (members), seconds, same (whether the
    variant's settings are the full run's), note. The first outcome is the full run.
    """
    average, units = run.config.corpus.average, scores.units_by_part(run.config, run.corpus, run.folds)
    tables = []
    for part, truth, _ in scores.parts(run.corpus, run.folds):
        systems = [outcome.systems[part] for outcome in outcomes]
        predictions, losses = [system.predicted for system in systems], [system.losses(truth) for system in systems]
        scored = scores.score_rows(truth, predictions, losses, average, units[part]).drop(columns="fold_std")
        compared = scores.differences(truth, systems, average, units=units[part])
        tables.append(pd.concat([_named(run, outcomes).assign(part=part), scored, compared], axis=1))
    return pd.concat(tables, ignore_index=True)


def _named(run: Run, outcomes: list[Outcome]) -> pd.DataFrame:
    """The columns of `table` that say what an outcome is."""
    rows = [
        {
            **{name: getattr(outcome.variant, name) for name in ("group", "what")},
            "variant": outcome.variant.name,
            "trained": outcome.trained,
            "seconds": outcome.seconds,
            "same": _same(outcome.variant, run),
            "note": _note(outcome, run),
        }
        for outcome in outcomes
    ]
    return pd.DataFrame(rows)


def as_markdown(compared: pd.DataFrame) -> str:
    """The table for a reader, one part after the other; bold where a difference is more than chance.

    That needs an interval which covers the seeds and leaves out 0.
    """
    lines = [
        "What each decision is worth: every row is the full run with one thing changed. Differences are from the full "
        "run, with 95 % intervals. Over clips (or speakers, or dialogues) and seeds: the interval allows for others of "
        "them and other random starts; bold where it leaves out 0. Over clips (and so on) alone: there is one seed, so "
        "the chance of training is not in the interval, and nothing is bold; train with --train.seeds 2 or more to "
        "have it. Log-loss: of both tasks added, each after the temperature that suits it out of fold; lower is "
        "better, and less of it is chance.",
    ]
    for part, rows in compared.groupby("part", sort=False):
        lines += ["", f"**{part}**, {rows.n_clips.iloc[0]} clips", ""]
        columns = ["variant", "what", *SCORES, "log-loss", "difference in E", "in I", "in JRBM", "in log-loss"]
        columns += ["interval", "training"]
        lines += [f"| {' | '.join(columns)} |"]
        lines += [f"|{'---|' * len(columns)}"]
        for _, row in rows.iterrows():
            scored = [f"{row[name]:.4f}" for name in (*SCORES, "log_loss")]
            differences = [_difference(row, name) for name in (*SCORES, "log_loss")]
            covers = "–" if row.variant == FULL else row.interval
            cells = [row.variant, row.what, *scored, *differences, covers, row.note]
            lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def for_terminal(compared: pd.DataFrame) -> str:
    """The out-of-fold rows as text: scores, differences in JRBM and log-loss with intervals, and what these cover."""
    rows = compared[compared.part == OUT_OF_FOLD].round(4)
    differences = [f"d_{name}{end}" for name in ("JRBM", "log_loss") for end in ("", "_low", "_high")]
    columns = ["variant", *SCORES, "log_loss", *differences, "interval", "note"]
    return rows[columns].to_string(index=False)


def _difference(row: pd.Series, name: str) -> str:
    if row.variant == FULL:
        return "–"
    low, high = row[f"d_{name}_low"], row[f"d_{name}_high"]
    text = f"{row[f'd_{name}']:+.4f} ({low:+.4f} to {high:+.4f})"
    return f"**{text}**" if scores.is_beyond_chance(low, high, row.interval) else text


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


def _train(varied: Run, pseudo: bool) -> None:
    if pseudo:
        pipeline.train_stage1(varied)
        pipeline.label_pool(varied)
        pipeline.train_stage2(varied)
    else:  # without the calibration models: there is no gate to fit
        plan = members.plan(varied.config, calibration=False)
        workers.train(
            varied.config, pipeline.stage_data(varied), plan, varied.folder("stage1"), stage=1, label="stage 1"
        )


def _systems(varied: Run, variant: Variant) -> dict[str, System]:
    folder = varied.result("stage2") if variant.pseudo else varied.folder("stage1")
    stage = scores.read_stage(variant.name, varied.config, varied.corpus, varied.folds, folder)
    return {part: stage.system(part) for part in stage.groups}


def _member_files(varied: Run, pseudo: bool) -> list[Path]:
    """The predictions of all members that a variant needs, teachers included."""
    named = [varied.folder("stage1") / f"{m.stem}.npz" for m in members.plan(varied.config, calibration=pseudo)]
    if pseudo:
        named += [varied.folder("stage2") / f"{m.stem}.npz" for m in members.plan(varied.config, calibration=False)]
    return named


def _missing(varied: Run, pseudo: bool) -> int:
    return sum(not path.exists() for path in _member_files(varied, pseudo))


def _same_transcripts(first: Run, second: Run) -> bool:
    return len({files.file_digest(run.result("transcripts") / "transcripts.csv") for run in (first, second)}) == 1


def _identity(varied: Run, variant: Variant) -> dict:
    """What the time log of a variant goes by: where its last members lie, and which they are."""
    step = "stage2" if variant.pseudo else "stage1"
    heads, seeds = varied.config.model.heads, varied.config.train.seeds
    return {"step": step, "folder": varied.folder(step).name, "heads": list(heads), "seeds": seeds}
