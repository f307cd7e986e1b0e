"""Folds of the training part: drawn once, stored by clip name, joined by name ever after."""

import re
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import SCRIPTS, require
from meiju.data.corpus import Corpus
from meiju.data.labels import TASKS
from meiju.data.tables import GROUPS
from meiju.utils import files

SAME_WORDS_LENGTH = 6  # shorter lines ('好的', 'what?') are common speech, not copies


def draw(corpus: Corpus, *, n_folds: int, by: str, seed: int) -> pd.DataFrame:
    """Folds of the training clips: columns name, fold (0 to n_folds - 1), sorted by name.

    by: what is kept together, see `group`. Where something is, folds are stratified by emotion-intent pair
    (scikit-learn's StratifiedGroupKFold). Where nothing is, they are stratified (Sechidis et al. 2011) over one-hot
    emotion, intent and their pair: without the pair, rare pairs miss from some folds; and integer columns would
    silently be read as 'is not class 0'. Then, clips with the same words and labels are kept together where the
    sentence is long enough to tell them apart. Raises ConfigError where clips or groups do not fill the folds.
    """
    training = corpus.part("training").sort_values("name", ignore_index=True)
    what, groups = group(training, by)
    groups = groups if what else _same_words(training)
    together = f"{groups.nunique()} different clips or groups of them (--folds-by {by})"
    require(groups.nunique() >= n_folds, f"--folds: {together} cannot fill {n_folds} folds; give fewer folds")
    fold = _draw(training, groups, n_folds, seed, many_in_one=bool(what))
    is_full = set(fold) == set(range(n_folds))
    require(is_full, "--folds: groups of very different sizes leave a fold empty; give fewer folds")
    return pd.DataFrame({"name": training.name, "fold": fold})


def group(training: pd.DataFrame, by: str) -> tuple[str, pd.Series]:
    """What folds keep together, and of which group each training clip is; what is "" where nothing is kept together.

    by: 'dialogue' or 'speaker' (a column), 'auto' (the first of these columns that has values), 'none', or a regular
    expression whose first match in a clip's name is its group. Raises ConfigError where a clip has no group.
    """
    if by == "auto":
        by = next((column for column in GROUPS if (training[column] != "").any()), "none")
    if by == "none":
        return "", training.name
    if by in GROUPS:
        what, groups = by, training[by]
        remedy = f"fill in the column {by}, or give --folds-by none"
    else:
        matches = [re.search(by, name) for name in training.name]
        what, groups = "group of names", pd.Series([match.group() if match else "" for match in matches])
        remedy = "give --folds-by another regular expression"
    without = training.name[(groups == "").to_numpy()]
    named = f"{len(without)} training clips have no {what}, such as {', '.join(without[:3])}"
    require(len(without) == 0, f"--folds-by {by}: {named}; {remedy}")
    return what, groups


def forecast(folds: pd.DataFrame, training: pd.DataFrame, by: str) -> list[str]:
    """Why scores of test clips may be lower or higher than those out of fold: what applies to these folds.

    by: see `group`.
    """
    table, n_folds = training.merge(folds, on="name"), folds.fold.nunique()
    what, _ = group(table, by)
    speakers = table[table.speaker != ""]
    n, n_split = speakers.speaker.nunique(), int((speakers.groupby("speaker").fold.nunique() > 1).sum())
    high = "Too high for people who are new: "
    reasons = []
    if n_split:
        reasons.append(
            f"{high}{n_split} of {n} speakers have clips in several folds, so members learnt from their others."
        )
    elif n == 0 and what in ("", "dialogue"):
        known = "only dialogues are known" if what else "no speakers or dialogues are known"
        reasons.append(f"{high}{known}, so members may have learnt from other clips of a held-out clip's speaker.")
    share = f"{100 * (1 - 1 / n_folds):.0f} %"
    return [
        *reasons,
        f"Too low: a training clip is judged by the members of one fold alone, which learnt from {share} of the "
        f"training clips; a test clip by those of all {n_folds} folds together.",
    ]


