"""The transcripts of a run: the corpus' own, with punctuation restored where it is missing."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from meiju.config import Config
from meiju.data.corpus import UNSCORED_PARTS
from meiju.features.base import Clip
from meiju.text import punctuation
from meiju.text.punctuation.base import Restorer, is_punctuated, read_sentences
from meiju.text.punctuation.crf import restore_unlearnt
from meiju.utils import files

# All but what joins Latin letters or digits: don't, well-known, 3.5.
MARK = re.compile(r"[^\w\s'’.-]|(?<![a-zA-Z0-9])['’.-]|['’.-](?![a-zA-Z0-9])")
DIFFER = 0.3  # in the shares of punctuated sentences; below, parts count as punctuated alike
BESIDE_CHINESE = re.compile(r"(?<=[\u3400-\u9fff])\s|\s(?=[\u3400-\u9fff])")


def refine(config: Config, clips: pd.DataFrame, folder: Path, *, transcribed: pd.DataFrame) -> None:
    """Write transcripts.csv (name, sentence) and, where a restorer could be measured, punctuation.csv (its scores).

    transcribed: the clips with a transcribed sentence where they have none; the marks of those are not learnt from.
    Where the training part has marks and the others have not, or the other way round, all marks are set by restorers
    that did not learn from the sentence: otherwise members would learn from marks that are surer than any they are
    asked about.
    """
    restorer, unlearnt = None, {}
    if config.punctuation not in punctuation.UNRESTORED:
        given = [line for path in config.punctuation_texts for line in read_sentences(path)]
        punctuated = [s for s in clips.sentence[clips.part.isin(UNSCORED_PARTS)] if is_punctuated(s)]
        differ = marks_differ(transcribed)
        restorer, scores = punctuation.make_restorer(config, [*punctuated, *given], folder, drops_marks=differ)
        if restorer and differ:
            print("punctuation: the training part is punctuated unlike the rest, so all marks are restored")
            if config.punctuation == "crf":  # a model that is used as it is learnt from none of them
                unlearnt = restore_unlearnt(punctuated, given, seed=config.seed, n_jobs=config.n_jobs)
        if scores is not None:
            files.write_text(folder / "punctuation.csv", scores.to_csv(float_format="%.4f"))
            print(scores.round(3).to_string())
    sentences = pd.Series(as_read(config, restorer, list(transcribed.sentence)), transcribed.index, dtype=object)
    learnt = transcribed.part.isin(UNSCORED_PARTS) & transcribed.sentence.isin(unlearnt)
    sentences[learnt] = transcribed.sentence[learnt].map(unlearnt)
    changed = int((sentences != transcribed.sentence).sum())
    print(f"punctuation: {changed} of {len(clips)} sentences changed")
    table = clips.assign(sentence=sentences)[["name", "sentence"]]
    # All quoted: before Python 3.13, a lone carriage return is not, and readers take it for a line's end.
    files.write_text(folder / "transcripts.csv", table.to_csv(index=False, quoting=csv.QUOTE_ALL))


def marks_differ(clips: pd.DataFrame) -> bool:
    """Whether the shares of sentences with marks differ by more than DIFFER between the training part and the rest."""
    spoken = clips[clips.sentence.str.strip() != ""]
    share = spoken.sentence.map(is_punctuated).groupby(spoken.part == "training").mean()
    return len(share) == 2 and bool(abs(share[True] - share[False]) > DIFFER)


def as_read(config: Config, restorer: Restorer | None, sentences: Sequence[str]) -> list[str]:
    """Sentences as the run's encoders read them: restored, stripped of their marks, or as they are."""
    if config.punctuation == "stripped":
        return [without_marks(sentence) for sentence in sentences]
    return restorer.restore_all(sentences) if restorer else list(sentences)


def without_marks(sentence: str) -> str:
    """A sentence without punctuation, and without the spaces that stand for it beside Chinese characters."""
    return BESIDE_CHINESE.sub("", " ".join(MARK.sub(" ", sentence).split()))


def as_clips(clips: pd.DataFrame, folder: Path) -> list[Clip]:
    """What encoders may see: every clip with its refined sentence, sorted by name."""
    path = folder / "transcripts.csv"
    with files.reading(path):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table = clips[["name", "path"]].merge(table[["name", "sentence"]], on="name", validate="one_to_one")
        if len(table) < len(clips):
            raise ValueError(f"{len(clips) - len(table)} clips are missing")
    return [Clip(*row) for row in table.sort_values("name")[["name", "sentence", "path"]].itertuples(index=False)]
