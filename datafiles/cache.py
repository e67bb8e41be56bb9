"""The pixels of LSUN and of folders: decoded once, into one file a split, that is memory-mapped."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time

import numpy as np

from datafiles.build import build, count_files
from datafiles.checks import check_counts
from support.files import hold_lock, reason, say

VERSION = 4  # of what a cache holds


def cached_images(stem, where, sources, official, split, size, crop, limit, cache_dir):
    """The pixels of a split, memory-mapped, and how many images each category has.

    stem: begins the name of the cache's folder. where: the data, for messages. sources: Folder or
    Lmdb by category. official: those of the official test split, empty where there is none; then
    a tenth of each category, by name, is the test split. limit: of the images in sources, the first
    so many of each category; 0: all.

    The first call decodes both splits into a folder in cache_dir, which gets its name when it is
    whole. A second process waits for the first. Returns np.memmap uint8 [N, 3, size, size], sorted
    by category, and a dict of category name and count.
    """
    state = [VERSION, size, crop, limit]
    state += [{name: source.state for name, source in part.items()} for part in (sources, official)]
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:12]
    folder = cache_dir / f"{stem}_{size}_{digest}"
    if not folder.exists():
        check_counts(where, count_files(sources, official, limit))
        with lock(cache_dir), unfinished(cache_dir) as temporary:
            if not folder.exists():
                build(where, sources, official, size, crop, limit, temporary)
                os.replace(temporary, folder)
    return read(folder, split, size)


def read(folder, split, size):
    """The pixels and counts of a split. Prints what was noticed when they were decoded."""
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text())
        counts = summary["counts"][split]
        shape = (sum(counts.values()), 3, size, size)
        images = np.memmap(folder / f"{split}.u8", np.uint8, "c").reshape(shape)
        notes = summary["notes"]
        if summary["left_out"] or summary["twice"]:
            notes.append(f"all of them are listed in {path}")
    except (OSError, ValueError, LookupError, TypeError) as error:
        sys.exit(f"error: {folder} is damaged ({reason(error)}); delete it to decode again")
    if split == "train":
        for note in notes:
            say(f"data: {note}")
    return images, counts


@contextlib.contextmanager
def unfinished(cache_dir):
    """An empty folder, deleted at the end if it is still there, or by the next process."""
    folder = cache_dir / ".unfinished"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def lock(folder):
    """A folder, made if need be, for this process only; others wait for it."""
    waiting = False
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = hold_lock(folder / "lock")
            break
        except BlockingIOError:
            if not waiting:
                say(f"data: waiting for another process to make {folder} ready")
            waiting = True
            time.sleep(0.2)
        except OSError as error:
            sys.exit(f"error: {folder} cannot be written ({error}); choose another --cache-dir")
    with file:
        yield
