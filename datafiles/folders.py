"""The files of one category in a folder."""

import functools
import os
import stat
import sys
from collections import Counter

from PIL import Image

from datafiles.names import shorten

LOOK = 100  # so many files of a folder are opened to see whether there are images among them


class Folder:
    """The files of one category, at any depth below a folder; which are images, decoding tells.

    state: sizes and times of change, which tell these files from a later version of them.
    """

    def __init__(self, path):
        self.path = path
        self.state = sorted(walk(path))
        self.count = len(self.state)

    def items(self):
        """Pairs of the name of a file, and a function that opens it; in order of names."""
        for name, _ in self.state:
            yield name, functools.partial(open, self.path / name, "rb")


def walk(folder):
    """[path relative to folder, [size, time of change in ns]] of each file at any depth.

    Hidden ones are passed over, and so is what is neither file nor folder, as a pipe; links are
    followed once. A folder that cannot be read ends in one line.
    """
    visited = set()
    for path, folders, files in os.walk(folder, followlinks=True, onerror=cannot_read):
        real = os.path.realpath(path)
        if real in visited:  # a loop of links
            folders.clear()
            continue
        visited.add(real)
        # Of folders linked twice, the first by name counts
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith("."):
                file = os.path.join(path, name)
                relative = os.path.relpath(file, folder).replace(os.sep, "/")  # on any system
                try:
                    found = os.stat(file)
                except OSError:
                    yield [relative, None]
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield [relative, [found.st_size, found.st_mtime_ns]]


def cannot_read(error):
    """Exit with one line."""
    sys.exit(f"error: {error.filename} cannot be read ({error.strerror}); change its permissions")


def suffix(name):
    """The end of a file's name in small letters, as ".jpg", or ""."""
    return os.path.splitext(name)[1].lower()


def holds_images(folder):
    """Whether a file at any depth is named as an image, or is one among the first files."""
    Image.init()  # so that all formats, and the ends of their files' names, are known
    others = []
    for name, _ in walk(folder):
        if suffix(name) in Image.registered_extensions():
            return True
        if len(others) < LOOK:
            others.append(os.path.join(folder, name))
    return any(is_image(path) for path in others)


def loose_images(folder):
    """The names of files directly in a folder that are named as images."""
    Image.init()
    names = [name for name in os.listdir(folder) if not name.startswith(".")]
    return sorted(name for name in names if suffix(name) in Image.registered_extensions())


def is_image(path):
    """Whether Pillow knows what a file begins with."""
    try:
        with Image.open(path):
            return True
    except Exception:  # every format has errors of its own
        return False


def count_endings(names):
    """How many files there are by the ends of their names, as "8 .heic, 1 .txt"."""
    counts = Counter(suffix(os.fsdecode(name)) or "no suffix" for name in names)
    return shorten([f"{count} {end}" for end, count in counts.most_common()], 10)
