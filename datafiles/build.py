"""Decodes a data set on all cores into a file of pixels for each split, and a summary.

A category is decoded into a spare file first: which of its images are held out for tests is known
when all of them have been tried. Two lists, of the files that were written and of those that were
not, are all that the summary needs.
"""

import contextlib
import functools
import hashlib
import json
import math
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import UnidentifiedImageError

from datafiles.checks import check_counts
from datafiles.decode import decode
from datafiles.fetch import reason
from datafiles.folders import count_endings, is_image_name

SPLITS = ("train", "test")


def build(where, sources, official, size, crop, limit, paths, summary):
    """Write the pixels to paths, by split, and then the summary; nothing where it cannot be done.

    The other parameters are those of cached_images.
    """
    expected = [min(source.count, limit or source.count) for source in sources.values()]
    expected += [source.count for source in official.values()]
    check_room(summary.parent, expected, 3 * size * size)
    spare = summary.with_suffix(".u8.tmp")
    files = {split: path.with_name(path.name + ".tmp") for split, path in paths.items()}
    temporary = summary.with_name(summary.name + ".tmp")
    try:
        work = functools.partial(attempt, size=size, crop=crop)
        done = decode_all(sources, official, limit, work, files, spare, sum(expected))
        whites = found_whites(done)
        several = {kind: max(values) for kind, values in whites.items() if len(values) > 1}
        if several:
            text = ", ".join(f"{kind} 0 … {white}" for kind, white in several.items())
            print(f"data: decoding again, with one range of values: {text}", flush=True)
            work = functools.partial(work, whites=several)
            done = decode_all(sources, official, limit, work, files, spare, sum(expected))
        found = summarise(done, list(sources))
        check_counts(where, found["counts"], reasons(done))
        for split, path in paths.items():
            os.replace(files[split], path)
        temporary.write_text(json.dumps(found, indent=1))
        os.replace(temporary, summary)
    except OSError as error:
        sys.exit(
            f"error: {summary.parent} could not be written ({error}); "
            "make room, or choose another --cache-dir"
        )
    finally:
        for path in [*files.values(), spare, temporary]:
            path.unlink(missing_ok=True)
    sums = [sum(found["counts"][split].values()) for split in SPLITS]
    print(
        f"data: {sums[0]:,} training and {sums[1]:,} test images, decoded once, "
        f"in {summary.parent}",
        flush=True,
    )


def check_room(folder, expected, image_bytes):
    """Exit if the disk has no room for the cache, and the pixels of its largest category."""
    needed = (sum(expected) + max(expected)) * image_bytes
    free = shutil.disk_usage(folder).free
    if needed > free:
        sys.exit(
            f"error: {folder} has {free / 1e9:.2f} GB free, the cache of {sum(expected):,} images "
            f"needs {needed / 1e9:.2f}; make room, "
            "or choose another --cache-dir or --images-per-category"
        )


# --------------------------------------------------------------------------------------------------
# One file


@dataclass(slots=True)
class Outcome:
    """What became of one file: pixels, or the reason why there are none."""

    name: str | bytes
    pixels: np.ndarray | None = None
    digest: bytes = b""
    kind: str | None = None  # and white: those of decode.Decoded
    white: int | None = None
    reason: str = ""
    passed_over: bool = False  # neither an image nor named as one
    category: str = ""
    split: str = ""
    place: str = ""  # its category and name, for messages


def attempt(item, size, crop, whites=None):
    """Decode one of a source's chunks' pairs of name and function that opens it."""
    name, open_file = item
    try:
        with open_file() as file:
            decoded = decode(file, size, crop, whites)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
    except UnidentifiedImageError:
        # All values of an LMDB should be images, and so should files that are named so
        passed_over = isinstance(name, str) and not is_image_name(name)
        why = "no image that Pillow opens"
        return Outcome(name, reason=why, passed_over=passed_over)
    except OSError as error:
        return Outcome(name, reason=error.strerror or reason(error))
    except Exception as error:  # every decoder has errors of its own
        return Outcome(name, reason=reason(error))
    return Outcome(name, decoded.pixels, digest, decoded.kind, decoded.white)


# --------------------------------------------------------------------------------------------------
# All files


def decode_all(sources, official, limit, work, paths, spare, total):
    """One Pass over every category, into paths by split.

    work: turns an item of a source's chunks into an Outcome. spare: a path for the pixels of one
    category. total: how many images there are, for the line of progress.
    """
    with contextlib.ExitStack() as stack:
        files = {split: stack.enter_context(open(path, "wb")) for split, path in paths.items()}
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        done = Pass(work, pool, files, spare, Progress(total))
        for category, source in sources.items():
            done.category(category, source, official.get(category), limit)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    return done


