from pathlib import Path

import numpy as np
import pytest

from meiju.config import ConfigError
from meiju.features import media
from meiju.serving.inputs import find_clips


def clip(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    media.write_clip(path, None, np.zeros(1600), fps=5)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("b.mp4", "a.mp4", "deep/er/c.MP4"):
        clip(tmp_path / "clips" / name)
    return tmp_path / "clips"


def table(folder: Path, text: str) -> Path:
    (folder / "sentences.csv").write_text(text, encoding="utf-8")
    return folder / "sentences.csv"


def test_clips_of_a_folder_are_sorted_and_those_named_come_in_order(folder):
    """Other files, hidden ones and a clip's sound beside it are left out."""
    (folder / "notes.txt").write_text("x")
    clip(folder / "._a.mp4")
    clip(folder / "a.m4a")
    clips, problems, remarks = find_clips([folder / "b.mp4", folder])
    assert [Path(c.path).name for c in clips] == ["b.mp4", "a.mp4", "c.MP4"]
    assert (problems, remarks) == ({}, [f"passed over in {folder}: 1 .txt (notes.txt)"])


def test_every_problem_is_reported_by_its_place(folder, tmp_path):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "broken.mp4").write_bytes(b"x" * 1000)
    names = ("nothing", "a.txt", "empty.mp4", "broken.mp4", "none.mp4")
    clips, problems, _ = find_clips([*(tmp_path / name for name in names), folder / "a.mp4"])
    message = {Path(place).name: problem for place, problem in problems.items()}
    assert list(message) == list(names)
    for name, part in zip(names, ("no clips", ".mp4", "0 bytes", "not decodable", "no such file"), strict=True):
        assert part in message[name]
    assert [c.name for c in clips] == ["empty", "broken", "a"]  # a sentence would do for the first two


def test_a_text_belongs_to_one_clip(folder):
    (given,), *_ = find_clips([folder / "a.mp4"], text="好")
    assert (given.name, given.sentence) == ("a", "好")
    (alone,), problems, _ = find_clips([], text="好")
    assert (alone.sentence, alone.path, problems) == ("好", "", {})
    for places in ([folder], [folder / "a.mp4", folder / "none.mp4"]):
        with pytest.raises(ConfigError, match="--texts FILE"):
            find_clips(places, text="好")
    with pytest.raises(ConfigError, match="exclude"):
        find_clips([folder / "a.mp4"], text="x", texts=folder / "sentences.csv")


def test_sentences_come_from_a_table_and_rows_that_name_no_clip_are_reported(folder):
    text = 'FileName,Subtitle\na.mp4,"好,好"\n' + "".join(f"z{k},x\n" for k in range(5))
    clips, _, remarks = find_clips([folder], texts=table(folder, text))
    assert {c.name: c.sentence for c in clips} == {"a": "好,好", "b": "", "c": ""}
    assert remarks[1:] == ["--texts: 5 rows name none of the clips (z0, z1, z2 and 2 more)"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,sentence\nz,x\n", "names none of the clips"),
        ("name,words\na,x\n", "no column for sentence"),
        ("name,sentence\na,x\na,y\n", "row 2 already"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(folder, text, says):
    with pytest.raises(ConfigError, match=says):
        find_clips([folder], texts=table(folder, text))
