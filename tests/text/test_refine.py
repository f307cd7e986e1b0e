import re
from pathlib import Path

import pandas as pd
import pytest

from meiju.config import Config, ConfigError
from meiju.text import punctuation, refine
from meiju.text.punctuation import crf
from meiju.text.punctuation.base import MARKS, as_subtitle
from meiju.text.punctuation.crf import CrfRestorer
from meiju.text.refine import without_marks

WORDS = ("去上班", "没吃饭", "喜欢这个", "要回家", "不知道", "等一下", "打电话", "看电影")
LINES = [f"{who}今天{one}，明天{one[::-1]}{'。？！'[k % 3]}" for who in "我你他" for k, one in enumerate(WORDS)]
LINES += [line.replace("今天", day) for line in LINES for day in ("昨天", "后天")]


@pytest.mark.parametrize(
    ("sentence", "bare"),
    [
        ("你好，世界！", "你好世界"),
        ("你 嗯 你可能对", "你嗯你可能对"),  # a space stands for a mark
        ("Hello, world -- I don't know 3.5!", "Hello world I don't know 3.5"),
        ("我是 Joey，OK？", "我是Joey OK"),
        ("？！", ""),
        ("", ""),
    ],
)
def test_marks_and_what_stands_for_them_are_stripped(sentence, bare):
    assert without_marks(sentence) == bare
    assert as_subtitle("天哪！你去哪儿了？3.5, ok?") == "天哪 你去哪儿了 3.5 ok"


def test_sentences_are_read_back_as_they_were(tmp_path):
    sentences = ["a\rb", "=1+1", "-好", '"', "a\nb", "a,b", "", " ", "<b>", "NaN"]
    clips = pd.DataFrame(
        {"name": [f"clip{k}" for k in range(len(sentences))], "sentence": sentences, "path": "", "part": "testing"}
    )
    refine.refine(Config("sample", punctuation="none"), clips, tmp_path, transcribed=clips)
    assert [clip.sentence for clip in refine.as_clips(clips, tmp_path)] == sentences


def test_too_few_sentences_say_what_to_do_and_a_restorer_that_is_lost_is_not_taken_for_none(tmp_path, capsys):
    config = Config("sample", device="cpu")
    few = [*LINES[: crf.MIN_SENTENCES - 1], *LINES[:5], "没有标点"]  # repeated and unpunctuated sentences do not count
    clips = pd.DataFrame({"name": map(str, range(len(few))), "sentence": few, "part": "training"})
    refine.refine(config, clips, tmp_path, transcribed=clips)
    assert re.search(rf"left as it is: {crf.MIN_SENTENCES - 1} .*--punctuation-texts", capsys.readouterr().out)
    assert punctuation.load_restorer(config, tmp_path) is None
    (tmp_path / "punctuation.json").unlink()
    with pytest.raises(ConfigError, match=r"has lost .*punctuation\.json"):
        punctuation.load_restorer(config, tmp_path)


def corpus_of(marked: str, unmarked: str) -> pd.DataFrame:
    """Clips of two parts; the sentences of the latter are as subtitles have them."""
    parts = {marked: LINES, unmarked: [as_subtitle(line) for line in LINES]}
    rows = [(f"{part}{k}", part, line) for part, lines in parts.items() for k, line in enumerate(lines)]
    return pd.DataFrame(rows, columns=["name", "part", "sentence"]).assign(path="")


def refined(config: Config, clips: pd.DataFrame, folder: Path) -> pd.Series:
    refine.refine(config, clips, folder, transcribed=clips)
    return pd.Series({clip.name: clip.sentence for clip in refine.as_clips(clips, folder)})


def test_where_only_the_training_part_has_marks_all_parts_come_out_alike(tmp_path, monkeypatch):
    config, clips = Config("sample", device="cpu", jobs=1), corpus_of("training", "testing")
    learnt, fit = [], CrfRestorer.fit.__func__

    def watched(cls, sentences, **options):
        learnt.append(set(sentences))
        return fit(cls, sentences, **options)

    monkeypatch.setattr(CrfRestorer, "fit", classmethod(watched))
    sentences = refined(config, clips, tmp_path)
    parts = learnt[-crf.PARTS :]
    assert all(sum(line not in part for part in parts) == 1 for line in LINES)  # one restorer did not learn from it
    shares = sentences.map(lambda s: sum(c in MARKS for c in s)).groupby(clips.set_index("name").part).mean()
    assert shares["training"] == pytest.approx(shares["testing"], rel=0.1)
    # New sentences are read as the test clips were, whatever marks they have.
    restorer = punctuation.load_restorer(config, tmp_path)
    assert refine.as_read(config, restorer, LINES) == list(sentences[[f"testing{k}" for k in range(len(LINES))]])


def test_marks_of_parts_that_are_punctuated_alike_stay(tmp_path):
    clips = corpus_of("training", "testing").assign(sentence=[*LINES, *LINES])
    assert set(refined(Config("sample", device="cpu", jobs=1), clips, tmp_path)) == set(LINES)
