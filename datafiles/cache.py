"""The pixels of LSUN and of folders: decoded once, into one file a split, that is memory-mapped."""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from datafiles.decode import decode

SPLITS = ("train", "test")


@contextlib.contextmanager
def lock(folder):
    """A folder, made if need be, for this process only; others wait for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(folder / "lock", timeout=0)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            print(f"data: waiting for another process to make {folder} ready", flush=True)
            connection.execute("PRAGMA busy_timeout = 1000000000")
            connection.execute("BEGIN EXCLUSIVE")
    except (OSError, sqlite3.DatabaseError) as error:
        sys.exit(
            f"error: {folder} cannot be written ({error}); choose another --cache-dir or --data-dir"
        )
    with contextlib.closing(connection):
        yield


def cached_images(name, where, sources, official, split, size, crop, limit, cache_dir):
    """The pixels of a split, memory-mapped, and how many images each category has.

    name: begins the names of the cache's files. where: the data, for messages. sources: Folder or
    Lmdb by category; official: those of the official test split, empty where there is none. Then a
    tenth of each category, by name, is the test split, and the rest is for training.

    The first call decodes both splits into cache_dir. A kill leaves no cache; a second process
    waits for the first. Returns np.memmap uint8 [N, 3, size, size], sorted by category, and a dict
    of category name and count.
    """
    if len(sources) < 2:
        sys.exit(
            f"error: {where}: found {len(sources)} categories ({', '.join(sources)}), "
            "expected at least 2, each a sub-folder with images"
        )
    few = [f"{n} ({len(source.names)})" for n, source in sources.items() if len(source.names) < 4]
    if few:
        sys.exit(
            f"error: {where}: too few images in {', '.join(few)}; "
            "expected at least 4 in each category"
        )
    state = [2, size, crop, limit]
    state += [{n: source.state for n, source in part.items()} for part in (sources, official)]
    stem = f"{name}_{size}_{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:12]}"
    summary = cache_dir / f"{stem}.json"
    paths = {part: cache_dir / f"{stem}_{part}.u8" for part in SPLITS}
    with lock(cache_dir):
        if not summary.exists():  # it is written last
            build_cache(paths, summary, list_parts(sources, official), size, crop)
    counts = json.loads(summary.read_text())["counts"][split]
    shape = (sum(counts.values()), 3, size, size)
    if not paths[split].exists() or paths[split].stat().st_size != np.prod(shape):
        sys.exit(
            f"error: {paths[split]} is damaged, expected {np.prod(shape)} bytes; delete {summary}"
        )
    return np.memmap(paths[split], np.uint8, "c", shape=shape), counts


def list_parts(sources, official):
    """What goes into which split: a list of (split, category, source, names)."""
    train, test = [], []
    for category, source in sources.items():
        if official:
            train.append(("train", category, source, source.names))
            test.append(("test", category, official[category], official[category].names))
        else:
            kept, held_out = hold_out(source.names)
            train.append(("train", category, source, kept))
            test.append(("test", category, source, held_out))
    return train + test


def hold_out(names):
    """Names for training and names for tests: the tenth (at least two) whose names hash lowest.

    So a name stays in its split when others come or go.
    """
    digests = [hashlib.sha256(as_text(name).encode()).digest() for name in names]
    order = sorted(range(len(names)), key=digests.__getitem__)
    held_out = set(order[: max(2, len(names) // 10)])
    kept = [name for i, name in enumerate(names) if i not in held_out]
    return kept, [name for i, name in enumerate(names) if i in held_out]


def as_text(name):
    """A path, or the key of an LMDB, as text."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def build_cache(paths, summary, parts, size, crop):
    """Decode parts [(split, category, source, names)] on all cores into a file for each split.

    summary, written at the end: JSON with the counts, every image that does not decode, and every
    one that stands twice, in two categories or in both splits.
    """
    temporary = {split: path.with_name(path.name + ".tmp") for split, path in paths.items()}
    for path in temporary.values():
        path.unlink(missing_ok=True)
    total = sum(len(names) for *_, names in parts)
    needed, free = total * 3 * size * size, shutil.disk_usage(summary.parent).free
    if needed > free:
        sys.exit(
            f"error: {summary.parent} has {free / 1e9:.2f} GB free, the cache of {total:,} images "
            f"needs {needed / 1e9:.2f}; make room, "
            "or choose another --cache-dir or --images-per-category"
        )
    counts, seen, unreadable, twice = {split: {} for split in paths}, {}, [], []
    progress = Progress(total)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool, contextlib.ExitStack() as stack:
            files = {
                split: stack.enter_context(open(path, "wb")) for split, path in temporary.items()
            }
            for split, category, source, names in parts:
                counts[split][category], items = 0, zip(names, source.read(names))
                while chunk := list(itertools.islice(items, 256)):
                    decoded = pool.map(lambda item: decode(item[1], size, crop), chunk)
                    for (name, data), image in zip(chunk, decoded):
                        label = f"{category}/{as_text(name)}"
                        if image is None:
                            unreadable.append(label)
                            continue
                        files[split].write(image)
                        counts[split][category] += 1
                        digest = hashlib.sha256(data).digest()
                        first = seen.setdefault(digest, (split, category, label))
                        if first[:2] != (split, category):
                            twice.append(f"{first[2]} and {label}")
                    progress.add(len(chunk), category)
                if not counts[split][category]:
                    sys.exit(
                        f"error: none of {len(names)} images of {category} for {split}ing "
                        "could be read; expected PNG, JPEG or WebP files"
                    )
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        for split, path in paths.items():
            os.replace(temporary[split], path)
        temporary["summary"] = summary.with_name(summary.name + ".tmp")
        found = dict(counts=counts, unreadable=unreadable, twice=twice)
        temporary["summary"].write_text(json.dumps(found, indent=1))
        os.replace(temporary["summary"], summary)
    except OSError as error:
        sys.exit(
            f"error: {summary.parent} could not be written ({error}); "
            "make room, or choose another --cache-dir"
        )
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    tell("left out, as they do not decode", unreadable, summary)
    tell("warning: in two categories or splits", twice, summary)
    sums = [sum(counts[split].values()) for split in SPLITS]
    print(
        f"data: {sums[0]:,} training and {sums[1]:,} test images, decoded once, in {summary.parent}",
        flush=True,
    )


def tell(what, labels, summary):
    """Print a line with the first three labels, if there are any."""
    if labels:
        shown = ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "")
        print(f"data: {what}: {len(labels)} images ({shown}); all of them in {summary}")


class Progress:
    """Prints a line every three seconds."""

    def __init__(self, total):
        self.total, self.done = total, 0
        self.started = self.printed = time.monotonic()

    def add(self, count, category):
        self.done += count
        now = time.monotonic()
        if now - self.printed > 3 or self.done == self.total:
            self.printed = now
            rate = self.done / (now - self.started)
            left = (self.total - self.done) / rate / 60
            print(
                f"data: decoded {self.done:,} of {self.total:,} images ({category}), "
                f"{rate:.0f}/s, {left:.1f} min left",
                flush=True,
            )
