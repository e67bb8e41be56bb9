"""Decodes a data set on all cores: the pixels of each split, in a file, and a summary.

Which images of a category are held out for tests is known when all of them have been tried, as
files that do not decode count for nothing. So its pixels go to a spare file first.
"""

import collections
import contextlib
import functools
import hashlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import UnidentifiedImageError

from datafiles.checks import check_counts
from datafiles.decode import decode
from datafiles.fetch import reason
from datafiles.folders import count_endings
from datafiles.names import shorten

SPLITS = ("train", "test")
AHEAD = 4 * os.cpu_count()  # so many images are in work at once


def build(where, sources, official, size, crop, limit, folder):
    """Write train.u8, test.u8 and summary.json into a folder.

    The other parameters are those of cached_images. Exits with one line if a category has too few
    images, or if the disk is full.
    """
    whites = {}
    try:
        while True:
            done = decode_all(sources, official, size, crop, limit, whites, folder)
            several = {kind: max(ends) for kind, ends in done.whites.items() if len(ends) > 1}
            if not several:
                break
            whites.update(several)
            text = ", ".join(f"{kind} 0 … {white}" for kind, white in several.items())
            print(f"data: decoding again, with one range of values: {text}", flush=True)
        check_counts(where, done.counts, reasons(done))
        (folder / "summary.json").write_text(json.dumps(summarise(done), indent=1))
    except OSError as error:
        sys.exit(
            f"error: {folder} could not be written ({error}); "
            "make room, or choose another --cache-dir"
        )
    training, test = (sum(done.counts[split].values()) for split in SPLITS)
    found = f"{training:,} training and {test:,} test images, decoded once, in {folder.parent}"
    print(f"data: {found}", flush=True)


def count_files(sources, official, limit):
    """By split and category, how many images there are if all files are images."""
    counts = {split: {} for split in SPLITS}
    for name, source in sources.items():
        count = min(source.count, limit or source.count)
        held_out = 0 if official else hold_out_count(count)
        counts["train"][name] = count - held_out
        counts["test"][name] = official[name].count if official else held_out
    return counts


