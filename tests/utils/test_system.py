"""Whose error it is, at every place that reads: what the system refuses is never stored as missing or damaged."""

import errno
import os
import shutil
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from meiju import cli
from meiju.config import ConfigError, CorpusConfig
from meiju.data.corpus import read_corpus
from meiju.data.submission import check
from meiju.features import frame_store, tracks
from meiju.features.arrays import NpyFrames
from meiju.features.base import Clip, read_media
from meiju.features.media import MediaError, read_seconds
from meiju.features.smart_turn import SmartTurn
from meiju.serving.inputs import find_clips
from meiju.utils import files, hub, system
from meiju.utils.system import Unreadable
from toy_clips import write_noise
from whole_clips import read_audio, read_frames

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
INVALID_DATA = 1094995529  # libav's own number for damage
CALLED = "is a Git LFS pointer: git lfs pull"


def os_error(number: int, place: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), place)


def of_av(number: int) -> Exception:
    with pytest.raises(av.FFmpegError) as caught:
        av.error.err_check(-number, filename="x")
    return caught.value


def while_handled(number: int) -> Exception:
    error = zipfile.BadZipFile("bad")
    error.__context__ = os_error(number)
    return error


def of_numpy(size: int) -> MemoryError:
    error = MemoryError()
    error.shape = (size,)
    return error


@pytest.mark.parametrize("wrapped", [os_error, of_av, while_handled])
@pytest.mark.parametrize("name", ["EIO", "EACCES", "ENOTCONN", "ETIMEDOUT", "ENOMEM", "EMFILE", "ENOSPC"])
def test_an_error_of_the_system_ends_a_script_in_one_line_whatever_library_wraps_it(name, wrapped):
    number = getattr(errno, name)
    assert system.errno_of(wrapped(number)) == number
    with pytest.raises(SystemExit, match=rf"^error: {os.strerror(number)}[^\n]*; [^\n]+$"), cli.plain_end():
        raise wrapped(number)


def test_what_is_missing_or_damaged_is_not_the_systems():
    for error in (of_av(errno.ENOENT), os_error(errno.EINVAL), of_av(INVALID_DATA), ValueError("5"), of_numpy(2**50)):
        assert system.errno_of(error) is None
    assert system.errno_of(of_numpy(2**20)) == errno.ENOMEM  # an array that another machine could hold


def test_what_helps_fits_what_was_done(tmp_path):
    assert "--train.together" in system.describe(torch.OutOfMemoryError("CUDA out of memory."))
    assert "writable" in system.describe(os_error(errno.EACCES, "/work/x"))
    message = r"clip\.mp4: Permission denied; make it readable, and"
    with pytest.raises(Unreadable, match=message), system.reading(tmp_path / "clip.mp4"):
        raise os_error(errno.EACCES)
    with pytest.raises(SystemExit, match=r"^error: Not a directory: /x/y; see to that path"), cli.plain_end():
        raise os_error(errno.ENOTDIR, "/x/y")


# What reads clips.


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_noise(tmp_path / "clip.mp4", n_pictures=30, seconds=3)


def fail_in_av(monkeypatch, number: int, name: str = "clip.mp4") -> None:
    """libav alone cannot open the file of that name, or all files."""
    real = av.open
    monkeypatch.setattr(av, "open", lambda path, *args, **options: real(check(path), *args, **options))

    def check(path):
        if name in str(path):
            raise of_av(number)
        return path


def clip_of(path: Path) -> Clip:
    return Clip(path.stem, "", str(path))


def test_a_clip_that_libav_may_not_open_is_not_damaged(clip, monkeypatch):
    fail_in_av(monkeypatch, errno.EIO)
    for read in (
        lambda path: read_frames(path, fps=5, size=32),
        read_seconds,
        lambda path: read_media(clip_of(path), read_audio),
        lambda path: SmartTurn(max_frames=4).missing_input([clip_of(path)]),
    ):
        with pytest.raises(Unreadable, match=r"cannot read .*clip.mp4: "):
            read(clip)


@pytest.mark.parametrize("at", [1, 6])
def test_a_drive_that_fails_midway_does_not_end_the_clip(clip, monkeypatch, at):
    read, times = tracks._Reader.read, iter(range(1, 1000))
    monkeypatch.setattr(tracks._Reader, "read", lambda *args: failing() if next(times) == at else read(*args))
    with pytest.raises(Unreadable, match=r"cannot read .*clip.mp4: "):
        read_audio(clip)


def test_numbers_by_which_libav_speaks_of_damage_stay_damage(clip, monkeypatch):
    fail_in_av(monkeypatch, errno.EIO, name="")
    with pytest.raises(MediaError, match="not decodable"):
        read_audio(clip)


