import zipfile

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meiju.data import submission
from meiju.utils import files

NAMES = ["clip_1", "clip_2", "clip_3", "clip_4"]
EMOTIONS = ["happy", "sad", "neutral"]
INTENTS = ["questioning", "wishing"]
HEADER = "filename,emo_pred,int_pred\n"
GOOD = HEADER + "".join(f"{name},happy,wishing\n" for name in NAMES)


def check(path):
    return submission.check(path, names=NAMES, emotions=EMOTIONS, intents=INTENTS)


def check_text(folder, text):
    path = folder / "submission.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return check(path)


def check_zip(folder, entries, **options):
    path = folder / "submission.zip"
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return check(path)


def predictions(rows):
    return pd.DataFrame.from_dict(rows, orient="index", columns=["emotion", "intent"])


def test_what_is_written_is_valid_sorted_plain_and_the_same_again(tmp_path):
    table = predictions({name: ["happy", "wishing"] for name in reversed(NAMES)})
    path, again = submission.write(table, tmp_path / "run"), submission.write(table[::-1], tmp_path / "again")
    assert check(path) == check(path.with_suffix(".csv")) == []
    assert path.with_suffix(".csv").read_bytes() == GOOD.encode()
    assert path.read_bytes() == again.read_bytes()
    assert sorted(p.name for p in path.parent.iterdir()) == ["submission.csv", "submission.zip"]


# Each: the text, what the one message must hold.
BAD_TEXTS = {
    "empty": ("", ["line 1", HEADER.strip()]),
    "other encoding": (GOOD.replace("clip_2,happy", "clip_2,高兴").encode("gb18030"), ["line 3", "UTF-8"]),
    "unclosed quote": (GOOD + '"clip_9', ["line 6", "quote"]),
    "index column": ("".join(f"{i},{line}\n" for i, line in enumerate(GOOD.splitlines())), ["line 1", "no index"]),
    "all missing": (HEADER, ["no line for 4 of 4 clips", "'clip_1', 'clip_2', 'clip_3' and 1 more"]),
    "unknown clip": (GOOD + "clip_9,sad,wishing\n", ["line 6", "'clip_9'"]),
    "duplicate": (GOOD + "clip_2,sad,wishing\n", ["line 3, 6", "'clip_2'", "more than once"]),
    "extensions": (GOOD.replace("clip_1,", "clip_1.mp4,"), ["line 2", "not a clip to predict ('clip_1.mp4')"]),
    "empty label": (GOOD.replace("clip_2,happy", "clip_2,"), ["line 3", "emo_pred ('')", "happy, sad, neutral"]),
    "empty line": (GOOD.replace("clip_3", "\nclip_3"), ["line 4", "not 3 cells"]),
}


@pytest.mark.parametrize(("text", "parts"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_each_fault_of_a_csv_is_named_with_its_lines(tmp_path, text, parts):
    message = check_text(tmp_path, text)[0]
    assert all(part in message for part in ["submission.csv", *parts]), message


def test_all_faults_are_reported_at_once(tmp_path):
    text = (
        "\ufeff"
        + HEADER
        + 'clip_1,joy,wishing\n"two\nlines",sad,7\nclip_1,happy,7\nclip_2.avi,,wishing\nclip_9,a,b,x\n'
    )
    problems = "\n".join(check_text(tmp_path, text))
    for part in ["mark", "not 3 cells", "more than once", "'clip_2.avi'", "3 of 4 clips", "('joy', '')", "('7')"]:
        assert part in problems
    assert "line 2, 5: more than once" in problems  # lines within a cell count


# Each: the entries of the zip, what the first message must hold.
BAD_ZIPS = {
    "nothing inside": ({}, "nothing"),
    "in a folder": ({"run/submission.csv": GOOD}, "at the root"),
    "left by a Mac": ({"submission.csv": GOOD, "__MACOSX/._submission.csv": "x"}, "__MACOSX"),
    "wrong inside": ({"submission.csv": "\ufeff" + GOOD}, "submission.zip/submission.csv, line 1: begins with a byte"),
}


@pytest.mark.parametrize(("entries", "part"), BAD_ZIPS.values(), ids=BAD_ZIPS)
def test_each_fault_of_a_zip_gives_one_message(tmp_path, entries, part):
    (message,) = check_zip(tmp_path, entries)
    assert part in message
    assert "submission.zip" in message


def test_what_unpacks_to_something_huge_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("the bomb was read"))
    monkeypatch.setattr(submission, "SIZE_LIMIT", 2**20)
    (message,) = check_zip(tmp_path, {"submission.csv": bytes(2**21)}, compression=zipfile.ZIP_DEFLATED)
    assert "more than 1 MiB" in message


@pytest.mark.parametrize(("name", "part"), [("none.zip", "no such file"), ("answer.txt", "neither")])
def test_paths_that_are_no_submission(tmp_path, name, part):
    (tmp_path / "answer.txt").write_text(GOOD)
    (message,) = check(tmp_path / name)
    assert part in message


# What spreadsheets, csv readers and people trip over, besides any other text.
ODD = st.sampled_from(["=1+1", "+a", "-a", "@a", "a,b", 'say "hi"', "高兴", "two\r\nlines", " a ", "0", "'", "a.b"])
TEXT = ODD | st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(rows=st.dictionaries(TEXT, st.tuples(TEXT, TEXT), max_size=6))
@example(rows={"filename": ("sad", "wishing")})
def test_whatever_is_written_is_valid_and_reads_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("submission")
    path = submission.write(predictions(rows), folder)
    emotions, intents = [emotion for emotion, _ in rows.values()], [intent for _, intent in rows.values()]
    for file in (path, path.with_suffix(".csv")):
        assert submission.check(file, names=list(rows), emotions=emotions, intents=intents) == []
    back = pd.read_csv(path.with_suffix(".csv"), dtype=str, keep_default_na=False, na_filter=False)
    assert {row[0]: row[1:] for row in back.itertuples(index=False, name=None)} == rows


def test_a_result_is_compared_with_the_reference(tmp_path):
    folder, reference = tmp_path / "run", tmp_path / "run" / "reference"
    assert submission.compare_with_reference(folder, reference).startswith("no reference to compare with")
    scores = "stage,system,part,JRBM\nstage 1,all,out-of-fold,0.5000\n"
    for place in (folder, reference):
        files.write_text(place / "submission.csv", GOOD)
        files.write_text(place / "scores.csv", scores)
    assert submission.compare_with_reference(folder, reference) == "the same as the reference"
    files.write_text(folder / "scores.csv", scores.replace("0.5000", "0.5103"))
    files.write_text(folder / "submission.csv", GOOD.replace("clip_1,happy", "clip_1,sad"))
    difference = submission.compare_with_reference(folder, reference)
    assert "up to 0.0103" in difference
    assert "1 of 4 test clips" in difference
