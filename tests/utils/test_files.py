import errno
import os
import platform
import subprocess
import sys

import pytest

from meiju.utils import files
from meiju.utils.system import Unreadable

HOLD = """
import sys, time
from pathlib import Path
from meiju.utils import files
with files.reserved(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_written_file_replaces_the_old_one_and_a_write_that_fails_leaves_it(tmp_path):
    path = tmp_path / "new" / "report.html"
    files.write_text(path, "old")
    files.write_text(path, "高兴\n")
    with pytest.raises(KeyboardInterrupt), files.atomic_path(path) as part:  # noqa: PT012
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_bytes() == "高兴\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_json_is_read_back_and_its_digest_ignores_the_order_of_keys(tmp_path):
    value = {"b": [1, None, "高兴"], "a": {"c": 0.5}}
    files.write_json(tmp_path / "x.json", value)
    assert files.read_json(tmp_path / "x.json") == value
    assert files.digest(value) == files.digest({"a": {"c": 0.5}, "b": [1, None, "高兴"]})
    assert files.digest(value) != files.digest({**value, "a": {"c": 0.6}})


def test_a_full_disk_is_reported_with_the_file_that_could_not_be_written(tmp_path):
    with pytest.raises(OSError, match=r"table\.csv"), files.atomic_path(tmp_path / "table.csv"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_is_written_by_one_process_at_a_time(tmp_path):
    folder = tmp_path / "stage1"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(files.Busy, match=f"{folder} .process {holder.pid} on {platform.node()}"):
            files.reserved(folder).__enter__()
        holder.kill()
    with files.reserved(folder):  # a killed process blocks nobody
        pass


def test_leftovers_of_processes_that_are_gone_are_swept(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    node, own = platform.node(), os.getpid()
    kept = [f"a.csv.{node}.{own}.part", f"a.csv.other-host.{gone.pid}.part", "a.csv", f"b.{gone.pid}"]
    (tmp_path / "below").mkdir()
    for name in (*kept, f"a.csv.{node}.{gone.pid}.part"):
        (tmp_path / "below" / name).touch()
    files.sweep(tmp_path)
    assert sorted(path.name for path in (tmp_path / "below").iterdir()) == sorted(kept)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe"])
def test_what_is_no_json_is_named_with_the_remedy(tmp_path, content):
    path = tmp_path / "done.json"
    path.write_bytes(content)
    with pytest.raises(files.Damaged, match=r"done\.json is damaged .* delete it and give the same commands again"):
        files.read_json(path)


def test_an_archive_that_sends_its_reader_before_its_start_is_damaged(tmp_path):
    with pytest.raises(files.Damaged, match=r"a\.npz is damaged"), files.reading(tmp_path / "a.npz"):
        raise OSError(errno.EINVAL, "Invalid argument")
    with pytest.raises(Unreadable, match="make it readable"), files.reading(tmp_path / "a.npz"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_file_that_a_folder_has_lost_is_damage_of_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError), files.reading(tmp_path / "a"):
        (tmp_path / "a").read_bytes()
    message = pytest.raises(files.Damaged, match=f"delete {tmp_path} and")
    with message, files.reading(tmp_path / "a", delete=tmp_path):
        (tmp_path / "a").read_bytes()
