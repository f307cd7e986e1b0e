import codecs
import csv
import os
import random
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meiju.config import Config, CorpusConfig
from meiju.corpus import CorpusError, rare_classes, read_corpus
from meiju.labels import EMOTIONS, INTENTS
from meiju.run import Run
from meiju.tables import SHOWN
from meiju.utils import files
from meiju.utils.clip_files import clip_name

TABLES = {
    "training": "Annotation/Training_transcription.csv",
    "validation": "Annotation/Validation_transcription.csv",
    "testing": "Annotation/Testing_transcription.csv",
}
LABELLED_HEADER = ["FileName", "Subtitle", "emotion", "intent"]
HEADERS = {"training": LABELLED_HEADER, "validation": LABELLED_HEADER, "testing": LABELLED_HEADER[:2]}
ROWS = {
    "training": [["t1.mp4", "走吧", "happy", "suggesting"], ["t2.mp4", "", "sad", "neutral"]],
    "validation": [["v1.mp4", "yes, of course", "anger", "agreeing"]],
    "testing": [["x1.mp4", "why?"]],
}
NAMES = ["t1", "t2", "v1", "x1"]


def write_corpus(root: Path, *, rows=None, headers=None, media=NAMES, encoding="utf-8", **dialect) -> Path:
    """A corpus in the official layout. rows, headers: what differs from ROWS, HEADERS; a part of None has no table."""
    rows, headers = ROWS | (rows or {}), HEADERS | (headers or {})
    (root / "Annotation").mkdir(parents=True)
    for part, table in TABLES.items():
        if rows[part] is not None:
            with (root / table).open("w", encoding=encoding, newline="") as file:
                csv.writer(file, **dialect).writerows([headers[part], *rows[part]])
    for name in media:
        path = root / "Training" / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return root


def open_corpus(root: Path, *, needs_media: bool = True, **settings):
    return read_corpus(CorpusConfig(root=root, **settings), needs_media=needs_media)


def problems_of(root: Path, **options) -> list[str]:
    with pytest.raises(CorpusError) as caught:
        open_corpus(root, **options)
    problems = [str(problem) for problem in caught.value.problems]
    assert all(problem in str(caught.value) for problem in problems)
    assert all(problem.remedy for problem in caught.value.problems)
    return problems


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
    assert corpus.warnings == []


def test_the_speaker_and_the_dialogue_of_a_clip_are_read_where_a_table_tells_them(tmp_path):
    told = [[*row, f" person {k} ", "d1"] for k, row in enumerate(ROWS["training"])]
    header = [*LABELLED_HEADER, "Speaker", "dialogue"]
    clips = open_corpus(write_corpus(tmp_path, rows={"training": told}, headers={"training": header})).clips
    assert clips.speaker.tolist() == ["person 0", "person 1", "", ""]
    assert clips.dialogue.tolist() == ["d1", "d1", "", ""]


# Quirks


def test_official_layout(tmp_path):
    corpus = open_corpus(write_corpus(tmp_path))
    assert_plain(corpus)
    assert corpus.labels.emotion == EMOTIONS
    assert corpus.labels.intent == INTENTS
    assert corpus.part("training").name.tolist() == ["t1", "t2"]


@pytest.mark.parametrize("options", [{"encoding": "utf-8-sig"}, {"lineterminator": "\n"}, {"quoting": csv.QUOTE_ALL}])
def test_dialects(tmp_path, options):
    assert_plain(open_corpus(write_corpus(tmp_path, **options)))


def test_crlf_is_what_the_helper_writes_by_default(tmp_path):
    assert (write_corpus(tmp_path) / TABLES["training"]).read_bytes().count(b"\r\n") == 3


def test_other_column_names_without_extension(tmp_path):
    header = ["name", "sentence", "emotion", "intent"]
    rows = {part: [[row[0].removesuffix(".mp4"), *row[1:]] for row in ROWS[part]] for part in ROWS}
    headers = {"training": header, "validation": header, "testing": header[:2]}
    assert_plain(open_corpus(write_corpus(tmp_path, rows=rows, headers=headers)))


