"""Columns by the names that the field gives them, and cells that hold something else than they should."""

import pytest

from meiju.config import ConfigError
from meiju.data.tables import seconds, spoken
from toy_tables import TESTING, open_corpus, write_corpus


def read(root, **tables: str):
    """A corpus without clips."""
    write_corpus(root, media=[])
    for part, text in tables.items():
        (root / "Annotation" / f"{part}.csv").write_text(text, encoding="utf-8")
    return open_corpus(root, needs_media=False)


@pytest.mark.parametrize(
    "header",
    [
        "FileName,Utterance,Emotion,DA,Dialogue_ID,Speaker",
        "file_name,Transcript,EMOTION,Dialogue Act,dia_id,speaker-id",
        "Name,utterance,emotion,dialog_act,dialogue_id,speaker_id",
    ],
)
def test_columns_are_known_by_the_names_of_the_fields_corpora(tmp_path, header):
    training = f"{header}\nt1,yes,happy,agreeing,d1,Ross\nt2,no,sad,neutral,d2,Rachel\n"
    corpus = read(tmp_path, training=training)
    columns = ["name", "sentence", "emotion", "intent", "dialogue", "speaker"]
    assert corpus.part("training")[columns].to_numpy().tolist() == [
        ["t1", "yes", "happy", "agreeing", "d1", "Ross"],
        ["t2", "no", "sad", "neutral", "d2", "Rachel"],
    ]
    assert corpus.remarks == []


def test_two_columns_of_one_meaning_are_both_named(tmp_path):
    training = "FileName,Subtitle,emotion,intent,Dialogue_ID,dia_id\nt1,a,happy,neutral,1,1\nt2,b,sad,wishing,1,2\n"
    with pytest.raises(ConfigError, match="row 1: several columns for dialogue: 'Dialogue_ID' and 'dia_id'"):
        read(tmp_path, training=training)


def test_columns_that_are_not_read_are_named_once(tmp_path):
    rows = "t1,a,happy,neutral,1,x,0,5\nt2,b,sad,wishing,2,y,1,6\n"
    table = f",FileName,Subtitle,emotion,intent,Sentiment,StartTime,Unnamed: 0,start\n0,{rows}".replace(
        "\nt2", "\n1,t2"
    )
    testing = "FileName,Subtitle,Sentiment,emotion\nx1,why?,1,happy\n"
    (remark,) = read(tmp_path, training=table, testing=testing).remarks
    assert remark == "columns that are not read: 'Sentiment', 'StartTime', 'start'"


@pytest.mark.parametrize(
    ("time", "value"),
    [("12.5", 12.5), (" 7 ", 7), ("0:16:16,059", 976.059), ("1:02.5", 62.5), ("１：０２\u200b", 62), ("90:00", 5400)]
    + [(wrong, None) for wrong in ("", "-1", "1e3", "00:00:10:06", "nan")],
)
def test_times_in_all_their_forms(time, value):
    assert seconds(time) == (value if value is None else pytest.approx(value))


def test_a_text_without_words_is_no_sentence(tmp_path):
    wordless = ["♪♪", "(laughs)", "（笑）", "[door] ♪ ", "(sighs)."]
    worded = ["♪ 你好 ♪", "(laughs) no", "？！", "……"]
    assert [spoken(sentence) for sentence in (*wordless, *worded)] == [""] * len(wordless) + worded
    corpus = read(tmp_path, testing="FileName,Subtitle\nx1,♪♪\nx2,好\n")
    assert corpus.part("testing").sentence.tolist() == ["", "好"]
    (warning,) = corpus.remarks
    assert warning.startswith(f"warning: {TESTING}: 1 sentences hold no words but ♪ or a remark in brackets")


@pytest.mark.parametrize(
    ("part", "then"), [("validation", "scores are out of fold alone"), ("testing", "there is nothing to hand in")]
)
def test_a_corpus_without_validation_or_testing_is_read_with_a_warning(tmp_path, part, then):
    corpus = open_corpus(write_corpus(tmp_path, rows={part: None}, media=[]), needs_media=False)
    assert corpus.remarks == [f"warning: {tmp_path}: no table of {part} clips ({then})"]
    assert len(corpus.part(part)) == 0
