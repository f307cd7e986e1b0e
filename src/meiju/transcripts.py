"""The transcripts of a run: the corpus' own, with punctuation restored where it is missing."""

import re
from pathlib import Path

import pandas as pd

from meiju import files
from meiju.config import Config
from meiju.corpus import LEARNT_FROM
from meiju.encoders import Clip
from meiju.punctuation import TooFewSentences, fit_and_report, is_punctuated, read_sentences

# All but what joins Latin letters or digits: don't, well-known, 3.5.
MARK = re.compile(r"[^\w\s'’.-]|(?<![a-zA-Z0-9])['’.-]|['’.-](?![a-zA-Z0-9])")
BESIDE_CHINESE = re.compile(r"(?<=[\u3400-\u9fff])\s|\s(?=[\u3400-\u9fff])")


def refine(config: Config, clips: pd.DataFrame, folder: Path) -> None:
    """Write transcripts.csv (name, sentence) and, where a restorer was fitted, punctuation.csv (its scores)."""
    sentences = clips.sentence
    if config.punctuation == "crf":
        given = [line for path in config.punctuation_texts for line in read_sentences(path)]
        own = [s for s in clips.sentence[clips.part.isin(LEARNT_FROM)] if is_punctuated(s)]
        try:
            restorer, scores = fit_and_report([*own, *given], seed=config.seed, model_path=folder / "restorer.json")
        except TooFewSentences as error:
            print(f"punctuation is left as it is: {error}")
        else:
            sentences = clips.sentence.map(restorer.restore)
            files.write_text(folder / "punctuation.csv", scores.to_csv(float_format="%.4f"))
            print(scores.round(3).to_string())
    elif config.punctuation == "stripped":
        sentences = clips.sentence.map(without_marks)
    changed = int((sentences != clips.sentence).sum())
    print(f"punctuation: {changed} of {len(clips)} sentences changed")
    files.write_text(
        folder / "transcripts.csv", clips.assign(sentence=sentences)[["name", "sentence"]].to_csv(index=False)
    )


def without_marks(sentence: str) -> str:
    """A sentence without punctuation, and without the spaces that stand for it beside Chinese characters."""
    return BESIDE_CHINESE.sub("", " ".join(MARK.sub(" ", sentence).split()))


def as_clips(clips: pd.DataFrame, folder: Path) -> list[Clip]:
    """What encoders may see: every clip with its refined sentence, sorted by name."""
    table = pd.read_csv(folder / "transcripts.csv", dtype=str, keep_default_na=False)
    table = clips[["name", "path"]].merge(table, on="name", validate="one_to_one")
    return [
        Clip(clip.name, clip.sentence, clip.path)
        for clip in table.sort_values("name")[["name", "sentence", "path"]].itertuples(index=False)
    ]