def test_nameless_index_column_other_order_and_capitals(tmp_path):
    rows = {part: [[str(k), *reversed(row)] for k, row in enumerate(ROWS[part])] for part in ROWS}
    headers = {part: ["", *(cell.upper() for cell in reversed(HEADERS[part]))] for part in HEADERS}
    assert_plain(open_corpus(write_corpus(tmp_path, rows=rows, headers=headers)))


def test_labels_in_the_testing_table_are_not_read(tmp_path):
    rows = {"testing": [["x1.mp4", "why?", "fear", "questioning"]]}
    assert_plain(open_corpus(write_corpus(tmp_path, rows=rows, headers={"testing": LABELLED_HEADER})))


def test_blank_lines_are_skipped(tmp_path):
    rows = {"testing": [[], ["x1.mp4", "why?"], ["", ""]]}
    assert_plain(open_corpus(write_corpus(tmp_path, rows=rows)))


@pytest.mark.parametrize("levels", [1, 2])
def test_root_above_the_corpus(tmp_path, levels):
    write_corpus(tmp_path / "Track1" / "Mandarin")
    assert_plain(open_corpus(tmp_path if levels == 2 else tmp_path / "Track1"))


def test_root_above_two_corpora_names_both(tmp_path):
    roots = [write_corpus(tmp_path / "Track1" / language) for language in ("English", "Mandarin")]
    problem = only_problem(tmp_path)
    assert all(str(root) in problem for root in roots)


def test_no_root():
    assert "--corpus.root" in only_problem(None)


def test_root_is_not_a_folder(tmp_path):
    assert "is not a folder" in only_problem(tmp_path / "nowhere")


def test_pool_without_table(tmp_path):
    root = write_corpus(tmp_path)
    (root / "NoAnnotation").mkdir()
    for name in ("p2", "p1"):
        (root / "NoAnnotation" / f"{name}.mp4").touch()
    pool = open_corpus(root).part("unlabelled")
    assert pool.name.tolist() == ["p1", "p2"]
    assert pool[["sentence", "emotion", "intent"]].eq("").all(axis=None)


def test_pool_with_table(tmp_path):
    root = write_corpus(tmp_path, media=[*NAMES, "p1"])
    (root / "NoAnnotation").mkdir()
    (root / "NoAnnotation" / "pool.csv").write_text("FileName,Subtitle\np1.mp4,好\n", encoding="utf-8")
    assert open_corpus(root).part("unlabelled")[["name", "sentence"]].to_numpy().tolist() == [["p1", "好"]]


def test_a_clips_sound_beside_it_is_not_a_second_clip(tmp_path):
    root = write_corpus(tmp_path)
    (root / "Training" / "t1.wav").touch()
    assert_plain(open_corpus(root))


@pytest.mark.parametrize(
    ("entry", "name"), [("a.mp4", "a"), (" a.MP4 ", "a"), ("a", "a"), ("a.b", "a.b"), ("a.b.wav", "a.b"), (".mp4", "")]
)
def test_clip_name(entry, name):
    assert clip_name(entry) == name


# Any rows come back

names = st.text("abcXYZ019_- 走.", min_size=1, max_size=8).map(lambda name: f"c{name}z")
tables = st.lists(
    st.tuples(st.text(max_size=12), st.sampled_from(EMOTIONS), st.sampled_from(INTENTS)), min_size=1, max_size=6
)


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(names, min_size=18, max_size=18, unique=True),
    training=tables,
    validation=tables,
    testing=tables,
    shuffle=st.randoms(use_true_random=False),
)
def test_any_rows_come_back_whatever_their_order(names, training, validation, testing, shuffle: random.Random):
    unused = iter(names)
    rows = {
        "training": [[next(unused), *row] for row in training],
        "validation": [[next(unused), *row] for row in validation],
        "testing": [[next(unused), row[0]] for row in testing],
    }
    expected = sorted([row[0], part, *row[1:], *[""] * (4 - len(row))] for part in rows for row in rows[part])
    with tempfile.TemporaryDirectory() as folder:
        corpus = open_corpus(write_corpus(Path(folder) / "a", rows=rows, media=[]), needs_media=False)
        for part in rows.values():
            shuffle.shuffle(part)
        shuffled = open_corpus(write_corpus(Path(folder) / "b", rows=rows, media=[]), needs_media=False)
    columns = ["name", "part", "sentence", "emotion", "intent"]
    assert corpus.clips[columns].to_numpy().tolist() == expected
    assert shuffled.clips.equals(corpus.clips)
    assert shuffled.fingerprint(*columns) == corpus.fingerprint(*columns)


