"""A tiny IEMOCAP with EMOTyDA's acts, in the folders of its owners."""

import pandas as pd
import pytest

from meiju.config import ConfigError
from owners_files import as_corpus, prepared, toy_clip, write_rows

EMOTIONS, ACTS = ("neu", "hap", "fru", "xxx"), ("q", "ans", "oth")
TURNS = ("F000", "M000", "F001", "M001")


@pytest.fixture
def source(tmp_path):
    """EMOTyDA's tables of five sessions, with one dialogue each."""
    for session in range(1, 6):
        table = [
            {
                "TURN": f"Ses0{session}F_impro01_{turn}",
                "UTTERANCE": f"It\x92s turn {turn}.",
                "DA": ACTS[(session + k) % 3],
                "EMOTION": EMOTIONS[k],
            }
            for k, turn in enumerate(TURNS)
        ]
        write_rows(tmp_path / "source" / "Dataset" / f"iemocap_session{session}.csv", table, encoding="latin-1")
    return tmp_path / "source"


def test_sounds_of_the_six_emotions_are_divided_by_sessions(source, tmp_path):
    for session in range(1, 6):
        dialogue = f"Ses0{session}F_impro01"
        for turn in TURNS:
            toy_clip(source / f"Session{session}" / "sentences" / "wav" / dialogue / f"{dialogue}_{turn}.wav")
    text, truth = prepared("iemocap", source, tmp_path / "out")
    corpus = as_corpus(tmp_path / "out", needs_media=True)
    assert corpus.clips.part.value_counts().to_dict() == {"training": 9, "validation": 3, "testing": 3}
    clip = corpus.clips.set_index("name").loc["Ses01F_impro01_M000"]
    row = tuple(clip[["sentence", "emotion", "dialogue", "speaker"]])
    assert row == ("It’s turn M000.", "happy", "Ses01F_impro01", "Ses01M")
    assert set(truth.speaker) == {"Ses05F", "Ses05M"}
    assert "- emotion xxx, not one of the six: 5 (Ses01F_impro01_M001" in text


def test_without_sounds_turns_are_spans_of_the_films(source, tmp_path):
    for session in range(1, 6):
        dialog = source / f"Session{session}" / "dialog"
        toy_clip(dialog / "wav" / f"Ses0{session}F_impro01.wav")
        toy_clip(dialog / "avi" / "DivX" / f"Ses0{session}F_impro01.avi", seconds=5)
        lines = [
            f"[{k}.2901 - {k}.8000]\tSes0{session}F_impro01_{t}\tneu\t[2.5, 2.5, 2.5]" for k, t in enumerate(TURNS)
        ]
        (dialog / "EmoEvaluation").mkdir()
        (dialog / "EmoEvaluation" / f"Ses0{session}F_impro01.txt").write_text(
            "% header\n\n" + "\n\n".join(lines) + "\n"
        )
    prepared("iemocap", source, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "Annotation" / "Training_transcription.csv").set_index("FileName")
    span = table.loc["Ses01F_impro01_M000", ["file", "start", "end"]]
    assert tuple(span) == ("clips/Ses01F_impro01.avi", 1.2901, 1.8)
    assert len(list((tmp_path / "out" / "clips").iterdir())) == 5


def test_tables_without_the_recordings_are_refused(source, tmp_path):
    with pytest.raises(ConfigError, match="neither sentences/wav nor EmoEvaluation"):
        prepared("iemocap", source, tmp_path / "out")
