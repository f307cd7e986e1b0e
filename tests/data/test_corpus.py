import codecs
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from meiju.config import Config, ConfigError, CorpusConfig
from meiju.data.corpus import rare_classes
from meiju.data.labels import EMOTIONS, INTENTS
from meiju.data.tables import SHOWN
from meiju.run import Run
from meiju.utils import files
from toy_tables import HEADERS, LABELLED, NAMES, ROWS, TABLES, open_corpus, problems_of, write_corpus, write_files

TRAINING, VALIDATION, TESTING = TABLES


def only_problem(root: Path, **options) -> str:
    (problem,) = problems_of(root, **options)
    return problem


def assert_plain(corpus):
    """The corpus is the one of ROWS."""
    clips = corpus.clips
    assert clips.columns.tolist() == ["name", "part", "sentence", "emotion", "intent", "dialogue", "speaker", "path"]
    assert clips.name.tolist() == NAMES
    assert clips.part.tolist() == ["training", "training", "validation", "testing"]
    assert clips.sentence.tolist() == ["走吧", "", "yes, of course", "why?"]
    assert clips.emotion.tolist() == ["happy", "sad", "anger", ""]
    assert clips.intent.tolist() == ["suggesting", "neutral", "agreeing", ""]
    assert [Path(path).name for path in clips.path] == [f"{name}.mp4" for name in NAMES]
    assert (corpus.labels.emotion, corpus.labels.intent) == (EMOTIONS, INTENTS)
    assert corpus.remarks == []