def test_fingerprint_tells_sentences_apart(tmp_path):
    one = open_corpus(write_corpus(tmp_path / "a"))
    two = open_corpus(write_corpus(tmp_path / "b", rows={"testing": [["x1.mp4", "why!"]]}))
    assert one.fingerprint("name", "sentence") != two.fingerprint("name", "sentence")
    assert one.fingerprint("name", "part") == two.fingerprint("name", "part")


def test_clips_are_told_by_their_contents_alone(tmp_path):
    corpus = open_corpus(write_corpus(tmp_path / "corpus"))
    known, clip = tmp_path / "known.json", Path(corpus.clips.path[0])
    clip.write_bytes(b"ab")
    before = corpus.media_hashes(known)
    clip.touch()
    assert corpus.media_hashes(known) == before
    stat, content = clip.stat(), clip.read_bytes()
    clip.write_bytes(content[::-1])  # as large and, it pretends, as old as before
    os.utime(clip, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    changed = corpus.media_hashes(known)
    assert [name for name in before if before[name] != changed[name]] == [corpus.clips.name[0]]
    clip.write_bytes(content)
    assert corpus.media_hashes(tmp_path / "other.json") == before


def test_only_files_with_new_times_are_read(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_text(path.name)
    first = files.content_hashes(paths, tmp_path / "known.json", label="")
    paths[1].write_text("c")
    read = []
    monkeypatch.setattr(files, "file_digest", lambda path: read.append(path) or "new")
    assert files.content_hashes(paths, tmp_path / "known.json", label="") == [first[0], "new"]
    assert read == [paths[1]]


# Problems


def test_missing_table(tmp_path):
    part = "training"
    media = [row[0].removesuffix(".mp4") for other in ROWS if other != part for row in ROWS[other]]
    problem = only_problem(write_corpus(tmp_path, rows={part: None}, media=media))
    assert f"no table of {part} clips" in problem
    assert Path(TABLES[part]).name in problem


def test_two_tables_for_a_part(tmp_path):
    root = write_corpus(tmp_path)
    (root / "test.csv").write_text("name,sentence\n")
    assert "several tables for testing" in only_problem(root)


def test_missing_columns(tmp_path):
    headers = {"testing": ["FileName", "text"]}
    problem = only_problem(write_corpus(tmp_path, headers=headers, media=["t1", "t2", "v1"]))
    assert problem.startswith(f"{TABLES['testing']}, row 1: no column for sentence (subtitle or sentence or ")


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("suprise", "unknown emotion 'suprise' (did you mean surprise?)"),
        ("Hapy", "unknown emotion 'Hapy' (did you mean happy?)"),
        ("sad\x1b[2J", "the emotion 'sad\\x1b[2J' holds a control character (write it in plain letters)"),
        ("xyzzy", f"unknown emotion 'xyzzy' (one of {', '.join(EMOTIONS)})"),
        ("", f"no emotion (one of {', '.join(EMOTIONS)})"),
    ],
)
def test_unknown_label(tmp_path, label, says):
    rows = {"training": [ROWS["training"][0], ["t2.mp4", "", label, "neutral"]]}
    assert only_problem(write_corpus(tmp_path, rows=rows)) == f"{TABLES['training']}, row 3: {says}"


def test_duplicate_name(tmp_path):
    rows = {"training": [*ROWS["training"], ["t1", "again", "sad", "neutral"]]}
    problem = only_problem(write_corpus(tmp_path, rows=rows))
    assert problem.startswith(f"{TABLES['training']}, row 4: t1 is in row 2 already")


