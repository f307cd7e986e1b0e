"""A tiny CPED, in the tables of its owners."""

import pytest

from meiju.config import ConfigError
from owners_files import as_corpus, prepared, toy_clip, write_rows

EMOTIONS, ACTS = ("neutral", "negative-other", "happy"), ("question", "answer")


def rows(tv: int, n: int) -> list[dict]:
    return [
        {
            "TV_ID": f"{tv:02}",
            "Dialogue_ID": f"{tv:02}_{k // 4:03}",
            "Utterance_ID": f"{tv:02}_{k // 4:03}_{k % 4:03}",
            "Speaker": ("于春晓", "其他")[k % 2],
            "Gender": "unknown",
            "Sentiment": "neutral",
            "Emotion": EMOTIONS[k % 3],
            "DA": ACTS[k // 2 % 2],
            "Utterance": f"第{k}句 怎么了",
        }
        for k in range(n)
    ]


@pytest.fixture
def source(tmp_path):
    for file, tv, n in (("train_split.csv", 1, 24), ("valid_split.csv", 32, 8), ("test_split.csv", 27, 8)):
        write_rows(tmp_path / "source" / "data" / "CPED" / file, rows(tv, n), encoding="utf-8-sig")
    return tmp_path / "source"


def test_sentences_alone_are_a_corpus_in_the_owners_parts(source, tmp_path):
    _, truth = prepared("cped", source, tmp_path / "out")
    corpus = as_corpus(tmp_path / "out", needs_media=False)
    assert corpus.clips.part.value_counts().to_dict() == {"training": 24, "validation": 8, "testing": 8}
    assert set(corpus.part("validation").name.str[:3]) == {"32_"}
    clips = corpus.clips.set_index("name")
    assert clips.loc["01_000_000"].sentence == "第0句 怎么了"
    assert clips.loc["01_000_000"].speaker == "01_于春晓"
    # Who has no name is somebody else in another dialogue.
    assert clips.loc["01_000_001"].speaker == "01_000_其他"
    assert tuple(truth.loc["27_000_001", ["emotion", "intent", "dialogue"]]) == ("negative-other", "question", "27_000")


def test_clips_are_found_by_the_utterance_and_those_without_are_counted(source, tmp_path):
    toy_clip(source / "clips" / "01" / "01_000_000.mp4")
    text, _ = prepared("cped", source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "clips").iterdir()] == ["01_000_000.mp4"]
    assert "- no clip of this name: 39 (" in text


def test_another_table_of_the_same_name_is_refused(source, tmp_path):
    write_rows(source / "data" / "CPED" / "test_split.csv", [{"TV_ID": "27", "Utterance": "好"}])
    with pytest.raises(ConfigError, match=r"test_split\.csv: there is no column Utterance_ID, "):
        prepared("cped", source, tmp_path / "out")
