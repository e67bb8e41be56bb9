"""The pixels of LSUN and of folders: decoded once, into one file a split, that is memory-mapped."""

import contextlib
import functools
import hashlib
import json
import math
import os
import shutil
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from datafiles.checks import LEAST, check_counts, constant_notes
from datafiles.decode import decode
from datafiles.fetch import reason
from datafiles.folders import is_image_name, suffix
from datafiles.locks import lock
from datafiles.names import shorten

SPLITS = ("train", "test")
VERSION = 3  # of what a cache holds


def cached_images(stem, where, sources, official, asked, split, size, crop, limit, cache_dir):
    """The pixels of a split, memory-mapped, and how many images each category has.

    stem: begins the names of the cache's files. where: the data, for messages. sources: Folder or
    Lmdb by category. official: those of the official test split, empty where there is none; then
    a tenth of each category, by name, is the test split. asked: the categories that must be there.
    limit: of the images in sources, the first so many of each category; 0: all.

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
        check_names(where, sources, official, asked, limit)
        with lock(cache_dir, "--cache-dir"):
            if not summary.exists():
                build = Build(where, sources, official, asked, size, crop, limit)
                build.write(paths, summary)
    try:
        found = json.loads(summary.read_text())
        counts = {part: selected(found["counts"][part], asked) for part in SPLITS}
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


def selected(counts, asked):
    """Counts of the categories that are asked for, or else of those that have images."""
    return {name: count for name, count in counts.items() if asked or count}


def check_names(where, sources, official, asked, limit):
    """Exit if a category has too few files, whatever they hold: before they are decoded."""
    counts = {split: {} for split in SPLITS}
    for name, source in sources.items():
        count = min(source.count, limit or source.count)
        if not asked and not source.claims() and count < sum(LEAST.values()):
            continue  # no category, it seems; it is left out if no image is in it
        counts["train"][name] = count if official else count - held_out_count(count)
        counts["test"][name] = official[name].count if official else held_out_count(count)
    check_counts(where, counts)


def held_out_count(count):
    """How many of so many images are the test split: a tenth, at least two."""
    return min(count, max(2, count // 10))


def hold_out(names):
    """Which of some names are for tests: the tenth (at least two) whose names hash lowest.

    So few names change their split when others come or go. Returns bool [len(names)].
    """
    digests = [hashlib.sha256(as_bytes(name)).digest() for name in names]
    order = sorted(range(len(names)), key=digests.__getitem__)
    held_out = np.zeros(len(names), bool)
    held_out[order[: held_out_count(len(names))]] = True
    return held_out


def as_bytes(name):
    """A path, or the key of an LMDB, as bytes; paths need not be UTF-8."""
    return name if isinstance(name, bytes) else os.fsencode(name)


def as_text(name):
    """A path, or the key of an LMDB, as text; bytes that are no UTF-8 stay what they are."""
    return os.fsdecode(name)


def claims_image(name):
    """Whether a file is named as an image; all values of an LMDB should be some."""
    return isinstance(name, bytes) or is_image_name(name)


@dataclass
class Outcome:
    """What decoding one file gave: pixels, or the reason why there are none."""

    name: str | bytes
    pixels: np.ndarray | None = None
    digest: bytes = b""
    kind: str | None = None
    white: int | None = None
    no_image: bool = False  # of no format that Pillow knows
    reason: str = ""


def attempt(item, size, crop, whites):
    """Decode one of a source's chunks' pairs of name and function that opens it."""
    name, open_file = item
    try:
        with open_file() as file:
            decoded = decode(file, size, crop, whites)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
    except UnidentifiedImageError:
        return Outcome(name, no_image=True, reason="no image that Pillow opens")
    except OSError as error:
        return Outcome(name, reason=error.strerror or reason(error))
    except Exception as error:  # every decoder has errors of its own
        return Outcome(name, reason=reason(error))
    return Outcome(name, decoded.pixels, digest, decoded.kind, decoded.white)


class Decoding:
    """One pass over the images of a data set, and what was found on the way."""

    def __init__(self, size, crop, whites, pool, files, category_path, progress):
        """whites: the value of white by kind of image, where it is known. pool: of threads.

        files: open to write, by split. category_path: of a file for the pixels of one category,
        before they are split.
        """
        self.size, self.crop, self.whites = size, crop, whites
        self.pool, self.files, self.category_path = pool, files, category_path
        self.progress = progress
        self.counts = {split: {} for split in SPLITS}
        self.left_out = {}  # the reason, by category and file
        self.passed_over = Counter()  # files that are no images, by the end of their names
        self.reasons = {}  # by category: a text about files that were left out or passed over
        self.damaged = set()  # categories with files that were left out
        self.twice = []  # the same file in two categories or splits
        self.seen = {}  # by digest of a file: split, category and file
        self.moments = {}  # by category: how many pixels, their sum, the sum of their squares
        self.used = {}  # by kind of image: the set of values that became white

    def category(self, category, source, official, limit):
        """Decode a category. official: the source of its test split; None: hold a tenth out."""
        self.moments[category] = np.zeros(3)
        decoded = self.decode(category, source, limit, label=category)
        if official is None:
            held_out = hold_out([name for name, _, _ in decoded])
            self.place("train", category, decoded, np.flatnonzero(~held_out))
            self.place("test", category, decoded, np.flatnonzero(held_out))
        else:
            self.place("train", category, decoded, np.arange(len(decoded)))
            decoded = self.decode(category, official, 0, label=f"test split: {category}")
            self.place("test", category, decoded, np.arange(len(decoded)))

    def spread(self):
        """By category, the standard deviation of its pixel values."""
        found = {}
        for category, (count, total, squares) in self.moments.items():
            if count:
                found[category] = math.sqrt(max(0, squares / count - (total / count) ** 2))
        return found

    def decode(self, category, source, limit, label):
        """Write the pixels of a source's images, the first `limit` (0: all), to category_path.

        label: of the category in this split, for messages. Returns the name, the digest and the
        label of each file.
        """
        decoded, left_out, passed_over = [], [], Counter()
        work = functools.partial(attempt, size=self.size, crop=self.crop, whites=self.whites)
        with open(self.category_path, "wb") as file:
            for chunk in source.chunks():
                for outcome in self.pool.map(work, chunk):
                    if limit and len(decoded) == limit:
                        break
                    if outcome.pixels is not None:
                        file.write(outcome.pixels)
                        place = f"{label}/{as_text(outcome.name)}"
                        decoded.append((outcome.name, outcome.digest, place))
                        self.measure(category, outcome)
                    elif outcome.no_image and not claims_image(outcome.name):
                        passed_over[suffix(outcome.name) or "no suffix"] += 1
                    else:
                        left_out.append(outcome)
                self.progress.show(category, len(decoded))
                if limit and len(decoded) == limit:
                    break
        self.progress.end(min(source.count, limit or source.count))
        self.passed_over += passed_over
        texts = [passed_over_note(passed_over)] if passed_over else []
        if left_out:
            self.damaged.add(category)
            first = f"{as_text(left_out[0].name)}: {left_out[0].reason}"
            texts.append(f"left out: {len(left_out)} files, the first {first}")
        for outcome in left_out:
            self.left_out[f"{label}/{as_text(outcome.name)}"] = outcome.reason
        if texts:
            before = [self.reasons[category]] if category in self.reasons else []
            self.reasons[category] = "; ".join(before + texts)
        return decoded

    def measure(self, category, outcome):
        """Add an image to what is known about the values of its category."""
        pixels = outcome.pixels
        squares = np.square(pixels, dtype=np.uint32).sum(dtype=np.int64)
        self.moments[category] += (pixels.size, pixels.sum(dtype=np.int64), squares)
        if outcome.kind:
            self.used.setdefault(outcome.kind, set()).add(outcome.white)

    def place(self, split, category, decoded, rows):
        """Copy rows of category_path to the file of a split."""
        self.counts[split][category] = len(rows)
        shape = (len(decoded), 3, self.size, self.size)
        if len(rows):
            pixels = np.memmap(self.category_path, np.uint8, "r", shape=shape)
            for first in range(0, len(rows), 1024):
                self.files[split].write(pixels[rows[first : first + 1024]])
        for row in rows:
            _, digest, label = decoded[row]
            first = self.seen.setdefault(digest, (split, category, label))
            if first[:2] != (split, category):
                self.twice.append(f"{first[2]} and {label}")


class Build:
    """Decodes a data set on all cores into a file for each split."""

    def __init__(self, where, sources, official, asked, size, crop, limit):
        """The parameters of cached_images."""
        self.where, self.sources, self.official = where, sources, official
        self.asked, self.size, self.crop, self.limit = asked, size, crop, limit

    def write(self, paths, summary):
        """Write the pixels to paths, by split, and then the summary."""
        self.check_room(summary.parent)
        category_path = summary.with_suffix(".u8.tmp")
        files = {split: path.with_name(path.name + ".tmp") for split, path in paths.items()}
        temporary = summary.with_name(summary.name + ".tmp")
        try:
            done = self.decode_all(files, category_path, {})
            several = {kind: max(whites) for kind, whites in done.used.items() if len(whites) > 1}
            if several:
                text = ", ".join(f"{kind} 0 … {white}" for kind, white in several.items())
                print(f"data: decoding again, with one range of values: {text}", flush=True)
                done = self.decode_all(files, category_path, several)
            self.check(done)
            for split, path in paths.items():
                os.replace(files[split], path)
            temporary.write_text(json.dumps(summarise(done), indent=1))
            os.replace(temporary, summary)
        except OSError as error:
            sys.exit(
                f"error: {summary.parent} could not be written ({error}); "
                "make room, or choose another --cache-dir"
            )
        finally:
            for path in [*files.values(), category_path, temporary]:
                path.unlink(missing_ok=True)
        sums = [sum(done.counts[split].values()) for split in SPLITS]
        print(
            f"data: {sums[0]:,} training and {sums[1]:,} test images, decoded once, "
            f"in {summary.parent}",
            flush=True,
        )

    def expected(self):
        """How many images each source gives at most."""
        counts = [min(source.count, self.limit or source.count) for source in self.sources.values()]
        return counts + [source.count for source in self.official.values()]

    def check_room(self, folder):
        """Exit if the disk has no room for the cache, and the pixels of its largest category."""
        total, largest = sum(self.expected()), max(self.expected())
        needed = (total + largest) * 3 * self.size * self.size
        free = shutil.disk_usage(folder).free
        if needed > free:
            sys.exit(
                f"error: {folder} has {free / 1e9:.2f} GB free, the cache of {total:,} images "
                f"needs {needed / 1e9:.2f}; make room, "
                "or choose another --cache-dir or --images-per-category"
            )

    def decode_all(self, paths, category_path, whites):
        """One Decoding, of every category, into paths by split."""
        with contextlib.ExitStack() as stack:
            files = {split: stack.enter_context(open(path, "wb")) for split, path in paths.items()}
            pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
            progress = Progress(sum(self.expected()))
            decoding = Decoding(self.size, self.crop, whites, pool, files, category_path, progress)
            for category, source in self.sources.items():
                decoding.category(category, source, self.official.get(category), self.limit)
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        return decoding

    def check(self, done):
        """Exit, before there is a cache, unless every category has enough images."""
        names = []
        for name in self.sources:
            if self.asked or done.counts["train"][name] or name in done.damaged:
                names.append(name)
        counts = {split: {name: done.counts[split][name] for name in names} for split in SPLITS}
        check_counts(self.where, counts, done.reasons)


def summarise(done):
    """What the summary of a cache tells, as JSON takes it."""
    return {
        "counts": done.counts,
        "left_out": done.left_out,
        "passed_over": done.passed_over,
        "twice": done.twice,
        "spread": done.spread(),
        "white": {kind: max(whites) for kind, whites in done.used.items()},
    }


def notes(found, summary):
    """Lines to print about a data set, from its summary, which lies in a file."""
    lines = []
    for kind, white in found["white"].items():
        lines.append(f"{kind} images: black is 0 and white is {white}")
    empty = [name for name, count in found["counts"]["train"].items() if not count]
    if empty:
        lines.append(f"left out, as no image is in it: {', '.join(empty)}")
    if found["passed_over"]:
        lines.append(passed_over_note(found["passed_over"]))
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


def passed_over_note(counts):
    """How many files of which suffixes are no images."""
    files = [f"{count} {end}" for end, count in sorted(counts.items(), key=lambda item: -item[1])]
    return f"passed over, as they are no images that Pillow opens: {shorten(files, 10)}"


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