def test_name_in_two_parts(tmp_path):
    rows = {"testing": [*ROWS["testing"], ["t2.mp4", "again"]]}
    problem = only_problem(write_corpus(tmp_path, rows=rows))
    assert problem.startswith(f"{TABLES['testing']}, row 3: t2 is in the training part too")
    assert f"({TABLES['training']}, row 3)" in problem


def test_empty_part(tmp_path):
    problem = only_problem(write_corpus(tmp_path, rows={"validation": []}, media=["t1", "t2", "x1"]))
    assert problem.startswith(f"{TABLES['validation']}: the validation part is empty")


def test_empty_file(tmp_path):
    root = write_corpus(tmp_path, media=["t1", "t2", "v1"])
    (root / TABLES["testing"]).write_bytes(codecs.BOM_UTF8)
    assert only_problem(root).startswith(f"{TABLES['testing']}: is empty")


def test_not_utf8_names_the_row_of_the_bad_byte(tmp_path):
    root = write_corpus(tmp_path, media=["t1", "t2", "v1"])
    (root / TABLES["testing"]).write_bytes(b"FileName,Subtitle\nx0.mp4,yes\nx1.mp4," + "走吧".encode("gb18030") + b"\n")
    problem = only_problem(root)
    assert problem.startswith(f"{TABLES['testing']}, row 3: is not UTF-8")


def test_wrong_number_of_cells(tmp_path):
    root = write_corpus(tmp_path)
    with (root / TABLES["testing"]).open("a") as file:
        file.write("x2.mp4,no, never\n")
    problem = only_problem(root)
    assert problem.startswith(f"{TABLES['testing']}, row 3: 3 cells where the header has 2 (quote ")


def test_open_quote(tmp_path):
    root = write_corpus(tmp_path, media=["t1", "t2", "v1"])
    (root / TABLES["testing"]).write_text('FileName,Subtitle\nx1.mp4,"why\nx2.mp4,no\nx3.mp4,no\n')
    assert only_problem(root).startswith(f"{TABLES['testing']}, row 2: a quote is opened here and not closed")


def test_media_without_row(tmp_path):
    problem = only_problem(write_corpus(tmp_path, media=[*NAMES, "extra"]))
    assert problem.startswith(f"{Path('Training', 'extra.mp4')}: no row names this clip")


def test_row_without_media(tmp_path):
    problem = only_problem(write_corpus(tmp_path, media=["t1", "v1", "x1"]))
    assert problem.startswith(f"{TABLES['training']}, row 3: no media file for t2")


def test_row_without_media_is_a_warning_where_media_are_not_needed(tmp_path):
    corpus = open_corpus(write_corpus(tmp_path, media=["t1", "v1", "x1"]), needs_media=False)
    (warning,) = corpus.warnings
    assert str(warning).startswith(f"warning: {TABLES['training']}, row 3: no media file for t2")
    assert corpus.clips.path.eq("").tolist() == [False, True, False, False]


def test_no_media_at_all_needs_no_warning_where_they_are_not_needed(tmp_path):
    corpus = open_corpus(write_corpus(tmp_path, media=[]), needs_media=False)
    assert corpus.warnings == []
    assert corpus.clips.path.eq("").all()


@pytest.mark.parametrize(
    ("streams", "ok"), [(("t=tfidf-svd", "a=npy:{}"), True), (("t=tfidf-svd", "a=smart-turn"), False)]
)
def test_the_streams_say_whether_media_are_needed(tmp_path, streams, ok):
    config = Config(
        "run",
        streams=tuple(x.format(tmp_path) for x in streams),
        corpus=CorpusConfig(root=write_corpus(tmp_path, media=[])),
    )
    if ok:
        assert Run(config).corpus.clips.name.tolist() == NAMES
    else:
        with pytest.raises(CorpusError, match="no media file for t1"):
            Run(config).corpus.part("training")


def test_two_files_for_a_clip(tmp_path):
    root = write_corpus(tmp_path)
    (root / "Other").mkdir()
    (root / "Other" / "t1.mp4").touch()
    assert "clip t1 has a second file" in only_problem(root)


