"""The cache of decoded images: made once, whole or not at all; read from read-only disks."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, photograph, refused

from common import load_dataset
from datafiles import build
from datafiles.cache import lock
from support import files
from support.files import hold_lock

PREPARE = ["--dataset", "folder", "--image-size", "32", "--data-dir"]


def load(folder, split="train", **options):
    return load_dataset("folder", folder, split, image_size=32, **options)


def prepare(folder, code=""):
    """A process that runs prepare.py after some lines of code."""
    code += "\nimport prepare, sys; prepare.main()"
    command = [sys.executable, "-c", code, *PREPARE, folder]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, cwd=ROOT, **pipes)


def test_a_second_call_reads_the_cache_and_a_changed_folder_is_decoded_again(photos, monkeypatch):
    before = np.array(load(photos)[0])
    with monkeypatch.context() as patch:
        patch.setattr(build, "decode", None)
        assert np.array_equal(load(photos)[0], before)
    for path in (photos / "attic").iterdir():
        photograph(5).save(path)
    assert not np.array_equal(load(photos)[0], before)


def test_cache_dir_takes_the_cache_and_nothing_is_written_beside_the_images(photos, tmp_path):
    before = sorted(photos.rglob("*"))
    load(photos, cache_dir=tmp_path / "elsewhere")
    assert sorted(photos.rglob("*")) == before and list((tmp_path / "elsewhere").glob("*/*.u8"))
    (tmp_path / "file").write_text("in the way")
    message = refused("folder", photos, "train", cache_dir=tmp_path / "file")
    assert f"{tmp_path / 'file'} cannot be written" in message
    assert "choose another --cache-dir" in message


def test_a_ready_cache_is_read_without_writing(photos):
    before = np.array(load(photos)[0])
    (photos / ".cache" / "lock").unlink()
    times = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    assert np.array_equal(load(photos)[0], before)
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == times


def test_a_killed_build_leaves_no_cache_and_the_next_one_is_whole(photos, tmp_path):
    slow = "from datafiles import build; import time; decode = build.decode\n"
    slow += "build.decode = lambda *arguments: (time.sleep(0.3), decode(*arguments))[1]"
    process = prepare(photos, slow)
    while not (photos / ".cache" / ".unfinished" / "all.u8").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert sorted(path.name for path in (photos / ".cache").iterdir()) == [".unfinished", "lock"]
    for split in ("train", "test"):
        whole = load(photos, split, cache_dir=tmp_path / "uninterrupted")[0]
        assert np.array_equal(load(photos, split)[0], whole)
    (summary,) = (photos / ".cache").glob("*/summary.json")
    assert not (photos / ".cache" / ".unfinished").exists()
    names = sorted(path.name for path in summary.parent.iterdir())
    assert names == ["summary.json", "test.u8", "train.u8"]


def test_of_two_processes_one_decodes_and_the_other_waits(photos):
    with lock(photos / ".cache"):
        both = [prepare(photos), prepare(photos)]
        for process in both:
            assert "waiting for another process" in process.stdout.readline()
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(output.count("decoded once") for output in outputs) == 1
    for output in outputs:
        assert "train: attic 18, barn 18, cellar 18; [3, 32, 32]" in output
        assert "test: attic 2, barn 2" in output


def test_a_damaged_cache_is_named_and_is_made_again_when_it_is_deleted(photos):
    before = np.array(load(photos)[0])
    (folder,) = (photos / ".cache").glob("folder*")
    for path in (folder / "summary.json", folder / "train.u8"):
        whole = path.read_bytes()
        for damaged in (whole[:-9], whole + whole, None):
            path.unlink()
            if damaged:
                path.write_bytes(damaged)
            message = refused("folder", photos, "train", image_size=32)
            assert f"{folder} is damaged (" in message
            assert "delete it to decode again" in message
            path.write_bytes(whole)
    shutil.rmtree(folder)
    assert np.array_equal(load(photos)[0], before)


def test_a_disk_that_fills_up_ends_in_one_line_and_leaves_nothing(photos):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))"
    process = prepare(photos, limit)
    _, errors = process.communicate()
    assert process.returncode == 1 and errors.startswith("error: ") and errors.count("\n") == 1
    assert "could not be written" in errors and "choose another --cache-dir" in errors
    assert [path.name for path in (photos / ".cache").iterdir()] == ["lock"]


# The lock


def test_a_lock_is_held_until_its_file_is_closed(tmp_path):
    with hold_lock(tmp_path / "lock"):
        with pytest.raises(BlockingIOError):  # in the same process too
            hold_lock(tmp_path / "lock")
    hold_lock(tmp_path / "lock").close()
    with pytest.raises(FileNotFoundError):
        hold_lock(tmp_path / "nowhere" / "lock")


def failing(number):
    """A function that raises this error."""

    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_folder_is_decoded_where_nothing_can_be_locked(photos, monkeypatch, number, capsys):
    monkeypatch.setattr(files.fcntl, "flock", failing(number))
    assert len(load(photos)[0]) == 54
    found = f"warning: {photos / '.cache'} cannot be locked"
    assert capsys.readouterr().out.count(found) == 1


def test_without_fcntl_a_warning_stands_for_the_lock(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "fcntl", None)  # as on Windows
    hold_lock(tmp_path / "lock").close()
    assert f"warning: {tmp_path} cannot be locked" in capsys.readouterr().out
