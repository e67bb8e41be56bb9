"""What a tree of folders is: which folders are categories, and which are splits.

Two layouts are learned, and nothing else:

    DIR/<category>/image
    DIR/train/<category>/image  and  DIR/test/<category>/image

1. Hidden folders do not count, nor do folders in which no image lies.
2. DIR has splits if it holds "train" with folders in it. The test split is "test", or else "val";
   another split is left out. Other folders of images beside them are refused.
3. All folders of DIR, or else of DIR/train, are categories. Their images lie directly in them, and
   no word of their names is a split's.
4. The test split has the same categories.
5. A folder that is named in --categories is a category, whatever it is called, and with images at
   any depth; '*' allows the depth to all folders, and no names of splits. But what holds splits is
   never a category, nor is what is called like a split and holds folders.

Where a tree breaks a rule, one line says what was found and which command is probably meant.
"""

import re
import shlex
import sys

from datafiles.folders import (
    Folder,
    cannot_read,
    count_endings,
    holds_images,
    loose_images,
    walk,
)
from datafiles.names import match, natural_order, shorten, write_categories

# The names of splits, in any case
SPELLINGS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}
# Words that make a name look like a split's, as in seg_train, trainA, test_images and ValSet
SPLIT_WORD = re.compile(
    "(train|training|trainval|test|testing|val|valid|validation|dev|eval|evaluation|holdout"
    "|pred|predict|prediction|predictions|unlabeled|unlabelled)(set|data|imgs?|images?|dir|split)?"
)
EVERY = ["*"]  # what --categories '*' asks for: all, with images at any depth
EXPECTED = "expected <category>/<image>, or train/<category>/<image> and test/<category>/<image>"
DEPTH, MOST = 3, 200  # how deep, and in how many folders, a layout is looked for


class Unknown(Exception):
    """A tree that is neither layout: what was found, and what to do."""

    def __init__(self, found, advice="", deep=False):
        """deep: whether the tree would do if images may lie deeper inside categories."""
        self.found, self.advice, self.deep = found, advice, deep


def find_folders(root, asked):
    """Folder by category, for training and for testing (empty without a test split), and notes.

    asked: names of the categories, in order, or EVERY; if none: all. notes: lines to print. Exits
    with one line where the tree is neither of the two layouts.
    """
    if not root.is_dir():
        sys.exit(
            f"error: --data-dir {root} is no folder; "
            "expected one with a sub-folder of images for each category"
        )
    try:
        train, tests, notes = decide(root, asked)
    except Unknown as error:
        advice = [error.advice] if error.advice else []
        advice += commands(root, asked, error.deep)
        advice = "; ".join(advice) or "put the images, as files, into a folder for each category"
        sys.exit(f"error: {root}: {error.found}; {EXPECTED}; {advice}")
    train = {name: Folder(path) for name, path in train.items()}
    return train, {name: Folder(path) for name, path in tests.items()}, notes


# --------------------------------------------------------------------------------------------------
# The rules


def decide(root, asked):
    """Paths by category, for training and for testing, and notes. Raises Unknown."""
    names = [] if asked == EVERY else asked
    splits = find_splits(root, names)
    train_root = splits.get("train", root)
    train = find_categories(train_root, names, deep=bool(asked))
    notes = []
    empty = [name for name in sub_folders(train_root) if not holds_images(train_root / name)]
    if empty and not names:
        notes.append(f"left out, as no image is in it: {shorten(empty)}")
    loose = loose_images(train_root)
    if loose:
        notes.append(f"left out, as they lie beside the categories: {shorten(loose)}")
    if not splits:
        return train, {}, notes

    test_root = splits.get("test", splits.get("val"))
    beside = [name for name in with_images(root) if root / name not in (train_root, test_root)]
    others = [name for name in beside if split_of(name) != "test"]
    if others and not names:
        raise Unknown(
            f"found {train_root.name} and, beside it, {shorten(others)} with images",
            f"move {shorten(others)} away, or name what is to be learned in --categories",
        )
    if beside:
        notes.append(f"left out, as it lies beside {train_root}: {shorten(beside)}")
    if test_root is None:
        return train, {}, notes

    # The test split has the same categories
    found = find_names(test_root, list(train))
    extra = [name for name in with_images(test_root) if name not in found]
    if extra and not names:
        raise Unknown(
            f"{test_root} has {shorten(extra)}, training has not",
            "give both splits the same categories",
        )
    check_folders(test_root, found, names, deep=bool(asked))
    return train, {name: test_root / folder for name, folder in zip(train, found)}, notes


def find_splits(root, names):
    """Path by split, "train", "test" and "val"; empty where root has no training split."""
    found = {}
    for split, spellings in SPELLINGS.items():
        folders = [name for name in with_images(root) if name.casefold() in spellings]
        if split == "train":
            folders = [name for name in folders if with_images(root / name)]
        if len(folders) > 1:
            raise Unknown(
                f"found {' and '.join(folders)}, two folders for one split",
                "move one of them away",
            )
        if folders:
            found[split] = root / folders[0]
        elif split == "train":
            return {}
    # Whoever names folders of root means them, unless they are in its training split too
    if names and None not in match(names, sub_folders(root)):
        if None in match(names, sub_folders(found["train"])):
            return {}
    return found


