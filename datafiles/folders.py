"""The files of one category in a folder."""

import functools
import os
import sys
from collections import Counter
from itertools import islice

from PIL import Image

from datafiles.names import shorten

CHUNK = 256
LOOK = 100  # so many files of a folder are opened to see whether there are images among them


class Folder:
    """The files of one category, at any depth below a folder; which are images, decoding tells."""

    def __init__(self, path):
        files = list_files(path)
        self.path = path
        self.names = [name for name, _ in files]
        self.count = len(files)
        # What tells these files from a later version of them: sizes and times of change.
        self.state = files

    def chunks(self):
        """Lists of pairs: the name of a file, and a function that opens it; in order of names."""
        for first in range(0, self.count, CHUNK):
            names = self.names[first : first + CHUNK]
            yield [(name, functools.partial(open, self.path / name, "rb")) for name in names]


def suffix(name):
    """The end of a file's name in small letters, as ".jpg", or ""."""
    return os.path.splitext(name)[1].lower()


def is_image_name(name):
    """Whether a file is named as one of Pillow's formats."""
    return suffix(name) in Image.registered_extensions()


def is_image(path):
    """Whether Pillow knows what a file begins with."""
    try:
        with Image.open(path):
            return True
    except Exception:  # every format has errors of its own
        return False


def holds_images(folder):
    """Whether a file at any depth is named as an image, or is one among the first files."""
    others = []
    for name, _ in walk(folder):
        if is_image_name(name):
            return True
        if len(others) < LOOK:
            others.append(name)
    return any(is_image(os.path.join(folder, name)) for name in others)


def count_endings(names):
    """How many files there are by the ends of their names."""
    return Counter(suffix(name) or "no suffix" for name in names)


def write_counts(counts):
    """A text of that, as "8 .heic, 1 .txt": the most frequent first."""
    files = [f"{count} {end}" for end, count in sorted(counts.items(), key=lambda item: -item[1])]
    return shorten(files, 10)


def files_below(folder, most=10_000):
    """The names of files at any depth, so many at most; None: all."""
    return [name for name, _ in islice(walk(folder), most)]


def list_files(folder):
    """Sorted [path relative to folder, version] of the files at any depth.

    The version is [size, time of change in ns], or None for a link to nothing.
    """
    return sorted(walk(folder))


def walk(folder):
    """The pairs of list_files, a folder's files before those of its sub-folders.

    Hidden ones are passed over, and so is what is neither file nor folder, as a pipe; links are
    followed once. A folder that cannot be read ends in one line.
    """
    visited = set()
    waiting = [(folder, "")]
    while waiting:
        path, prefix = waiting.pop()
        real = os.path.realpath(path)
        if real in visited:  # a loop of links
            continue
        visited.add(real)
        inner = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name = prefix + entry.name
                    if entry.is_dir():
                        inner.append((entry.path, name + os.sep))
                    elif entry.is_file():
                        stat = entry.stat()
                        yield [name, [stat.st_size, stat.st_mtime_ns]]
                    elif not os.path.exists(entry.path):  # a link to nothing
                        yield [name, None]
        except OSError as error:
            sys.exit(
                f"error: {error.filename} cannot be read ({error.strerror}); "
                "change its permissions"
            )
        # Of folders linked twice, the first by name counts
        waiting += sorted(inner, reverse=True)