def test_nothing_is_stored_of_a_clip_that_failed_and_the_same_command_goes_on(clip, monkeypatch):
    def extract(folder):
        options = {"meta": {}, "seed": 0, "n_jobs": 1, "label": "sound"}
        return frame_store.extract(SmartTurn(max_frames=4), [clip_of(clip)], [], folder, **options)

    with monkeypatch.context() as patch:
        fail_in_av(patch, errno.EIO)
        with pytest.raises(Unreadable):
            extract(clip.parent / "store")
    store = extract(clip.parent / "store")
    assert len(store.missing) == 0
    np.testing.assert_array_equal(store.frames, extract(clip.parent / "undisturbed").frames)


def test_a_clip_that_cannot_be_read_is_named_beside_those_that_are_predicted(clip, monkeypatch):
    clip.with_name("other.mp4").write_bytes(clip.read_bytes())
    fail_in_av(monkeypatch, errno.EIO)
    clips, problems, _ = find_clips([clip.parent])
    assert [one.name for one in clips] == ["other"]
    assert os.strerror(errno.EIO) in problems[str(clip)]


# What reads other files.


def failing(*_, **__):
    raise os_error(errno.EIO)


def test_a_file_that_cannot_be_hashed_is_named(clip, monkeypatch):
    monkeypatch.setattr(files.hashlib, "file_digest", failing)
    with pytest.raises(Unreadable, match=r"cannot read .*clip.mp4: "):
        files.content_hashes([clip], clip.parent / "known.json", label="clips")


def test_frames_that_lie_ready_and_cannot_be_read_are_not_missing(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    with zipfile.ZipFile(tmp_path / "frames.zip", "w") as archive:
        archive.write(tmp_path / "a.npy", "a.npy")
    monkeypatch.setattr(zipfile.ZipFile, "read", failing)
    monkeypatch.setattr(Path, "read_bytes", failing)
    for place in (tmp_path, tmp_path / "frames.zip"):
        with pytest.raises(Unreadable, match="cannot read"):
            NpyFrames(str(place)).encode([Clip("a", "", "")])


def test_a_model_that_cannot_be_read_is_not_missing(tmp_path):
    class Kind:
        from_pretrained = staticmethod(failing)

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(Unreadable, match=f"cannot read {tmp_path}"):
        hub.load(Kind, str(tmp_path))


# Folders and tables of others.


def refuse(monkeypatch, name: str) -> None:
    """Folders and files whose names begin so may not be read, as if another user owned them."""

    def checked(path):
        if Path(path).name.startswith(name):
            raise os_error(errno.EACCES, str(path))
        return path

    scandir, read_bytes = os.scandir, Path.read_bytes
    monkeypatch.setattr(os, "scandir", lambda path: scandir(checked(path)))
    monkeypatch.setattr(Path, "read_bytes", lambda path: read_bytes(checked(path)))


def test_a_folder_of_another_user_is_passed_over_and_named_but_not_the_folder_itself(tmp_path, monkeypatch):
    (tmp_path / "lost+found").mkdir()
    refuse(monkeypatch, "lost+found")
    _, _, remarks = find_clips([tmp_path])
    assert f"passed over: {tmp_path / 'lost+found'} (Permission denied; make it readable)" in remarks
    refuse(monkeypatch, tmp_path.name)
    with pytest.raises(Unreadable, match="make it readable"):
        find_clips([tmp_path])


def test_a_corpus_passes_over_a_closed_folder_and_names_a_closed_table(root, monkeypatch):
    refuse(monkeypatch, "NoAnnotation")
    corpus = read_corpus(CorpusConfig(root), needs_media=True)
    assert "NoAnnotation: is passed over: Permission denied (make it readable)" in corpus.remarks[0]
    refuse(monkeypatch, "Training_")
    with pytest.raises(Unreadable, match=r"Training_.*csv: Permission denied; make it readable"):
        read_corpus(CorpusConfig(root), needs_media=True)


# What git leaves where Git LFS has not fetched the file itself.


def read_model(path: Path):
    (path.parent / "config.json").write_text("{}")
    hub.locate(str(path.parent))


def read_npy(path: Path):
    raise NpyFrames(str(path.parent)).encode([Clip(path.stem, "", "")])[0]


def read_submission(path: Path):
    raise ConfigError(check(path, names=[], emotions=[], intents=[])[0])


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.mp4", read_audio),
        ("a.zip", lambda path: NpyFrames(str(path))),
        ("a.npy", read_npy),
        ("model.safetensors", read_model),
        ("model.json", files.read_json),
        ("submission.zip", read_submission),
        ("texts.csv", lambda path: find_clips([path.parent], texts=path)),
    ],
)
def test_a_git_lfs_pointer_is_called_that_everywhere(tmp_path, name, read):
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(Exception, match=CALLED):
        read(tmp_path / name)


def test_a_corpus_of_git_lfs_pointers_is_refused(tmp_path, root):
    copy = shutil.copytree(root, tmp_path / "corpus")
    for path in copy.rglob("*.mp4"):
        path.write_bytes(POINTER)
    with pytest.raises(ConfigError, match=CALLED):
        read_corpus(CorpusConfig(copy), needs_media=True)
