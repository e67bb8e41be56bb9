"""The pixels of LSUN and of folders: decoded once, into one file a split, that is memory-mapped."""

import hashlib
import json
import sys

import numpy as np
from PIL import Image

from datafiles.build import SPLITS, build, hold_out_count
from datafiles.checks import check_counts, constant_notes
from datafiles.fetch import reason
from datafiles.folders import write_counts
from datafiles.locks import lock
from datafiles.names import shorten

VERSION = 3  # of what a cache holds


def cached_images(stem, where, sources, official, split, size, crop, limit, cache_dir):
    """The pixels of a split, memory-mapped, and how many images each category has.

    stem: begins the names of the cache's files. where: the data, for messages. sources: Folder or
    Lmdb by category. official: those of the official test split, empty where there is none; then
    a tenth of each category, by name, is the test split. limit: of the images in sources, the first
    so many of each category; 0: all.

    The first call decodes both splits into cache_dir. A kill leaves no cache; a second process
    waits for the first. Returns np.memmap uint8 [N, 3, size, size], sorted by category, and a dict
    of category name and count.
    """
    Image.init()  # so that all formats, and the ends of their files' names, are known
    state = [VERSION, size, crop, limit]
    state += [{name: source.state for name, source in part.items()} for part in (sources, official)]
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:12]
    summary = cache_dir / f"{stem}_{size}_{digest}.json"
    paths = {part: cache_dir / f"{stem}_{size}_{digest}_{part}.u8" for part in SPLITS}
    if not summary.exists():  # it is written last
        check_files(where, sources, official, limit)
        with lock(cache_dir, "--cache-dir"):
            if not summary.exists():
                build(where, sources, official, size, crop, limit, paths, summary)
    try:
        found = json.loads(summary.read_text())
        counts = found["counts"]
        bytes_expected = sum(counts[split].values()) * 3 * size * size
    except (ValueError, LookupError, TypeError) as error:
        sys.exit(f"error: {summary} is damaged ({reason(error)}); delete it to decode again")
    check_counts(where, counts)
    if split == "train":
        for note in notes(found, summary):
            print(f"data: {note}", flush=True)
    path = paths[split]
    if not path.exists() or path.stat().st_size != bytes_expected:
        sys.exit(f"error: {path} is damaged, expected {bytes_expected} bytes; delete {summary}")
    shape = (sum(counts[split].values()), 3, size, size)
    return np.memmap(path, np.uint8, "c", shape=shape), counts[split]


def check_files(where, sources, official, limit):
    """Exit if a category has too few files, whatever they hold: before they are decoded."""
    counts = {split: {} for split in SPLITS}
    for name, source in sources.items():
        count = min(source.count, limit or source.count)
        held_out = 0 if official else hold_out_count(count)
        counts["train"][name] = count - held_out
        counts["test"][name] = official[name].count if official else held_out
    check_counts(where, counts)


def notes(found, summary):
    """Lines to print about a data set, from its summary, which lies in a file."""
    lines = []
    for kind, white in found["white"].items():
        lines.append(f"{kind} images: black is 0 and white is {white}")
    if found["passed_over"]:
        files = write_counts(found["passed_over"])
        lines.append(f"passed over, as they are no images that Pillow opens: {files}")
    if found["left_out"]:
        some = [f"{label}: {why}" for label, why in found["left_out"].items()]
        lines.append(
            f"left out, as they do not decode: {len(some)} images ({shorten(some)}); "
            f"all of them in {summary} (delete it to try again)"
        )
    if found["twice"]:
        lines.append(
            f"warning: in two categories or splits: {len(found['twice'])} images "
            f"({shorten(found['twice'])}); all of them in {summary}"
        )
    return lines + constant_notes(found["spread"])
