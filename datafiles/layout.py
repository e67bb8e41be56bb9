"""Which sub-folders of a folder are categories, and which are splits."""

import os
import shlex
import sys

from datafiles.folders import Folder
from datafiles.names import match, natural_order, shorten

# The usual names of splits, in any case.
SPELLINGS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}


def sub_folders(folder):
    """Names of the folders in a folder, but hidden ones, in natural order."""
    try:
        names = [path.name for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        sys.exit(f"error: {folder} cannot be read ({error.strerror}); change its permissions")
    return sorted((name for name in names if not name.startswith(".")), key=natural_order)


def find_folders(root, asked):
    """Folder by category, for training and for testing (empty without a test split), and notes.

    asked: names of the categories, in order; if none: all. notes: lines to print.

    A folder that is named as a split and holds folders is a split. Without folders in it, it is
    left out, unless it is asked for as a category.
    """
    if not root.is_dir():
        sys.exit(
            f"error: --data-dir {root} is no folder; "
            "expected one with a sub-folder of images for each category"
        )
    folders = sub_folders(root)
    splits, flat = find_splits(root, folders)
    if asks_for_root(root, asked, folders, splits):
        # Whoever asks for a category called "train" or "test" means it.
        others = [name for name in folders if name not in match(asked, folders)]
        splits, flat = find_splits(root, others)
        splits.pop("train", None)

    beside = [name for name in folders if name not in splits.values() and name not in flat]
    train_root, found = root, beside
    if "train" in splits:
        train_root = root / splits["train"]
        found = sub_folders(train_root)
    names = choose(train_root, asked, found, flat)
    train = {name: Folder(train_root / name) for name in names}
    check_single(root, asked, train)

    notes = []
    if flat:
        notes.append(
            f"left out, as a split needs category folders in it: {', '.join(flat)} in {root} "
            "(to learn it as a category, name it in --categories)"
        )
    if train_root != root and beside:
        notes.append(f"left out, as it lies beside {train_root}: {shorten(beside)}")
    notes += [question(folder) for folder in train.values() if lies_in_sub_folders(folder)]

    tests = {}
    if "test" in splits or "val" in splits:
        test_root = root / (splits.get("test") or splits["val"])
        if "test" in splits and "val" in splits:
            notes.append(f"left out: {root / splits['val']}; the test split is {test_root}")
        tests, absent = find_tests(test_root, train, asked, notes)
        for name in absent:
            del train[name]
    return train, tests, notes


def asks_for_root(root, asked, folders, splits):
    """Whether the categories asked for are folders of root, and not those of its training split."""
    if not asked or None in match(asked, folders):
        return False
    return "train" not in splits or None in match(asked, sub_folders(root / splits["train"]))


def choose(train_root, asked, found, flat):
    """The folders of the categories asked for, in order, or all that were found."""
    chosen = match(asked, found)
    unknown = [name for name, folder in zip(asked, chosen) if folder is None]
    if unknown:
        sys.exit(
            f"error: {train_root} has no sub-folder {', '.join(unknown)}; "
            f"found {', '.join(found) or 'none'}"
        )
    if not found and flat:
        sys.exit(
            f"error: {train_root}: {', '.join(flat)}: no category folders in it; "
            f"expected a sub-folder for each category, as {flat[0]}/<category>/…"
        )
    return chosen or found


def check_single(root, asked, train):
    """Exit if there is one category only, and the categories may be the folders in it."""
    if asked or len(train) != 1:
        return
    ((name, folder),) = train.items()
    inner = sub_folders(folder.path)
    if inner:
        sys.exit(
            f"error: {root}: found 1 category ({name}), expected at least 2; if the categories or "
            f"splits are {shorten(inner)}, use --data-dir {shlex.quote(str(folder.path))}"
        )


def find_splits(root, folders):
    """Folder by split, of those that hold folders; and a list of the split folders that do not."""
    splits, flat = {}, []
    for split, spellings in SPELLINGS.items():
        named = [name for name in folders if name.casefold() in spellings]
        deep = [name for name in named if sub_folders(root / name)]
        flat += [name for name in named if name not in deep]
        if len(deep) > 1:
            sys.exit(
                f"error: {root} holds {' and '.join(deep)}, expected one folder for {split}; "
                "move the other away"
            )
        if deep:
            splits[split] = deep[0]
    return splits, flat


def find_tests(test_root, train, asked, notes):
    """Folder of test images by category; and categories to leave out, as they have no image at all.

    train: Folder by category. asked: whether each of them must be there. notes: is added to.
    """
    available = sub_folders(test_root)
    found = dict(zip(train, match(train, available)))
    absent = []
    for name, folder in found.items():
        if folder is None and not asked and not train[name].claims():
            absent.append(name)
    missing = [name for name in train if found[name] is None and name not in absent]
    if missing:
        sys.exit(
            f"error: the test split has no {', '.join(str(test_root / name) for name in missing)}; "
            "add images there, or take the test split away"
        )
    if absent:
        notes.append(f"left out, as no image is in it: {', '.join(absent)}")
    extra = [name for name in available if name not in found.values()]
    if extra and not asked:
        notes.append(f"left out, as there are no training images: {test_root}: {shorten(extra)}")
    tests = {name: Folder(test_root / folder) for name, folder in found.items() if folder}
    return tests, absent


def inner_folders(folder):
    """The first parts of the paths of a Folder's files, "" for files that lie in it directly."""
    return sorted({os.path.dirname(name).split(os.sep)[0] for name in folder.names})


def lies_in_sub_folders(folder):
    """Whether all files of a category lie in sub-folders, at least two."""
    inner = inner_folders(folder)
    return len(inner) > 1 and "" not in inner


def question(folder):
    """A line about a category whose images all lie in sub-folders."""
    return (
        f"warning: {folder.path} is one category; all its files lie in sub-folders "
        f"({shorten(inner_folders(folder))}): if these are the categories, use "
        f"--data-dir {shlex.quote(str(folder.path))}"
    )
