"""Clips whose names are unique in their part only, clips cut from films, and test clips that were never delivered."""

from pathlib import Path

import pytest

from toy_tables import HEADERS, LABELLED, TESTING, TRAINING, open_corpus, problems_of, write_corpus, write_files

LABELS = [["happy", "neutral"], ["sad", "agreeing"]]
FOLDERS = {"training": "train_splits", "validation": "dev_splits_complete", "testing": "output_repeated_splits_test"}


def write_split(root: Path, form: str) -> Path:
    """Two clips of the same names in each part's folder; form: how the tables name them."""
    rows = {part: [[form.format(folder, k), f"{part} {k}"] for k in range(2)] for part, folder in FOLDERS.items()}
    for part in ("training", "validation"):
        rows[part] = [[*row, *labels] for row, labels in zip(rows[part], LABELS, strict=True)]
    write_files(root, *(f"{folder}/dia0_utt{k}.mp4" for folder in FOLDERS.values() for k in range(2)))
    return write_corpus(root, rows=rows, media=[])


@pytest.mark.parametrize("form", ["{}/dia0_utt{}.mp4", "{}\\dia0_utt{}", "./{}/dia0_utt{}.mp4"])
def test_names_with_a_folder_are_files_in_it(tmp_path, form):
    clips = open_corpus(write_split(tmp_path, form)).clips
    assert len(clips) == 6
    for clip in clips.itertuples():
        folder, number = FOLDERS[clip.part], clip.name[-1]
        assert clip.name == f"{folder}_dia0_utt{number}"
        assert Path(clip.path).parts[-2:] == (folder, f"dia0_utt{number}.mp4")
        assert clip.sentence == f"{clip.part} {number}"


def test_names_without_a_folder_that_several_parts_use_are_reported_in_one_line(tmp_path):
    (line,) = problems_of(write_split(tmp_path, "dia0_utt{1}.mp4"))
    assert "2 names stand in the tables of several parts and are those of several files, the first dia0_utt0" in line
    assert "give names with their folder, such as train/dia0_utt0.mp4" in line


HEADER = ["FileName", "start", "end", "Subtitle"]


def write_films(root: Path, header: list[str], rows: list[list[str]]) -> Path:
    """A corpus whose two training clips are parts of films."""
    write_files(root, "ep01.mp4")
    labelled = [[*row, *labels] for row, labels in zip(rows, LABELS, strict=True)]
    headers = {"training": [*header, *HEADERS["training"][2:]]}
    return write_corpus(root, headers=headers, rows={"training": labelled}, media=["v1", "x1"])


def training(root: Path) -> list[tuple[str, str]]:
    """Name and file of each training clip."""
    clips = open_corpus(root).part("training")
    return [(clip.name, Path(clip.path).name) for clip in clips.itertuples()]


def test_clips_are_cut_from_a_film_and_named_after_film_and_time(tmp_path):
    rows = [["ep01.mp4", "12.5", "14", "a"], ["ep01.mp4", "00:01:02,500", "1:03.75", "b"]]
    assert training(write_films(tmp_path, HEADER, rows)) == [
        ("ep01_00012500-00014000", "ep01.mp4#t=12.500,14.000"),
        ("ep01_00062500-00063750", "ep01.mp4#t=62.500,63.750"),
    ]


def test_a_column_names_the_film_where_the_clips_have_names(tmp_path):
    rows = [["b", "ep01.mp4", "1", "2", ""], ["a", "ep01.mp4", "1.5", "3", ""]]  # they overlap
    root = write_films(tmp_path, ["FileName", "Video", "Start", "END", "Subtitle"], rows)
    assert training(root) == [("a", "ep01.mp4#t=1.500,3.000"), ("b", "ep01.mp4#t=1.000,2.000")]


def test_each_excerpt_has_a_hash_of_its_own_that_changes_with_the_film(tmp_path):
    root, known = (
        write_films(tmp_path, HEADER, [["ep01.mp4", "1", "2", ""], ["ep01.mp4", "2", "3", ""]]),
        tmp_path / "k",
    )
    before = open_corpus(root).media_hashes(known)
    assert len(set(before.values())) == 4
    write_films(root, HEADER, [["ep01.mp4", "00:01", "2.0", ""], ["ep01.mp4", "2", "3.5", ""]])
    moved = open_corpus(root).media_hashes(known)
    assert {name for name in before if moved.get(name) == before[name]} == {"v1", "x1", "ep01_00001000-00002000"}
    (root / "ep01.mp4").write_bytes(b"another")
    changed = open_corpus(root).media_hashes(known)
    assert [name for name in moved if moved[name] == changed[name]] == ["v1", "x1"]


@pytest.mark.parametrize(("start", "end"), [("14", "12"), ("", "2"), ("one", "2")])
def test_times_between_which_nothing_lies_are_refused_with_their_row(tmp_path, start, end):
    (line,) = problems_of(write_films(tmp_path, HEADER, [["ep01.mp4", "1", "2", ""], ["ep01.mp4", start, end, ""]]))
    assert f"{TRAINING}, row 3: no clip lies between start {start!r} and end {end!r}" in line
    assert "hh:mm:ss,ms" in line


def test_a_film_that_lacks_is_reported_once(tmp_path):
    root = write_films(tmp_path, HEADER, [["ep02.mp4", "1", "2", ""], ["ep02.mp4", "2", "3", ""]])
    (line,) = [line for line in problems_of(root) if "no media file" in line]
    assert f"{TRAINING}, row 2: no media file for ep02 (put one of this name" in line


def test_rows_without_times_are_whole_files(tmp_path):
    root = write_films(tmp_path, HEADER, [["ep01.mp4", "", "", ""], ["y1.mp4", "1", "2", ""]])
    write_files(root, "y1.mp4")
    assert [file for _, file in training(root)] == ["ep01.mp4", "y1.mp4#t=1.000,2.000"]


def test_a_test_clip_without_a_file_is_a_warning_and_others_are_not(tmp_path):
    root = write_corpus(tmp_path, rows={"testing": [[f"x{k}", "yes"] for k in range(3)]}, media=[*LABELLED, "x0", "x2"])
    corpus = open_corpus(root)
    (lost,) = corpus.remarks
    assert lost.startswith(f"warning: {TESTING}, row 3: no media file for x1")
    assert "without it, its sentence or nothing is judged" in lost
    assert corpus.part("testing")[["name", "sentence"]].to_numpy().tolist()[1] == ["x1", "yes"]
    (root / "Training" / "t1.mp4").unlink()
    assert "no media file for t1" in problems_of(root)[0]