def _draw(training: pd.DataFrame, groups: pd.Series, n_folds: int, seed: int, *, many_in_one: bool) -> np.ndarray:
    """The fold of each clip [N], in which its group lies whole; many_in_one: whether groups are of many clips."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold  # takes a second, and folds are drawn only once
    from sklearn.model_selection import StratifiedGroupKFold

    pair, options = training.emotion + "\x1f" + training.intent, {"shuffle": True, "random_state": seed}
    if many_in_one:
        row_of_clip = np.arange(len(training))
        splits = StratifiedGroupKFold(n_folds, **options).split(pair, pair, groups)
    else:
        # One row per group: what its first clip is. Groups are a few clips, so the balance hardly suffers.
        _, first, row_of_clip = np.unique(groups, return_index=True, return_inverse=True)
        labels = [pd.get_dummies(one, dtype=np.int64) for one in (training.emotion, training.intent, pair)]
        splits = MultilabelStratifiedKFold(n_folds, **options).split(first[:, None], np.hstack(labels)[first])
    fold = np.full(row_of_clip.max() + 1, -1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # describe() tells how even the folds are
        for number, (_, held_out) in enumerate(splits):
            fold[held_out] = number
    return fold[row_of_clip]


def deviations(folds: pd.DataFrame, training: pd.DataFrame) -> pd.DataFrame:
    """How far the folds are from an even split: per class and per pair, the worst difference in clips.

    Columns kind, what, clips, even (clips a fold would hold), worst (largest difference of a fold from it).
    """
    table = training.merge(folds, on="name")
    table["pair"] = table.emotion + " + " + table.intent
    n_folds = folds.fold.nunique()
    rows = []
    for column in (*TASKS, "pair"):
        counts = pd.crosstab(table[column], table.fold)
        even = counts.sum(axis=1) / n_folds
        worst = counts.sub(even, axis=0).abs().max(axis=1)
        rows += [(column, name, int(counts.loc[name].sum()), even[name], worst[name]) for name in counts.index]
    return pd.DataFrame(rows, columns=["kind", "what", "clips", "even", "worst"])


def describe(folds: pd.DataFrame, training: pd.DataFrame, by: str) -> str:
    """Sizes of the folds, what they keep together (see `group`), and the worst deviation per class and of ten pairs."""
    table = deviations(folds, training).round(1)
    classes, pairs = table[table.kind != "pair"], table[table.kind == "pair"]
    sizes = ", ".join(str(n) for n in folds.fold.value_counts().sort_index())
    what, groups = group(training, by)
    kept = f"clips of a {what} ({groups.nunique()} of them) are kept together" if what else "nothing is kept together"
    lines = [f"{folds.fold.nunique()} folds of {sizes} clips; {kept} (--folds-by)"]
    lines += ["worst deviation from an even split, in clips:", classes.to_string(index=False)]
    lines += [f"the worst of {len(pairs)} pairs:", pairs.nlargest(10, "worst").to_string(index=False)]
    return "\n".join(lines)


def write(folds: pd.DataFrame, path: Path) -> None:
    """Write name, fold; the file appears whole or not at all."""
    files.sweep(path.parent)
    files.write_text(path, folds.to_csv(index=False))


def read(path: Path, training: pd.DataFrame, *, n_folds: int) -> pd.DataFrame:
    """Read folds and check that they are of exactly these training clips, and as many. Raises ConfigError otherwise."""
    with files.reading(path):
        folds = pd.read_csv(path, dtype={"name": str, "fold": int}, keep_default_na=False)[["name", "fold"]]
        if set(folds.fold) != set(range(folds.fold.nunique())):
            raise ValueError("the folds are not numbered from 0")
    again = f"delete it and run {SCRIPTS}/04_make_folds.py to draw the folds again"
    is_same = sorted(folds.name) == sorted(training.name)
    require(is_same, f"{path} is not of this corpus' training clips; {again}, or choose another name with --run")
    n_found = folds.fold.nunique()
    asked = f"--folds: {path} holds {n_found} folds where {n_folds} are asked for"
    require(n_found == n_folds, f"{asked}; give --folds {n_found}, or {again}")
    return folds.sort_values("name", ignore_index=True)


def _same_words(training: pd.DataFrame) -> pd.Series:
    """Group number of each clip: clips of one long sentence and one label pair share it, whatever marks and case."""
    words = ["".join(c for c in s.casefold() if unicodedata.category(c)[0] in "LN") for s in training.sentence]
    keys = [
        f"{text}\x1f{emotion}\x1f{intent}" if len(text) >= SAME_WORDS_LENGTH else f"\x1f{name}"
        for text, emotion, intent, name in zip(words, training.emotion, training.intent, training.name, strict=True)
    ]
    return pd.Series(pd.factorize(np.array(keys))[0])
