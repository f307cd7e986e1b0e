"""Clips whose names are unique in their part only, clips cut from films, and test clips that were never delivered."""

from pathlib import Path

import pytest

from toy_tables import open_corpus, problems_of, write_files, write_tables

LABELS = [["happy", "neutral"], ["sad", "agreeing"]]
FOLDERS = {"Training": "train_splits", "Validation": "dev_splits_complete", "Testing": "output_repeated_splits_test"}


def write_table(root: Path, part: str, header: list[str], rows: list[list[str]]) -> None:
    """A table of a part; labels are added."""
    labels = ["emotion", "intent"] if part in ("Training", "Validation") else []
    labelled = [[*row, *(LABELS[k % 2] if labels else [])] for k, row in enumerate(rows)]
    write_tables(root, **{part: [[*header, *labels], *labelled]})


# Names that are unique in their part only


@pytest.fixture
def split(tmp_path):
    """Two clips of the same names in each part's folder."""
    for part, folder in FOLDERS.items():
        write_table(tmp_path, part, ["FileName", "Subtitle"], [[f"dia0_utt{k}.mp4", f"{part} {k}"] for k in range(2)])
        write_files(tmp_path, f"{folder}/dia0_utt0.mp4", f"{folder}/dia0_utt1.mp4")
    return tmp_path


@pytest.mark.parametrize("form", ["{}/dia0_utt{}.mp4", "{}\\dia0_utt{}", "./{}/dia0_utt{}.mp4"])
def test_names_with_a_folder_are_files_in_it(split, form):
    for part, folder in FOLDERS.items():
        rows = [[form.format(folder, k), f"{part} {k}"] for k in range(2)]
        write_table(split, part, ["FileName", "Subtitle"], rows)
    corpus = open_corpus(split)
    assert len(corpus.clips) == 6
    for clip in corpus.clips.itertuples():
        folder, number = FOLDERS[clip.part.capitalize()], clip.name[-1]
        assert clip.name == f"{folder}_dia0_utt{number}"
        assert Path(clip.path).parts[-2:] == (folder, f"dia0_utt{number}.mp4")
        assert clip.sentence == f"{clip.part.capitalize()} {number}"


def test_names_without_a_folder_that_several_parts_use_are_told_in_one_line(split):
    (line,) = problems_of(split)
    assert "2 names stand in the tables of several parts and are those of several files, the first dia0_utt0" in line
    assert "give names with their folder, such as train/dia0_utt0.mp4" in line


# Clips that are parts of films


def write_films(root: Path, header: list[str], rows: list[list[str]]) -> Path:
    write_table(root, "Training", header, rows)
    write_table(root, "Testing", ["FileName", "Subtitle"], [["x1", ""]])
    write_files(root, "x1.mp4", "ep01.mp4")
    return root


def training(root: Path) -> list[tuple[str, str]]:
    """Name and file of each training clip."""
    clips = open_corpus(root).part("training")
    return [(clip.name, Path(clip.path).name) for clip in clips.itertuples()]


HEADER = ["FileName", "start", "end", "Subtitle"]


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
    root = write_films(tmp_path, HEADER, [["ep01.mp4", "1", "2", ""], ["ep01.mp4", "2", "3", ""]])
    before = open_corpus(root).media_hashes(tmp_path / "known.json")
    assert len(set(before.values())) == 3
    write_films(root, HEADER, [["ep01.mp4", "00:01", "2.0", ""], ["ep01.mp4", "2", "3.5", ""]])
    moved = open_corpus(root).media_hashes(tmp_path / "known.json")
    assert set(before.items()) & set(moved.items()) == {(n, before[n]) for n in ("x1", "ep01_00001000-00002000")}
    (root / "ep01.mp4").write_bytes(b"another")
    changed = open_corpus(root).media_hashes(tmp_path / "known.json")
    assert [name for name in moved if moved[name] == changed[name]] == ["x1"]


@pytest.mark.parametrize(("start", "end"), [("14", "12"), ("", "2"), ("one", "2")])
def test_times_between_which_nothing_lies_are_refused_with_their_row(tmp_path, start, end):
    root = write_films(tmp_path, HEADER, [["ep01.mp4", "1", "2", ""], ["ep01.mp4", start, end, ""]])
    (line,) = problems_of(root)
    assert f"Training.csv, row 3: no clip lies between start {start!r} and end {end!r}" in line
    assert "hh:mm:ss,ms" in line


def test_rows_without_times_are_whole_files(tmp_path):
    root = write_films(tmp_path, HEADER, [["ep01.mp4", "", "", ""], ["y1.mp4", "1", "2", ""]])
    write_files(root, "y1.mp4")
    assert [file for _, file in training(root)] == ["ep01.mp4", "y1.mp4#t=1.000,2.000"]


# Test clips that were never delivered


def test_a_test_clip_without_a_file_is_a_warning_and_others_are_not(tmp_path):
    for part in ("Training", "Testing"):
        write_table(tmp_path, part, ["FileName", "Subtitle"], [[f"{part}{k}", "yes"] for k in range(3)])
        write_files(tmp_path, *(f"{part}{k}.mp4" for k in range(3)))
    (tmp_path / "Testing1.mp4").unlink()
    corpus = open_corpus(tmp_path)
    (lost,) = [str(warning) for warning in corpus.warnings if "Testing1" in str(warning)]
    assert lost.startswith("warning: Annotation/Testing.csv, row 3: no media file for Testing1")
    assert "without it, its sentence or nothing is judged" in lost
    assert corpus.part("testing")[["name", "sentence"]].to_numpy().tolist()[1] == ["Testing1", "yes"]
    (tmp_path / "Training1.mp4").unlink()
    assert "no media file for Training1" in problems_of(tmp_path)[-1]
