"""Trains the variants of a run beside it, and says what each is worth: the run's settings with one decision changed.

All variants share the run's folder, so what one of them trained, another finds: results lie in folders named by what
decides them. Where a variant has fewer head counts than the run, it gets as many more seeds, so that all ensembles are
of one size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from meiju import pipeline
from meiju.config import Config, require
from meiju.evaluation import scores
from meiju.evaluation.metrics import SCORES
from meiju.evaluation.scores import OUT_OF_FOLD, System
from meiju.run import Run
from meiju.training import members, workers

FULL = "full"


@dataclass(frozen=True)
class Variant:
    """One row of the ablation: a name, its group, what is different in words, and its settings."""

    name: str
    group: str
    what: str
    config: Config
    pseudo: bool = True  # whether it has a second stage, with pseudo-labels


def all_variants(config: Config) -> dict[str, Variant]:
    """Every variant of a run by name, the run itself (FULL) first; none of the others has its settings."""
    variants = {FULL: Variant(FULL, FULL, "the run as it is", config)}

    def add(group: str, name: str, what: str, *, supervised: bool = False, **changes) -> None:
        # changes: by setting its value, or by group of settings those that are other ones
        new = {key: replace(getattr(config, key), **to) if isinstance(to, dict) else to for key, to in changes.items()}
        varied = replace(config, **new)
        if varied != config or supervised:
            variants[name] = Variant(name, group, what, varied, not supervised)

    def fused(fusion: str, heads: tuple[int, ...]) -> dict:
        seeds = max(1, len(every) // len(heads)) * config.train.seeds
        return {"model": {"fusion": fusion, "heads": heads}, "train": {"seeds": seeds}}

    every, first = config.model.heads, config.model.heads[:1]
    one, only = {"model": {"heads": first}, "train": {"seeds": 1}}, "labelled clips only"
    add("pseudo", "supervised-one-model", f"{only}, one model ({first[0]} heads)", supervised=True, **one)
    add("pseudo", "supervised", f"{only}, all members", supervised=True)
    add("pseudo", "gate-soft", "the whole pool, calibrated probabilities as targets", pseudo={"gate": "soft"})
    paper = {"gate": "paper", "threshold": 0.99}
    add("pseudo", "gate-paper", "accepted above 0.99 as the networks say it", pseudo=paper)
    add("pseudo", "warm-start", "stage 2 from the stage-1 weights", stage2={"warm_start": True})

    add("fusion", "concat", "tokens side by side (no heads, more seeds)", **fused("concat", first))
    add("fusion", "late", "one classifier per stream, averaged (no heads, more seeds)", **fused("late", first))
    add("fusion", "attention", "no interaction of tasks", **fused("attention", every))
    add("fusion", "interactive", "tasks interact", **fused("interactive", every))
    for heads in sorted({1, 2, 4, 8, *every}):
        if config.model.width % heads == 0:
            what = f"interactive, {heads} heads only, more seeds"
            add("fusion", f"heads-{heads}", what, **fused("interactive", (heads,)))
    add("fusion", "network-alone", "members without their logistic-regression head", model={"linear": 0.0})
    alike = "all streams weigh the same for both tasks"
    add("fusion", "equal-stream-weights", alike, model={"weigh_streams": False})

    add("punctuation", "punctuation-stripped", "all marks removed", punctuation="stripped")
    add("punctuation", "punctuation-given", "transcripts as given", punctuation="none")
    add("punctuation", "punctuation-refined", "punctuation restored", punctuation="crf")

    streams = dict(zip(config.encoders, config.streams, strict=True))
    for name, stream in streams.items():
        add("streams", f"only-{name}", f"{name} alone", streams=(stream,))
    for name in streams if len(streams) > 2 else ():  # of two streams, leaving one out is the other alone
        others = tuple(stream for other, stream in streams.items() if other != name)
        add("streams", f"without-{name}", f"without {name}", streams=others)
    return variants


def choose(config: Config, names: Sequence[str]) -> list[Variant]:
    """The full run and the variants asked for by name, by group, or as 'all'. Raises ConfigError for unknown names."""
    known = all_variants(config)
    groups = list(dict.fromkeys(variant.group for variant in known.values()))
    listed = f"known groups: all, {', '.join(groups[1:])}; known variants: {', '.join(list(known)[1:])}"
    for name in names:
        require(name in ("all", *known, *groups), f"--variants: no variant {name!r} differs from the run; {listed}")
    wanted = {FULL, *names}
    return [v for v in known.values() if "all" in wanted or v.name in wanted or v.group in wanted]


def carry_out(run: Run, variant: Variant) -> dict[str, System]:
    """Train what is missing of a variant, the steps before stage 1 first; the predictions of its members by part."""
    varied = run.variant(variant.config)
    pipeline.refine_transcripts(varied)
    pipeline.extract_features(varied)
    if variant.pseudo:
        pipeline.train_stage1(varied)
        pipeline.label_pool(varied)
        pipeline.train_stage2(varied)
        folder = varied.result("stage2")
    else:  # without the calibration models: there is no gate to fit
        folder, plan = varied.folder("stage1"), members.plan(varied.config, calibration=False)
        workers.train(varied.config, pipeline.stage_data(varied), plan, folder)
    return scores.read_stage(variant.name, varied.config, varied.corpus, varied.folds, folder).together


def table(found: list[tuple[Variant, dict[str, System]]]) -> pd.DataFrame:
    """One row per variant and part: E, I, JRBM, log-losses, the difference of each from the full run, and intervals.

    Columns variant, what, those of `meiju.evaluation.scores.score_rows` (without fold_std) and those of
    `meiju.evaluation.scores.differences`. found: what was carried out, the full run first.
    """
    scored = scores.score_systems([({"variant": v.name, "what": v.what}, by_part) for v, by_part in found])
    compared = [scores.differences([by_part[part] for _, by_part in found]) for part in found[0][1]]
    return pd.concat([scored.drop(columns="fold_std"), pd.concat(compared, ignore_index=True)], axis=1)


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
    columns = ["variant", "what", *SCORES, "log-loss", "difference in E", "in I", "in JRBM", "in log-loss", "interval"]
    for part, rows in compared.groupby("part", sort=False):
        lines += ["", f"**{part}**, {rows.n_clips.iloc[0]} clips", "", f"| {' | '.join(columns)} |"]
        lines.append(f"|{'---|' * len(columns)}")
        for _, row in rows.iterrows():
            scored = [f"{row[name]:.4f}" for name in (*SCORES, "log_loss")]
            compared_with = [_difference(row, name) for name in (*SCORES, "log_loss")]
            cells = [row.variant, row.what, *scored, *compared_with, "–" if row.variant == FULL else row.interval]
            lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def for_terminal(compared: pd.DataFrame) -> str:
    """The out-of-fold rows as text: scores, differences in JRBM and log-loss with intervals, and what these cover."""
    rows = compared[compared.part == OUT_OF_FOLD].round(4)
    differences = [f"d_{name}{end}" for name in ("JRBM", "log_loss") for end in ("", "_low", "_high")]
    return rows[["variant", *SCORES, "log_loss", *differences, "interval"]].to_string(index=False)


def _difference(row: pd.Series, name: str) -> str:
    if row.variant == FULL:
        return "–"
    low, high = row[f"d_{name}_low"], row[f"d_{name}_high"]
    text = f"{row[f'd_{name}']:+.4f} ({low:+.4f} to {high:+.4f})"
    return f"**{text}**" if scores.is_beyond_chance(low, high, row.interval) else text
