"""Decodes a data set on all cores: the pixels of each split, in a file, and a summary.

Which images of a category are held out for tests is known when all of them have been tried, as
files that do not decode count for nothing. So all pixels go to one file first.
"""

import collections
import functools
import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import UnidentifiedImageError

from datafiles.checks import check_counts
from datafiles.decode import decode
from datafiles.folders import count_endings
from datafiles.names import shorten
from support.files import reason, say
from support.progress import progress

SPLITS = ("train", "test")
AHEAD = 4 * os.cpu_count()  # so many images are in work at once


@dataclass(slots=True)
class Outcome:
    """What became of one file."""

    name: str | bytes
    digest: bytes = b""  # SHA-256
    kind: str | None = None  # and white: those of decode.Decoded
    white: int | None = None
    why: str = ""  # why it gave no image
    category: str = ""
    split: str = ""
    place: str = ""  # category and name, for messages


def build(where, sources, official, size, crop, limit, folder):
    """Write train.u8, test.u8 and summary.json into a folder.

    The other parameters are those of cached_images. Exits with one line if a category has too few
    images, or if the disk is full.
    """
    pixels = folder / "all.u8"
    whites = {}
    try:
        while True:
            work = functools.partial(attempt, size=size, crop=crop, whites=whites)
            outcomes = decode_all(sources, official, limit, work, pixels)
            several = {
                kind: max(ends) for kind, ends in whites_of(outcomes).items() if len(ends) > 1
            }
            if not several:
                break
            whites.update(several)
            text = ", ".join(f"{kind} 0 … {white}" for kind, white in several.items())
            say(f"data: decoding again, with one range of values: {text}")
        images = [outcome for outcome in outcomes if not outcome.why]
        failed = [outcome for outcome in outcomes if outcome.why]
        if not official:
            hold_out_tenths(images)
        counts = {split: dict.fromkeys(sources, 0) for split in SPLITS}
        for image in images:
            counts[image.split][image.category] += 1
        check_counts(where, counts, reasons(failed))
        write_splits(pixels, images, folder)
        pixels.unlink()
        summary = {"counts": counts, **summarise(images, failed)}
        (folder / "summary.json").write_text(json.dumps(summary, indent=1))
    except OSError as error:
        sys.exit(
            f"error: {folder} could not be written ({error}); "
            "make room, or choose another --cache-dir"
        )
    training, test = (sum(counts[split].values()) for split in SPLITS)
    say(f"data: {training:,} training and {test:,} test images, decoded once, in {folder.parent}")


# --------------------------------------------------------------------------------------------------
# Which images are for tests


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


def hold_out_tenths(images):
    """Set the split of those Outcomes that are held out, of each category, to "test"."""
    by_category = collections.defaultdict(list)
    for image in images:
        by_category[image.category].append(image)
    for some in by_category.values():
        for image, held_out in zip(some, hold_out([image.name for image in some])):
            if held_out:
                image.split = "test"


# --------------------------------------------------------------------------------------------------
# Decoding and writing


def decode_all(sources, official, limit, work, path):
    """Write the pixels of all images to a file. Returns an Outcome for each file that was tried.

    They are those of the training split, then those of the official test split, each sorted by
    category. work: attempt(), for an item of a source.
    """
    parts = [(category, "train", source, limit) for category, source in sources.items()]
    parts += [(category, "test", source, 0) for category, source in official.items()]
    outcomes = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, open(path, "wb") as file:
        for category, split, source, most in parts:
            label = category if split == "train" else f"test split: {category}"
            count = min(source.count, most or source.count)
            decoded = in_order(pool, work, source.items())
            images = 0
            for outcome, pixels in progress(decoded, f"data: decoding {label}", count):
                outcome.category = category
                outcome.split = split
                # Bytes of a name that are no UTF-8 stay what they are
                outcome.place = f"{label}/{os.fsdecode(outcome.name)}"
                outcomes.append(outcome)
                if not outcome.why:
                    file.write(pixels)
                    images += 1
                if most and images == most:
                    break
    return outcomes


def attempt(name, open_file, size, crop, whites):
    """Decode one of a source's items. Returns an Outcome, and pixels, or None if it is no image."""
    try:
        with open_file() as file:
            pixels, kind, white = decode(file, size, crop, whites)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
            return Outcome(name, digest, kind, white), pixels
    except UnidentifiedImageError:
        why = "no image that Pillow opens"
    except OSError as error:
        why = error.strerror or reason(error)
    except Exception as error:  # every decoder has errors of its own
        why = reason(error)
    return Outcome(name, why=why), None


def in_order(pool, work, items):
    """What work returns for each item, in order; a few more than those asked for are in work."""
    waiting = collections.deque()
    for item in items:
        waiting.append(pool.submit(work, *item))
        if len(waiting) >= AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def write_splits(path, images, folder):
    """Copy pixels, which are those of the images, in their order, to the file of each split."""
    pixels = np.memmap(path, np.uint8, "r").reshape(len(images), -1)
    for split in SPLITS:
        with open(folder / f"{split}.u8", "wb") as file:
            for image, row in zip(images, pixels):
                if image.split == split:
                    file.write(row)
            file.flush()
            os.fsync(file.fileno())


# --------------------------------------------------------------------------------------------------
# What is told


def whites_of(outcomes):
    """By kind of image, the set of values that became white."""
    found = collections.defaultdict(set)
    for outcome in outcomes:
        if outcome.kind:
            found[outcome.kind].add(outcome.white)
    return found


def reasons(failed):
    """By category, a text about the files that gave no image."""
    found = {}
    for category, count in collections.Counter(file.category for file in failed).items():
        first = next(file for file in failed if file.category == category)
        name = os.path.basename(first.place)
        found[category] = f"left out: {count} files, the first {name}: {first.why}"
    return found


def summarise(images, failed):
    """Lines to print about a data set, and in full the lists that they begin."""
    notes = []
    for kind, ends in whites_of(images).items():
        notes.append(f"{kind} images: black is 0 and white is {max(ends)}")
    left_out = {file.place: file.why for file in failed}
    if left_out:
        some = [f"{place}: {why}" for place, why in left_out.items()]
        notes.append(f"left out, as no image: {count_endings(left_out)} ({shorten(some)})")
    twice, seen = [], {}
    for image in images:
        first = seen.setdefault(image.digest, image)
        if (first.category, first.split) != (image.category, image.split):
            twice.append(f"{first.place} and {image.place}")
    if twice:
        found = f"{len(twice)} images ({shorten(twice)})"
        notes.append(f"warning: in two categories or splits: {found}")
    return {"notes": notes, "left_out": left_out, "twice": twice}