@pytest.mark.parametrize(
    "name", ["../x", "/a/b", "a\\..\\b", "..", ".hidden", "C:x", "a\nb", "a\0b", "n" * 201, ".mp4"]
)
def test_names_that_are_not_plain_are_refused(tmp_path, name):
    root = write_corpus(tmp_path, rows={"testing": [*ROWS["testing"], [name, "why?"]]}, media=[])
    assert re.search(r"Testing.*, row [34]: '.*' cannot name a clip", only_problem(root, needs_media=False))


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_links_out_of_the_corpus_are_followed_only_where_that_is_asked_for(tmp_path, linked):
    root = write_corpus(tmp_path / "corpus", media=["t1", "v1", "x1"] if linked == "file" else [])
    if linked == "file":
        (tmp_path / "elsewhere.mp4").touch()
        (root / "Training" / "t2.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    else:
        write_corpus(tmp_path / "other")
        (root / "Training").symlink_to(tmp_path / "other" / "Training")
    problem = only_problem(root)  # and not the clips that are missing for it
    assert problem.startswith(f"{'Training/t2.mp4' if linked == 'file' else 'Training'}: is a link out of the corpus")
    assert "--corpus.follow-links" in problem
    assert_plain(open_corpus(root, follow_links=True))


def test_a_pool_behind_a_link_is_found_and_circles_of_links_end(tmp_path):
    root = write_corpus(tmp_path / "corpus")
    (root / "Pool").mkdir()
    (root / "Pool" / "p1.mp4").touch()
    (root / "NoAnnotation").symlink_to("Pool")
    (root / "Pool" / "round").symlink_to("..")
    assert open_corpus(root).part("unlabelled").name.tolist() == ["p1"]


def test_a_link_to_nothing_is_told(tmp_path):
    root = write_corpus(tmp_path)
    (root / "Training" / "t9.mp4").symlink_to("nowhere.mp4")
    assert [str(warning) for warning in open_corpus(root).warnings] == [
        "warning: Training/t9.mp4: is a link to nothing (mend or remove it)"
    ]


def test_link_within_the_corpus_is_read(tmp_path):
    root = write_corpus(tmp_path, media=["t1", "v1", "x1"])
    (root / "Training" / "real.bin").touch()
    (root / "Training" / "t2.mp4").symlink_to("real.bin")
    assert_plain(open_corpus(root))


def test_hidden_files_are_not_read(tmp_path):
    root = write_corpus(tmp_path / "corpus")
    (root / "Annotation" / "._Training_transcription.csv").write_bytes(b"\0\5\x16\7")
    (root / "Annotation" / "._t1.mp4").touch()
    assert_plain(open_corpus(root))


def test_characters_that_a_conversion_lost_are_remarked_on(tmp_path):
    rows = {"training": [["t1.mp4", "\ufffd\ufffd吧", "happy", "suggesting"], ["t2.mp4", "\ufffd", "sad", "neutral"]]}
    (remark,) = open_corpus(write_corpus(tmp_path, rows=rows)).remarks
    assert "2 sentences hold \ufffd (the first is that of t1)" in remark
    assert open_corpus(write_corpus(tmp_path / "plain")).remarks == ()


def test_what_is_passed_over_is_named_and_each_part_counted(tmp_path):
    root = write_corpus(tmp_path)
    (root / "Pool").mkdir()
    for name in ("Training/a.xyz", "Training/b.xyz", "Training/notes.csv", "Pool/transcription.csv"):
        (root / name).touch()
    corpus = open_corpus(root)
    named = "2 .csv (Pool/transcription.csv, Training/notes.csv), 2 .xyz (Training/a.xyz)"
    assert corpus.remarks == (f"passed over in {root}: {named}",)
    assert corpus.describe().splitlines() == [
        "training: 2 clips, 2 with file, 1 with sentence, 2 with labels",
        "validation: 1 clips, 1 with file, 1 with sentence, 1 with labels",
        "testing: 1 clips, 1 with file, 1 with sentence, 0 with labels",
        "unlabelled: 0 clips",
    ]


def test_a_missing_training_table_is_one_problem_where_it_gives_the_labels(tmp_path):
    root = write_corpus(tmp_path, media=[])
    (root / TABLES["training"]).unlink()
    with pytest.raises(CorpusError, match="no table of training clips") as error:
        read_corpus(CorpusConfig(root, labels="training-file"), needs_media=False)
    assert len(error.value.problems) == 1


def test_folder_named_like_a_table_is_not_read(tmp_path):
    root = write_corpus(tmp_path)
    (root / "train.csv").mkdir()
    assert_plain(open_corpus(root))


def test_six_faults_are_told_at_once(tmp_path):
    rows = {
        "training": [
            ["t1.mp4", "a", "hapy", "suggesting"],
            ["t2.mp4", "b", "sad", "neutral"],
            ["t2.mp4", "c", "sad", "neutral"],
            ["t3.mp4", "d", "sad", "neutral", "more"],
        ],
        "validation": [],
        "testing": [["x1.mp4", "why?"], ["t1", "why?"]],
    }
    problems = problems_of(write_corpus(tmp_path, rows=rows, media=["t1", "t2"]))
    expected = [
        f"{TABLES['training']}, row 2: unknown emotion",
        f"{TABLES['training']}, row 4: t2 is in row 2".replace("row 2", "row 3"),
        f"{TABLES['training']}, row 5: 5 cells",
        f"{TABLES['validation']}: the validation part is empty",
        f"{TABLES['testing']}, row 3: t1 is in the training part too",
        f"{TABLES['testing']}, row 2: no media file for x1",
    ]
    assert len(problems) == 6
    for start in expected:
        assert sum(problem.startswith(start) for problem in problems) == 1, start


# What spreadsheets, other systems and other programs leave


@pytest.mark.parametrize("mark", [";", "\t"])
@pytest.mark.parametrize("named", [False, True])
def test_other_separators(tmp_path, mark, named):
    root = write_corpus(tmp_path, delimiter=mark)
    for table in TABLES.values():
        text = (root / table).read_text(encoding="utf-8")
        (root / table).write_text(f"sep={mark}\n{text}" if named else text, encoding="utf-8")
    assert_plain(open_corpus(root))


def test_rows_are_counted_from_the_first_line_of_the_file(tmp_path):
    root = write_corpus(tmp_path, media=["t1", "t2", "v1"])
    (root / TABLES["testing"]).write_text("sep=;\nFileName;Subtitle\nx1.mp4;why;x\n")
    assert only_problem(root).startswith(f"{TABLES['testing']}, row 3: 3 cells")


@pytest.mark.parametrize("ending", [".mp4", ""])
def test_a_quote_that_swallows_rows_is_told_where_it_opens(tmp_path, ending):
    root = write_corpus(tmp_path, media=[])
    rows = [f"x{k}{ending},no" for k in range(1, 9)]
    rows[2], rows[5] = f'x3{ending},"go', f'x6{ending},bye"'
    (root / TABLES["testing"]).write_text("\n".join(["FileName,Subtitle", *rows]) + "\n")
    assert only_problem(root, needs_media=False).startswith(f"{TABLES['testing']}, row 4: a quote opened here takes in")


def test_a_sentence_of_several_lines_is_read(tmp_path):
    rows = {"testing": [["x1.mp4", "Well,\nyes, of course.\n2"]]}
    corpus = open_corpus(write_corpus(tmp_path, rows=rows))
    assert corpus.clips.sentence.tolist()[-1] == rows["testing"][0][1]


@pytest.mark.parametrize(
    ("more", "cells", "names"),
    [
        ("Emotion", ["happy", "anger"], "'emotion' and 'Emotion'"),
        ("sentence", ["", ""], "'Subtitle' and 'sentence'"),
        ("name", ["t1", "t3"], "'FileName' and 'name'"),
    ],
)
def test_two_columns_of_one_meaning(tmp_path, more, cells, names):
    rows = [[*row, cell] for row, cell in zip(ROWS["training"], cells, strict=True)]
    root = write_corpus(tmp_path, rows={"training": rows}, headers={"training": [*LABELLED_HEADER, more]})
    assert names in only_problem(root)


def test_two_columns_that_say_the_same(tmp_path):
    rows = [[*row, row[0].removesuffix(".mp4"), row[2]] for row in ROWS["training"]]
    header = [*LABELLED_HEADER, "name", "Emotion"]
    assert_plain(open_corpus(write_corpus(tmp_path, rows={"training": rows}, headers={"training": header})))


def test_names_match_in_any_unicode_form(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    rows = {"testing": [[f"{decomposed}1.mp4", ""], [f"{composed}2\u200b.mp4", ""]]}
    root = write_corpus(tmp_path, rows=rows, media=["t1", "t2", "v1", f"{composed}1", f"{decomposed}2"])
    assert open_corpus(root).part("testing").name.tolist() == [f"{composed}1", f"{composed}2"]


def test_a_name_in_other_capitals_or_zeros_is_told(tmp_path):
    root = write_corpus(tmp_path, media=["T1", "t02", "v1", "x1"])
    problems = problems_of(root)
    assert "there is Training/T1.mp4" in problems[0]
    assert "there is Training/t02.mp4" in problems[1]


@pytest.mark.parametrize("labels", ["official", "training-file"])
def test_one_label_in_several_spellings_is_one_and_told(tmp_path, labels):
    spellings = ["sad", "sad", "Sad", "sad\u200b", "ｓａｄ", "happy"]
    rows = {"training": [[f"t{k}", "", label, "wishing" if k % 2 else "neutral"] for k, label in enumerate(spellings)]}
    rows["validation"] = [["v1", "", "SAD", "wishing"]]
    corpus = open_corpus(write_corpus(tmp_path, rows=rows, media=[]), needs_media=False, labels=labels)
    assert corpus.part("training").emotion.tolist() == ["sad"] * 5 + ["happy"]
    assert corpus.labels.emotion == (EMOTIONS if labels == "official" else ("happy", "sad"))
    assert corpus.remarks == tuple(
        f"emotion {spelling!r} is read as 'sad' (1 clips)" for spelling in sorted([*spellings[2:5], "SAD"])
    )


def test_a_class_smaller_than_the_number_of_folds_is_remarked_on(tmp_path):
    rows = {"training": [[f"t{k}", "", "saad" if k == 9 else "sad", "ask" if k % 2 else "tell"] for k in range(10)]}
    rows["validation"] = [["v1", "", "sad", "ask"]]
    root = write_corpus(tmp_path, rows=rows, media=[])
    (remark,) = rare_classes(open_corpus(root, needs_media=False, labels="training-file"), 5)
    assert "emotion" in remark
    assert "'saad' (1)" in remark
    assert "'sad'" not in remark


@pytest.mark.parametrize("suffix", [".wmv", ".ts", ".mpg", ".3gp", ".ogg", ".aac", ".M4V", ".opus"])
def test_a_pool_of_any_media(tmp_path, suffix):
    root = write_corpus(tmp_path)
    (root / "noannotation").mkdir()
    (root / "noannotation" / f"p1{suffix}").touch()
    assert open_corpus(root).part("unlabelled").name.tolist() == ["p1"]


@pytest.mark.parametrize("table", ["Unlabeled_transcription.csv", "unlabelled.CSV", "No_Annotation.csv", "a/pool.tsv"])
def test_a_pools_table_by_other_names(tmp_path, table):
    path = write_corpus(tmp_path, media=[*NAMES, "p1"]) / table.replace("a/", "UNLABELED/")
    path.parent.mkdir(exist_ok=True)
    path.write_text("name,sentence\np1,x\n")
    assert open_corpus(tmp_path).part("unlabelled").name.tolist() == ["p1"]


def test_a_pools_table_with_a_header_alone_is_a_corpus_without_a_pool(tmp_path):
    root = write_corpus(tmp_path)
    (root / "NoAnnotation").mkdir()
    (root / "NoAnnotation" / "pool.csv").write_text("name,sentence\n")
    assert_plain(open_corpus(root))


def test_csv_files_of_single_clips_are_no_tables(tmp_path):
    root = write_corpus(tmp_path)
    for folder, name in (("Annotation", "Track1_Training_1"), ("Annotation", "Testing_1"), ("NoAnnotation", "n1")):
        path = root / folder / "features" / name / f"{name}.csv"
        path.parent.mkdir(parents=True)
        path.write_text("frame, face_id\n1, 0\n")
    (root / "NoAnnotation" / "transcription.csv").write_text("name,sentence\n")
    assert open_corpus(root).clips.name.tolist() == NAMES


def test_two_videos_of_a_clip_are_no_choice_to_make(tmp_path):
    root = write_corpus(tmp_path)
    (root / "Training" / "t1.avi").touch()
    assert "clip t1 has a second file" in only_problem(root)


@pytest.mark.parametrize("cause", ["missing", "encoding", "cells"])
def test_one_cause_is_not_buried_under_its_consequences(tmp_path, cause):
    names = [f"x{k}" for k in range(1000)]
    root = write_corpus(tmp_path, rows={"testing": [[name, "你"] for name in names]}, media=["t1", "t2", "v1", *names])
    table = root / TABLES["testing"]
    if cause == "missing":
        table.unlink()
    else:
        text = table.read_text(encoding="utf-8")
        table.write_bytes(text.encode("gb18030") if cause == "encoding" else text.replace("你", "a,b").encode())
    with pytest.raises(CorpusError) as caught:
        open_corpus(root)
    lines = str(caught.value).splitlines()
    assert len(lines) == (2 + SHOWN if cause == "cells" else 2)
    assert cause != "cells" or "and 997 more of this kind" in lines[-1]


def test_many_clips_without_a_file_are_told_in_a_few_lines(tmp_path):
    root = write_corpus(tmp_path, rows={"testing": [[f"x{k}", ""] for k in range(500)]}, media=["t1", "t2", "v1"])
    with pytest.raises(CorpusError) as caught:
        open_corpus(root)
    assert len(caught.value.problems) == 500
    assert len(str(caught.value).splitlines()) == 2 + SHOWN


# Labels of the training file


def test_label_names_from_the_training_file(tmp_path):
    rows = {
        "training": [["t1", "", "joy", "ask"], ["t2", "", "anger", "tell"]],
        "validation": [["v1", "", "joy", "tell"]],
    }
    labels = open_corpus(write_corpus(tmp_path, rows=rows), labels="training-file").labels
    assert labels.emotion == ("anger", "joy")
    assert labels.intent == ("ask", "tell")


def test_validation_label_that_training_lacks(tmp_path):
    rows = {
        "training": [["t1", "", "joy", "ask"], ["t2", "", "anger", "tell"]],
        "validation": [["v1", "", "angry", "tell"]],
    }
    problem = only_problem(write_corpus(tmp_path, rows=rows), labels="training-file")
    assert problem == f"{TABLES['validation']}, row 2: unknown emotion 'angry' (did you mean anger?)"


def test_a_single_class_is_no_task(tmp_path):
    rows = {"training": [["t1", "", "joy", "ask"], ["t2", "", "joy", "tell"]], "validation": [["v1", "", "joy", "ask"]]}
    assert "every training clip has the emotion 'joy'" in only_problem(
        write_corpus(tmp_path, rows=rows), labels="training-file"
    )


# Anything at all

pieces = st.sampled_from([b"FileName", b"Subtitle", b"emotion", b"intent", b"happy", b"t1", b",", b'"', b"\n", b"\r"])
contents = st.one_of(st.binary(max_size=60), st.lists(pieces | st.binary(max_size=2), max_size=40).map(b"".join))


@settings(max_examples=80, deadline=None)
@given(
    contents=contents,
    part=st.sampled_from([*TABLES]),
    labels=st.sampled_from(["official", "training-file"]),
    good_header=st.booleans(),
)
def test_any_bytes_give_a_corpus_or_a_corpus_error(contents, part, labels, good_header):
    header = ",".join(HEADERS[part]).encode() + b"\n" if good_header else b""
    with tempfile.TemporaryDirectory() as folder:
        root = write_corpus(Path(folder) / "corpus")
        (root / TABLES[part]).write_bytes(header + contents)
        try:
            problems, clips = [], open_corpus(root, labels=labels).clips
        except CorpusError as error:
            problems, clips = error.problems, None
    assert clips is not None or problems
    assert clips is None or clips.name.is_unique
    assert all(problem.row is None or isinstance(problem.row, int) for problem in problems)