WITHOUT_ENDING = {part: [[row[0].removesuffix(".mp4"), *row[1:]] for row in ROWS[part]] for part in ROWS}
OTHER_HEADS = ["name", "sentence", "emotion", "intent"]
# What spreadsheets, other systems and other people write, which changes no clip.
FORMS = {
    "the official layout": {},
    "byte-order mark": {"encoding": "utf-8-sig"},
    "semicolons": {"form": {"delimiter": ";"}},
    "tabs": {"form": {"delimiter": "\t"}},
    "Excel's Unicode text": {"form": {"delimiter": "\t"}, "encoding": "utf-16"},
    "other heads, no ending": {
        "rows": WITHOUT_ENDING,
        "headers": {"training": OTHER_HEADS, "validation": OTHER_HEADS, "testing": OTHER_HEADS[:2]},
    },
    "nameless index, other order, capitals": {
        "rows": {part: [[str(k), *reversed(row)] for k, row in enumerate(ROWS[part])] for part in ROWS},
        "headers": {part: ["", *(cell.upper() for cell in reversed(HEADERS[part]))] for part in HEADERS},
    },
    "labels of test clips, which are not read": {
        "rows": {"testing": [["x1.mp4", "why?", "fear", "questioning"]]},
        "headers": {"testing": HEADERS["training"]},
    },
    "blank lines": {"rows": {"testing": [[], ["x1.mp4", "why?"], ["", ""]]}},
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_a_table_are_the_same_corpus(tmp_path, form):
    assert_plain(open_corpus(write_corpus(tmp_path, **FORMS[form])))


def test_excels_first_line_names_the_separator_and_counts_as_a_row(tmp_path):
    root = write_corpus(tmp_path, form={"delimiter": ";"})
    for table in TABLES:
        (root / table).write_text(f"sep=;\n{(root / table).read_text('utf-8')}", encoding="utf-8")
    assert_plain(open_corpus(root))
    with (root / TESTING).open("a") as file:
        file.write("x2;why;x\n")
    assert only_problem(root).startswith(f"{TESTING}, row 4: 3 cells")


def test_the_corpus_may_lie_deeper_but_there_is_one(tmp_path):
    mandarin = write_corpus(tmp_path / "Track1" / "Mandarin")
    write_files(mandarin, "NoAnnotation/p1.mp4")
    assert open_corpus(tmp_path).clips.name.tolist() == ["p1", *NAMES]
    write_corpus(tmp_path / "Track1" / "English")
    several = r"several tables for training: Track1/(Mandarin|English).*\(give the folder of one corpus, or"
    assert re.search(several, problems_of(tmp_path)[0])
    for root, what in ((None, "is missing"), (tmp_path / "nowhere", ".*nowhere is not a folder")):
        with pytest.raises(ConfigError, match=f"--corpus.root {what}; give the corpus' folder"):
            open_corpus(root)


def test_names_match_in_any_unicode_form(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    rows = {"testing": [[f"{decomposed}1.mp4", ""], [f"{composed}2\u200b.mp4", ""]]}
    root = write_corpus(tmp_path, rows=rows, media=[*LABELLED, f"{composed}1", f"{decomposed}2"])
    assert open_corpus(root).part("testing").name.tolist() == [f"{composed}1", f"{composed}2"]


@pytest.mark.parametrize(
    ("suffix", "folder"), [(".mp4", "NoAnnotation"), (".wmv", "noannotation"), (".M4V", "Unlabeled")]
)
def test_a_pool_of_any_media_needs_no_table(tmp_path, suffix, folder):
    root = write_corpus(tmp_path)
    write_files(root, f"{folder}/p2{suffix}", f"{folder}/p1{suffix}")
    pool = open_corpus(root).part("unlabelled")
    assert pool.name.tolist() == ["p1", "p2"]
    assert pool[["sentence", "emotion", "intent"]].eq("").all(axis=None)


@pytest.mark.parametrize("table", ["NoAnnotation/pool.csv", "No_Annotation.CSV", "UNLABELED/p.tsv"])
def test_a_pools_table_by_any_of_its_names(tmp_path, table):
    path = write_corpus(tmp_path, media=[*NAMES, "p1"]) / table
    path.parent.mkdir(exist_ok=True)
    path.write_text("FileName,Subtitle\np1.mp4,好\n", encoding="utf-8")
    assert open_corpus(tmp_path).part("unlabelled")[["name", "sentence"]].to_numpy().tolist() == [["p1", "好"]]
    path.write_text("name,sentence\n")  # a header alone: a corpus without a pool
    (tmp_path / "Training" / "p1.mp4").unlink()
    assert_plain(open_corpus(tmp_path))


def test_what_other_programs_leave_is_not_read(tmp_path):
    """A clip's sound beside it, hidden files, a folder named like a table."""
    root = write_corpus(tmp_path / "corpus")
    write_files(root, "Training/t1.wav", "Annotation/._Training_transcription.csv", "Annotation/._t1.mp4")
    (root / "train.csv").mkdir()
    assert_plain(open_corpus(root))


def test_csv_files_of_single_clips_are_no_tables(tmp_path):
    root = write_corpus(tmp_path)
    for folder, name in (("Annotation", "Track1_Training_1"), ("Annotation", "Testing_1"), ("NoAnnotation", "n1")):
        path = root / folder / "features" / name / f"{name}.csv"
        path.parent.mkdir(parents=True)
        path.write_text("frame, face_id\n1, 0\n")
    (root / "NoAnnotation" / "transcription.csv").write_text("name,sentence\n")
    assert open_corpus(root).clips.name.tolist() == NAMES
    (root / TESTING).write_text("a,b\n1,2\n")  # the table, which lacks columns
    (root / "Training" / "x1.mp4").unlink()
    assert only_problem(root).startswith(f"{TESTING}, row 1: no column for ")


ODD = ['say "hi"', "=1+1", "two\r\nlines", "Well,\nyes, of course.\n2", " a ", "'", "NA", "a;b|c", "7"]


def test_any_sentence_comes_back_whatever_the_order_of_rows(tmp_path):
    training = [[f"c{k}", sentence, EMOTIONS[k % 7], INTENTS[k % 8]] for k, sentence in enumerate(ODD)]
    one, other = (
        open_corpus(write_corpus(tmp_path / name, rows={"training": rows}, media=[]), needs_media=False)
        for name, rows in (("a", training), ("b", training[::-1]))
    )
    assert one.part("training")[["name", "sentence", "emotion", "intent"]].to_numpy().tolist() == training
    assert other.clips.equals(one.clips)
    assert other.fingerprint("name", "sentence") == one.fingerprint("name", "sentence")


def test_clips_are_known_by_their_contents_alone_and_read_only_where_times_are_new(tmp_path, monkeypatch):
    corpus = open_corpus(write_corpus(tmp_path / "corpus"))
    other = open_corpus(write_corpus(tmp_path / "b", rows={"testing": [["x1.mp4", "why!"]]}))
    assert corpus.fingerprint("name", "sentence") != other.fingerprint("name", "sentence")
    assert corpus.fingerprint("name", "part") == other.fingerprint("name", "part")
    known, clip = tmp_path / "known.json", Path(corpus.clips.path[0])
    clip.write_bytes(b"ab")
    before, read, digest = corpus.media_hashes(known), [], files.file_digest
    monkeypatch.setattr(files, "file_digest", lambda path: read.append(Path(path)) or digest(path))
    clip.touch()
    assert corpus.media_hashes(known) == before
    stat, content = clip.stat(), clip.read_bytes()
    clip.write_bytes(content[::-1])  # as large and, it pretends, as old as before
    os.utime(clip, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    changed = corpus.media_hashes(known)
    assert [name for name in before if before[name] != changed[name]] == [corpus.clips.name[0]]
    assert set(read) == {clip}
    clip.write_bytes(content)
    assert corpus.media_hashes(tmp_path / "other.json") == before


# Problems

# Each: what differs from the corpus, and how its one problem begins.
PROBLEMS = {
    "missing table": ({"rows": {"training": None}, "media": ["v1", "x1"]}, r".*no table of training clips.*Training_"),
    "missing column": (
        {"headers": {"testing": ["FileName", "text"]}, "media": LABELLED},
        rf"{TESTING}, row 1: no column for sentence \(subtitle or sentence or ",
    ),
    "clip without row": ({"media": [*NAMES, "extra"]}, "Training/extra.mp4: no row names this clip"),
}


@pytest.mark.parametrize(("options", "begins"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_problem_is_named_by_its_place(tmp_path, options, begins):
    assert re.match(begins, only_problem(write_corpus(tmp_path, **options)))


# Each: the bytes of the table of test clips, and how its one problem begins.
BAD_TABLES = {
    "empty": (codecs.BOM_UTF8, ": is empty"),
    "not UTF-8": (b"FileName,Subtitle\nx0.mp4,yes\nx1.mp4," + "走吧".encode("gb18030"), ", row 3: is not UTF-8"),
    "cells": (b"FileName,Subtitle\nx1.mp4,a\nx2.mp4,no, never\n", r", row 3: 3 cells where the header has 2 \(quote "),
    "open quote": (
        b'FileName,Subtitle\nx1.mp4,"why\nx2.mp4,no\nx3.mp4,no\n',
        ", row 2: a quote is opened here and not closed",
    ),
    "stray quotes": (
        b'FileName,Subtitle\nx1,no\nx2,no\nx3,"go\nx4,no\nx5,no\nx6,bye"\nx7,no\n',
        ", row 4: a quote opened here takes in",
    ),
}


@pytest.mark.parametrize("fault", BAD_TABLES)
def test_a_table_that_cannot_be_read_is_named_with_its_row(tmp_path, fault):
    data, begins = BAD_TABLES[fault]
    root = write_corpus(tmp_path, media=[])
    (root / TESTING).write_bytes(data)
    assert re.match(f"{TESTING}{begins}", only_problem(root, needs_media=False))
    for table in TABLES:  # and where no table has a row
        (root / table).write_bytes(data if fault in ("empty", "open quote") else b"\xff")
    assert len(problems_of(root, needs_media=False)) == len(TABLES)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("suprise", "unknown emotion 'suprise' (did you mean surprise?)"),
        ("", f"no emotion (give one of {', '.join(EMOTIONS)})"),
    ],
)
def test_unknown_label(tmp_path, label, message):
    rows = {"training": [ROWS["training"][0], ["t2.mp4", "", label, "neutral"]]}
    assert only_problem(write_corpus(tmp_path, rows=rows)) == f"{TRAINING}, row 3: {message}"


def test_two_films_of_one_clip_are_no_choice_to_make(tmp_path):
    root = write_corpus(tmp_path, media=[*NAMES, "../Other/t1"])
    assert "clip t1 has a second file" in only_problem(root)


@pytest.mark.parametrize("media", [["t1", "v1", "x1"], []])
def test_clips_that_are_not_needed_are_at_most_warned_of(tmp_path, media):
    corpus = open_corpus(write_corpus(tmp_path, media=media), needs_media=False)
    assert corpus.clips.path.ne("").tolist() == [name in media for name in NAMES]
    warnings = [remark.partition(" (")[0] for remark in corpus.remarks]
    assert warnings == ([f"warning: {TRAINING}, row 3: no media file for t2"] if media else [])


def test_the_streams_say_whether_media_are_needed(tmp_path):
    corpus = CorpusConfig(root=write_corpus(tmp_path, media=[]))
    config = Config("run", streams=("t=tfidf-svd", f"a=npy:{tmp_path}"), corpus=corpus)
    assert Run(config).corpus.clips.name.tolist() == NAMES
    with pytest.raises(ConfigError, match="no media file for t1"):
        Run(replace(config, streams=("t=tfidf-svd", "a=smart-turn"))).corpus.part("training")


@pytest.mark.parametrize("name", ["../x", "a\\..\\b", ".hidden", "C:x", "a\nb", "n" * 201, ".mp4"])
def test_names_that_are_not_plain_are_refused(tmp_path, name):
    root = write_corpus(tmp_path, rows={"testing": [*ROWS["testing"], [name, "why?"]]}, media=[])
    assert re.search(rf"{TESTING}, row [34]: '.*' cannot name a clip", only_problem(root, needs_media=False))


def test_links_are_followed_and_circles_of_them_end(tmp_path):
    root = write_corpus(tmp_path / "corpus", media=["t1", "v1"])
    write_files(tmp_path, "corpus/Training/real.bin", "corpus/Pool/p1.mp4", "elsewhere/x1.mp4")
    (root / "Training" / "t2.mp4").symlink_to("real.bin")
    (root / "Testing").symlink_to(tmp_path / "elsewhere")
    (root / "NoAnnotation").symlink_to("Pool")
    (root / "Pool" / "round").symlink_to("..")
    (root / "Training" / "t9.mp4").symlink_to("nowhere.mp4")
    corpus = open_corpus(root)
    assert corpus.clips.name.tolist() == ["p1", *NAMES]
    assert (corpus.clips.path != "").all()
    broken, *_ = corpus.remarks
    assert broken.startswith("warning: Training/t9.mp4: is passed over: a link to nothing")


def test_what_is_passed_over_is_named_and_each_part_counted(tmp_path):
    root = write_corpus(tmp_path)
    write_files(root, "Training/a.xyz", "Training/b.xyz", "Training/notes.csv", "Pool/transcription.csv")
    corpus = open_corpus(root)
    named = "2 .csv (Pool/transcription.csv, Training/notes.csv), 2 .xyz (Training/a.xyz, Training/b.xyz)"
    assert corpus.remarks == [f"passed over in {root}: {named}"]
    assert corpus.describe().splitlines() == [
        "training: 2 clips, 2 with file, 1 with sentence, 2 with labels",
        "validation: 1 clips, 1 with file, 1 with sentence, 1 with labels",
        "testing: 1 clips, 1 with file, 1 with sentence, 0 with labels",
        "unlabelled: 0 clips",
    ]


def test_faults_of_all_kinds_are_reported_at_once(tmp_path):
    rows = {
        "training": [["t1.mp4", "a", "hapy", "suggesting"], *[["t2.mp4", "b", "sad", "neutral"]] * 2, ["t3.mp4", "d"]],
        "validation": [],
        "testing": [["x1.mp4", "why?"], ["t1", "why?"]],
    }
    expected = [
        f"{TRAINING}, row 5: 2 cells",
        f"{VALIDATION}: the validation part is empty",
        f"{TRAINING}, row 2: unknown emotion",
        f"{TRAINING}, row 4: t2 is in {TRAINING}, row 3 already",
        f"{TESTING}, row 3: t1 is in {TRAINING}, row 2 already",
        f"{TESTING}, row 2: no media file for x1",
    ]
    problems = problems_of(write_corpus(tmp_path, rows=rows, media=["t1", "t2"]))
    assert [problem[: len(start)] for problem, start in zip(problems, expected, strict=True)] == expected


def test_each_of_four_tables_is_named(tmp_path):
    tables = [*TABLES, "Annotation/unlabelled.csv"]
    write_files(tmp_path, *tables)
    for table in tables:
        (tmp_path / table).write_text("")
    assert [problem.partition(":")[0] for problem in problems_of(tmp_path)] == tables


@pytest.mark.parametrize("cause", ["encoding", "cells", "clips"])
def test_one_cause_is_not_buried_under_its_consequences(tmp_path, cause):
    names = [f"x{k}" for k in range(1000)]
    rows = {"testing": [[name, "你"] for name in names]}
    root = write_corpus(tmp_path, rows=rows, media=LABELLED + (names if cause != "clips" else []))
    text = (root / TESTING).read_text(encoding="utf-8").replace("你", "a,b" if cause == "cells" else "你")
    (root / TESTING).write_bytes(text.encode("gb18030" if cause == "encoding" else "utf-8"))
    with pytest.raises(ConfigError) as caught:
        open_corpus(root)
    _, *lines = str(caught.value).splitlines()
    assert len(lines) == (1 if cause == "encoding" else 1 + SHOWN)
    assert cause == "encoding" or "and 997 more of this kind" in lines[-1]


# Labels


@pytest.mark.parametrize("labels", ["official", "training-file"])
def test_one_label_in_several_spellings_is_one_and_remarked_on(tmp_path, labels):
    spellings = ["sad", "sad", "Sad", "sad\u200b", "ｓａｄ", "happy"]
    rows = {"training": [[f"t{k}", "", label, "wishing" if k % 2 else "neutral"] for k, label in enumerate(spellings)]}
    rows["validation"] = [["v1", "", "SAD", "wishing"]]
    corpus = open_corpus(write_corpus(tmp_path, rows=rows, media=[]), needs_media=False, labels=labels)
    assert corpus.part("training").emotion.tolist() == ["sad"] * 5 + ["happy"]
    assert corpus.labels.emotion == (EMOTIONS if labels == "official" else ("happy", "sad"))
    others = sorted([*spellings[2:5], "SAD"])
    assert corpus.remarks == [f"emotion {spelling!r} is read as 'sad' (1 clips)" for spelling in others]


def test_a_class_smaller_than_the_number_of_folds_is_remarked_on(tmp_path):
    rows = {"training": [[f"t{k}", "", "saad" if k == 9 else "sad", "ask" if k % 2 else "tell"] for k in range(10)]}
    root = write_corpus(tmp_path, rows=rows | {"validation": None}, media=[])
    (remark,) = rare_classes(open_corpus(root, needs_media=False, labels="training-file"), 5)
    assert re.match(r"emotion: .*: 'saad' \(1\);", remark)


@pytest.mark.parametrize(
    ("emotions", "problem"),
    [
        (["joy", "anger", "angry"], f"{VALIDATION}, row 2: unknown emotion 'angry' (did you mean anger?)"),
        (["joy", "joy", "joy"], "every training clip has the emotion 'joy'"),
    ],
)
def test_labels_from_the_training_file_that_are_none_or_one(tmp_path, emotions, problem):
    labelled = [[f"c{k}", "", label, ("ask", "tell")[k % 2]] for k, label in enumerate(emotions)]
    root = write_corpus(tmp_path, rows={"training": labelled[:2], "validation": labelled[2:]}, media=[])
    assert problem in only_problem(root, labels="training-file", needs_media=False)