class Pass:
    """One pass over the images of a data set, and what became of each file."""

    def __init__(self, work, pool, files, spare, progress):
        """pool: of threads. files: open to write, by split. The others as in decode_all."""
        self.work, self.pool, self.progress = work, pool, progress
        self.files, self.spare = files, spare
        self.written = []  # an Outcome for each image, without its pixels
        self.failed = []  # an Outcome for each other file
        self.moments = {}  # by category: how many pixel values, their sum, the sum of their squares

    def category(self, category, source, official, limit):
        """Decode a category. official: the source of its test split; None: hold a tenth out."""
        self.moments[category] = np.zeros(3)
        images = self.decode(category, source, limit, label=category)
        if official is None:
            held_out = hold_out([image.name for image in images])
            self.write("train", images, np.flatnonzero(~held_out))
            self.write("test", images, np.flatnonzero(held_out))
        else:
            self.write("train", images, np.arange(len(images)))
            images = self.decode(category, official, 0, label=f"test split: {category}")
            self.write("test", images, np.arange(len(images)))

    def decode(self, category, source, limit, label):
        """Write the pixels of a source's images, the first `limit` (0: all), to the spare file.

        label: of the category in this split, for messages. Returns their Outcomes.
        """
        images = []
        with open(self.spare, "wb") as file:
            for outcome in self.outcomes(source):
                outcome.category = category
                # Bytes of a name that are no UTF-8 stay what they are
                outcome.place = f"{label}/{os.fsdecode(outcome.name)}"
                if outcome.pixels is None:
                    self.failed.append(outcome)
                    continue
                file.write(outcome.pixels)
                self.measure(outcome)
                outcome.pixels = None
                images.append(outcome)
                self.progress.show(category, len(images))
                if len(images) == limit:
                    break
        self.progress.end(min(source.count, limit or source.count))
        return images

    def outcomes(self, source):
        """An Outcome for each file, in order."""
        for chunk in source.chunks():
            yield from self.pool.map(self.work, chunk)

    def measure(self, outcome):
        """Add an image to what is known about the values of its category."""
        pixels = outcome.pixels
        squares = np.square(pixels, dtype=np.uint32).sum(dtype=np.int64)
        self.moments[outcome.category] += (pixels.size, pixels.sum(dtype=np.int64), squares)

    def write(self, split, images, rows):
        """Copy rows of the spare file, which holds the pixels of images, to the file of a split."""
        if not len(rows):
            return
        pixels = np.memmap(self.spare, np.uint8, "r").reshape(len(images), -1)
        for first in range(0, len(rows), 1024):
            self.files[split].write(pixels[rows[first : first + 1024]])
        for row in rows:
            images[row].split = split
            self.written.append(images[row])


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


class Progress:
    """Prints a line every three seconds."""

    def __init__(self, total):
        self.total, self.done = total, 0
        self.started = self.printed = time.monotonic()

    def show(self, category, count):
        """count: of the images of this category that are decoded."""
        now = time.monotonic()
        done = self.done + count
        if now - self.printed > 3 and done:
            self.printed = now
            rate = done / (now - self.started)
            left = (self.total - done) / rate / 60
            print(
                f"data: decoded {done:,} of {self.total:,} images ({category}), "
                f"{rate:.0f}/s, {left:.1f} min left",
                flush=True,
            )

    def end(self, count):
        """A source with so many images is done."""
        self.done += count


# --------------------------------------------------------------------------------------------------
# What a Pass tells


def summarise(done, categories):
    """What the summary of a cache tells, as JSON takes it."""
    counts = {split: dict.fromkeys(categories, 0) for split in SPLITS}
    twice, seen = [], {}
    for outcome in done.written:
        counts[outcome.split][outcome.category] += 1
        first = seen.setdefault(outcome.digest, outcome)
        if (first.split, first.category) != (outcome.split, outcome.category):
            twice.append(f"{first.place} and {outcome.place}")
    spread = {}
    for category, (count, total, squares) in done.moments.items():
        if count:
            spread[category] = math.sqrt(max(0, squares / count - (total / count) ** 2))
    return {
        "counts": counts,
        "left_out": {file.place: file.reason for file in done.failed if not file.passed_over},
        "passed_over": count_endings(file.name for file in done.failed if file.passed_over),
        "twice": twice,
        "spread": spread,
        "white": {kind: max(whites) for kind, whites in found_whites(done).items()},
    }


def found_whites(done):
    """By kind of image, the set of values that became white."""
    found = {}
    for outcome in done.written:
        if outcome.kind:
            found.setdefault(outcome.kind, set()).add(outcome.white)
    return found


def reasons(done):
    """By category, a text about the files that gave no image."""
    by_category = {}
    for outcome in done.failed:
        by_category.setdefault(outcome.category, []).append(outcome)
    found = {}
    for category, outcomes in by_category.items():
        first = f"{os.path.basename(outcomes[0].place)}: {outcomes[0].reason}"
        found[category] = f"left out: {len(outcomes)} files, the first {first}"
    return found
