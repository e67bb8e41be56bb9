"""A folder of images: its categories, its splits, and the files of each."""

import os
import sys
from pathlib import Path

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


class Folder:
    """The image files of one category, at any depth below a folder."""

    def __init__(self, path, limit=0):
        """limit: use the first so many images in order of their paths; 0: all."""
        self.path = path
        self.names = list_images(path)[: limit or None]
        # What tells these files from a later version of them.
        self.state = [(name, self.version(name)) for name in self.names]

    def version(self, name):
        """Size and time of change of a file, None where it cannot be found."""
        try:
            stat = os.stat(self.path / name)
        except OSError:
            return None
        return stat.st_size, stat.st_mtime_ns

    def read(self, names):
        """The bytes of some of self.names, in turn; None where one cannot be read."""
        for name in names:
            try:
                yield (self.path / name).read_bytes()
            except OSError:
                yield None


def list_images(folder):
    """Sorted paths, relative to folder, of the images at any depth.

    Hidden files and folders are passed over; links are followed once.
    """
    found, visited = [], set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:  # a loop of links
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                found.append(os.path.relpath(os.path.join(root, name), folder))
    return sorted(found)


def sub_folders(folder):
    """Sorted names of the folders in a folder, but hidden ones."""
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def find_folders(root, asked, limit):
    """Folder by category name, for training and for testing (empty where there is no test split).

    asked: names of the categories, in order; if none: all sub-folders.
    """
    if not root.is_dir():
        sys.exit(
            f"error: --data-dir {root} is no folder; "
            "expected one with a sub-folder of images for each category"
        )
    splits = [
        name
        for name in ("train", "test", "val")
        if (root / name).is_dir() and sub_folders(root / name)
    ]
    train_root = root / "train" if "train" in splits else root
    found = sub_folders(train_root)
    if train_root == root:
        found = [name for name in found if name not in splits]
    missing = [name for name in asked if name not in found]
    if missing:
        sys.exit(
            f"error: {train_root} has no sub-folder {', '.join(missing)}; "
            f"found {', '.join(found) or 'none'}"
        )
    names = asked
    if not asked:
        empty = [name for name in found if not list_images(train_root / name)]
        if empty:
            print(f"data: left out, as no image is in it: {', '.join(empty)}")
        names = [name for name in found if name not in empty]
    train = {name: Folder(train_root / name, limit) for name in names}

    if "test" in splits:
        test_root = root / "test"
    elif "val" in splits:
        test_root = root / "val"
    else:
        return train, {}
    missing = [str(test_root / name) for name in names if not (test_root / name).is_dir()]
    if missing:
        sys.exit(
            f"error: the test split has no {', '.join(missing)}; "
            "add images there, or take the test split away"
        )
    return train, {name: Folder(test_root / name) for name in names}