def hold_out_count(count):
    """How many of so many images are the test split: a tenth, at least two."""
    return min(count, max(2, count // 10))


def hold_out(names):
    """Which of some names are for tests: the tenth (at least two) whose names hash lowest.

    So few names change their split when others come or go. names: paths, or keys of an LMDB.
    Returns bool [len(names)].
    """
    digests = [hashlib.sha256(os.fsencode(name)).digest() for name in names]
    order = sorted(range(len(names)), key=digests.__getitem__)
    held_out = np.zeros(len(names), bool)
    held_out[order[: hold_out_count(len(names))]] = True
    return held_out


# --------------------------------------------------------------------------------------------------
# Decoding


def decode_all(sources, official, size, crop, limit, whites, folder):
    """One Pass over all images, into folder/train.u8 and folder/test.u8.

    whites: as in decode(). The other parameters are those of cached_images.
    """
    total = sum(sum(counts.values()) for counts in count_files(sources, official, limit).values())
    work = functools.partial(attempt, size=size, crop=crop, whites=whites)
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        files = {}
        for name in (*SPLITS, "spare"):
            files[name] = stack.enter_context(open(folder / f"{name}.u8", "w+b"))
        done = Pass(sources, pool, work, files, 3 * size * size, Progress(total))
        for category, source in sources.items():
            images = done.decode(category, source, limit, label=category)
            held_out = np.zeros(len(images), bool)
            if not official:
                held_out = hold_out([image.name for image in images])
            done.write("train", images, np.flatnonzero(~held_out))
            done.write("test", images, np.flatnonzero(held_out))
            if official:
                images = done.decode(category, official[category], 0, f"test split: {category}")
                done.write("test", images, range(len(images)))
        for split in SPLITS:
            files[split].flush()
            os.fsync(files[split].fileno())
    (folder / "spare.u8").unlink()
    return done


class Row(NamedTuple):
    """An image in a row of the spare file: where it is from, and the SHA-256 of its file."""

    category: str
    name: str | bytes
    place: str  # category and name, for messages
    digest: bytes


class Pass:
    """One pass over the images of a data set, and what it found."""

    def __init__(self, categories, pool, work, files, image_bytes, progress):
        """pool: of threads, in which work is called: attempt(), with all but an item of a source.

        files: open to write, "train", "test" and "spare". image_bytes: the size of an image there.
        """
        self.pool = pool
        self.work = work
        self.files = files
        self.image_bytes = image_bytes
        self.progress = progress
        self.counts = {split: dict.fromkeys(categories, 0) for split in SPLITS}
        self.whites = {}  # by kind of image, the set of values that became white
        self.failed = {}  # by category and place of a file, why it gave no image
        self.seen = {}  # by digest, the split and the first Row that has it
        self.twice = []  # texts about files that are in two categories or splits

    def decode(self, category, source, limit, label):
        """Write the pixels of a source's images, the first `limit` (0: all), to the spare file.

        label: of the category in this split, for messages. Returns a list of Row.
        """
        images = []
        self.files["spare"].seek(0)
        for name, decoded, digest, why in in_order(self.pool, self.work, source.items()):
            self.progress.show(category)
            place = f"{label}/{os.fsdecode(name)}"  # bytes that are no UTF-8 stay what they are
            if decoded is None:
                self.failed.setdefault(category, {})[place] = why
                continue
            self.files["spare"].write(decoded.pixels)
            if decoded.kind:
                self.whites.setdefault(decoded.kind, set()).add(decoded.white)
            images.append(Row(category, name, place, digest))
            if len(images) == limit:
                break
        return images

    def write(self, split, images, rows):
        """Copy rows of the spare file, which holds images, to the file of a split."""
        for row in rows:
            image = images[row]
            self.files["spare"].seek(row * self.image_bytes)
            self.files[split].write(self.files["spare"].read(self.image_bytes))
            self.counts[split][image.category] += 1
            first_split, first = self.seen.setdefault(image.digest, (split, image))
            if (first_split, first.category) != (split, image.category):
                self.twice.append(f"{first.place} and {image.place}")


def attempt(name, open_file, size, crop, whites):
    """Decode one of a source's items.

    Returns its name, a Decoded or None, the SHA-256 of the file, and why it is no image.
    """
    try:
        with open_file() as file:
            decoded = decode(file, size, crop, whites)
            file.seek(0)
            return name, decoded, hashlib.file_digest(file, "sha256").digest(), ""
    except UnidentifiedImageError:
        why = "no image that Pillow opens"
    except OSError as error:
        why = error.strerror or reason(error)
    except Exception as error:  # every decoder has errors of its own
        why = reason(error)
    return name, None, b"", why


def in_order(pool, work, items):
    """What work returns for each item, in order; a few more than those asked for are in work."""
    waiting = collections.deque()
    for item in items:
        waiting.append(pool.submit(work, *item))
        if len(waiting) >= AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class Progress:
    """Prints a line every three seconds."""

    def __init__(self, total):
        self.total, self.done = total, 0
        self.started = self.printed = time.monotonic()

    def show(self, category):
        """Another image is done, which is of this category."""
        self.done += 1
        now = time.monotonic()
        if now - self.printed > 3:
            self.printed = now
            rate = self.done / (now - self.started)
            left = max(0, self.total - self.done) / rate / 60
            print(
                f"data: decoded {self.done:,} of {self.total:,} images ({category}), "
                f"{rate:.0f}/s, {left:.1f} min left",
                flush=True,
            )


# --------------------------------------------------------------------------------------------------
# What a Pass tells


def reasons(done):
    """By category, a text about the files that gave no image."""
    found = {}
    for category, failed in done.failed.items():
        place, why = next(iter(failed.items()))
        first = f"{os.path.basename(place)}: {why}"
        found[category] = f"left out: {len(failed)} files, the first {first}"
    return found


def summarise(done):
    """The summary of a cache, as JSON takes it: counts, lines to print, and all that they tell."""
    left_out = {}
    for failed in done.failed.values():
        left_out.update(failed)
    notes = []
    for kind, ends in done.whites.items():
        notes.append(f"{kind} images: black is 0 and white is {max(ends)}")
    if left_out:
        some = [f"{place}: {why}" for place, why in left_out.items()]
        notes.append(f"left out, as no image: {count_endings(left_out)} ({shorten(some)})")
    if done.twice:
        notes.append(
            f"warning: in two categories or splits: {len(done.twice)} images "
            f"({shorten(done.twice)})"
        )
    return {"counts": done.counts, "notes": notes, "left_out": left_out, "twice": done.twice}