def find_categories(root, names, deep):
    """Path by category of the folders in root that are named, or of all. Raises Unknown.

    names: of the categories asked for; if none: all. deep: whether images may lie deeper in them.
    """
    folders = find_names(root, names) if names else with_images(root)
    labels = label_file(root)
    if labels and folders and not names:
        raise Unknown(
            f"found {labels} beside {shorten(folders)}: labels stand in such a file, "
            "and the folders are chunks",
            "make a folder for each label, or, if these are categories, name them in --categories",
        )
    check_folders(root, folders, names, deep)
    if len(folders) < 2 and not names:
        found = "only one folder" if folders else "no folder"
        found += f" with images ({folders[0]})" if folders else " with images"
        files = [name for name, _ in walk(root)]
        raise Unknown(f"found {found}, and files: {count_endings(files) or 'none'}")
    return {name: root / name for name in folders}


def check_folders(root, folders, names, deep):
    """Raise Unknown unless folders of root are categories, by their names and by what they hold."""
    inner = {name: with_images(root / name) for name in folders}
    splits = [name for name in folders if split_of(name) and (inner[name] or not names)]
    if splits:
        advice = "call the splits train and test, and let the categories lie directly in them"
        others = [name for name in folders if name not in splits]
        if len(others) > 1:
            advice += f"; to learn only the other folders, use {write_categories(others)}"
        if not any(inner[name] for name in splits):
            advice += "; those that are categories all the same, name in --categories"
        raise Unknown(f"found folders named like splits: {shorten(splits)}", advice)
    inside = [
        f"{name}/{path}" for name in folders if inner[name] for path in splits_in(root / name)
    ]
    if inside and len(folders) > 1:
        category, *_, split = inside[0].split("/")
        raise Unknown(
            f"found splits inside categories: {shorten(inside)}",
            f"move {inside[0]} to {split_of(split)}/{category}, and so on",
        )
    inside = [f"{name}/{folder}" for name in folders for folder in inner[name]]
    if inside and not deep:
        raise Unknown(f"found folders of images inside folders: {shorten(inside)}", deep=True)


def find_names(root, names):
    """The folders of root that these names mean. Raises Unknown if one is not there."""
    available = sub_folders(root)
    found = match(names, available)
    missing = [name for name, folder in zip(names, found) if folder is None]
    if not missing:
        return found
    what = "none of the categories" if len(missing) == len(names) else "no category"
    has = shorten(available) or "no folders"
    raise Unknown(f"{root} has {what} {shorten(missing)}; it has {has}")


def split_of(name):
    """The split that a name belongs to: "train", "test" (every other split), or None."""
    spaced = re.sub("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    for word in re.findall("[a-z]+", spaced.casefold()):
        if SPLIT_WORD.fullmatch(word):
            return "train" if word.startswith("train") else "test"
    return None


# --------------------------------------------------------------------------------------------------
# What lies there


def sub_folders(folder):
    """Names of the folders in a folder, but hidden ones, in natural order."""
    try:
        names = [path.name for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        cannot_read(error)
    return sorted((name for name in names if not name.startswith(".")), key=natural_order)


def with_images(folder):
    """Those of the folders in a folder in which an image lies, at any depth."""
    return [name for name in sub_folders(folder) if holds_images(folder / name)]


def label_file(folder):
    """The name of a file of labels, as StyleGAN's dataset.json, or None."""
    names = [path.name for path in folder.glob("*.json") if "dataset" in path.name.casefold()]
    return names[0] if names else None


def splits_in(folder):
    """The folders at any depth in a folder that are named as splits and hold files."""
    found = set()
    for name, _ in walk(folder):
        parts = name.split("/")[:-1]
        for depth, part in enumerate(parts, 1):
            if split_of(part):
                found.add("/".join(parts[:depth]))
    return sorted(found)


# --------------------------------------------------------------------------------------------------
# What is probably meant


def commands(root, asked, deep):
    """Advice: the options by which the tree, or the nearest folder in it, is one of the layouts."""
    inner = candidates(root)
    found = first_command(root, inner, asked)
    if deep:
        found += first_command(root, [root] if found else [root, *inner], EVERY)
    return found


def candidates(root):
    """Folders in root that may hold training images: the nearest first, those named so first."""
    found, level = [], [root]
    for _ in range(DEPTH):
        deeper = []
        for folder in level:
            names = [name for name in with_images(folder) if split_of(name) != "test"]
            names.sort(key=lambda name: split_of(name) is None)
            deeper += [folder / name for name in names]
        level = deeper[:MOST]
        found += level
    return found


def first_command(root, paths, asked):
    """At most one piece of advice: how to learn the first of some folders that is a layout."""
    for path in paths:
        try:
            train, tests, _ = decide(path, asked)
        except Unknown:
            continue
        options = [] if path == root else [f"--data-dir={shlex.quote(str(path))}"]
        text = f"if the categories are {shorten(list(train))}"
        if asked == EVERY:
            options.append("--categories='*'")
            text += " and hold folders on purpose"
        text += f", use {' '.join(options)}"
        if path != root and not tests:
            text += " (a tenth is held out for tests)"
        return [text]
    return []
