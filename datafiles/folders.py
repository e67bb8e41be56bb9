"""The files of one category in a folder."""

import functools
import os
import sys

from PIL import Image

CHUNK = 256


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

    def claims(self):
        """How many files are named as images."""
        return sum(map(is_image_name, self.names))


def suffix(name):
    """The end of a file's name in small letters, as ".jpg", or ""."""
    return os.path.splitext(name)[1].lower()


def is_image_name(name):
    """Whether a file is named as one of Pillow's formats."""
    return suffix(name) in Image.registered_extensions()


def list_files(folder):
    """Sorted [path relative to folder, version] of the files at any depth.

    The version is [size, time of change in ns], or None for a link to nothing. Hidden files and
    folders are passed over; links are followed once.
    """
    found = []
    try:
        walk(folder, "", set(), found)
    except OSError as error:
        sys.exit(
            f"error: {error.filename} cannot be read ({error.strerror}); change its permissions"
        )
    return sorted(found)


def walk(folder, prefix, visited, found):
    """Append the files of a folder to found, then those of its sub-folders."""
    real = os.path.realpath(folder)
    if real in visited:  # a loop of links
        return
    visited.add(real)
    sub_folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                sub_folders.append(entry)
            elif entry.is_file():
                stat = entry.stat()
                found.append([prefix + entry.name, [stat.st_size, stat.st_mtime_ns]])
            elif entry.is_symlink():
                found.append([prefix + entry.name, None])
    for entry in sorted(sub_folders, key=lambda entry: entry.name):
        walk(entry.path, prefix + entry.name + os.sep, visited, found)
